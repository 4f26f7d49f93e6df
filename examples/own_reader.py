"""A reader of your own: any format of annotations becomes an index, and is then as good as COCO's.

    python own_reader.py toy
    lightning_st check --config toy/toy.yaml \
        --data.labeled.format own_reader.read_csv --data.labeled.annotations toy/boxes.csv

The format here is a CSV with a box a line: file, class, and four corners in pixels. The import path of the function is
the name of the format. The index is cached; another file, or another version of this one, makes another index.
"""

import csv
import json
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path

from toy_data import write_toy_data

from lightning_st.errors import AnnotationError
from lightning_st.index import ImagePlaces, IndexWriter, RawBoxes, Sources, add_measured_image

CORNERS = ("left", "top", "right", "bottom")


def read_csv(sources: Sources, writer: IndexWriter) -> None:
    """Stream the images of a folder or a tar with their boxes into an index.

    Boxes that cannot be used (outside of their image, without area) are left out and counted, as are images that cannot
    be read: that is `add_measured_image`'s work. What makes no sense at all is refused with the file and the line.

    Args:
        sources: `images`, `annotations`, and what the user's list leaves of the images.
        writer: Takes the classes once and then one image after the other.

    Raises:
        AnnotationError: If a line is not what this format says.
    """
    boxes = read_lines(sources.label_path)
    names = sorted({name for lines in boxes.values() for _, name, _ in lines})
    writer.set_classes(names)
    places = ImagePlaces(sources)
    missing = sorted(file for file in boxes if places.find(file) < 0)
    if missing:
        raise AnnotationError(sources.label_path, f"no image is called {missing[0]!r}", advice=f"{sources.images}")
    by_place = {places.find(file): lines for file, lines in boxes.items()}
    for position in places.is_wanted.nonzero()[0].tolist():
        lines = by_place.get(position, [])
        raw = RawBoxes(
            corners=[corners for _, _, corners in lines],
            labels=[names.index(name) for _, name, _ in lines],
            numbers=[number for number, _, _ in lines],
        )
        describe = partial("{}: line {}".format, sources.label_path)
        add_measured_image(writer, places, position, raw, describe)


def read_lines(path: Path) -> dict[str, list[tuple[int, str, list[float]]]]:
    """Return the (number of the line, class, corners) of the boxes of each file, by its name without extension."""
    found = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for number, line in enumerate(csv.DictReader(file), start=2):
            stem, name, corners = parse(path, number, line)
            found[stem].append((number, name, corners))
    return found


def parse(path: Path, number: int, line: dict[str, str]) -> tuple[str, str, list[float]]:
    """Return the file without extension, the class and the corners of a line."""
    try:
        return Path(line["file"]).stem, line["class"], [float(line[key]) for key in CORNERS]
    except (KeyError, TypeError, ValueError) as error:
        problem = f"expected file, class, {', '.join(CORNERS)}, got {line}"
        raise AnnotationError(path, problem, record=f"line {number}") from error


def write_csv(coco: Path, path: Path) -> None:
    """Write the boxes of a COCO file as this format has them."""
    content = json.loads(coco.read_text())
    files = {image["id"]: image["file_name"] for image in content["images"]}
    classes = {category["id"]: category["name"] for category in content["categories"]}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "class", *CORNERS])
        for each in content["annotations"]:
            left, top, width, height = each["bbox"]
            corners = [left, top, left + width, top + height]
            writer.writerow([files[each["image_id"]], classes[each["category_id"]], *corners])


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "toy")
    write_toy_data(folder)
    write_csv(folder / "boxes.json", folder / "boxes.csv")
    print(folder / "boxes.csv")
