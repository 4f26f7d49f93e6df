"""Indexing a boxes CSV of Open Images at its full size: time, and memory that does not grow with the rows.

    python benchmarks/open_images.py [--rows 14610229] [--images 1743042] [--folder DIR]

The CSV is generated in the layout of V4-V7: ids in order, 600 classes, coordinates of six decimals. The images are hard
links to 64 JPEG files in 16 folders, so each is listed and opened, and its header read, but from the page cache. Memory
is the peak of the process's resident pages; what the interpreter and the package take alone is said beside it. First
comes a fortieth of the images with more and more rows, then all.
"""

import argparse
import os
import random
import resource
import tempfile
import time
from pathlib import Path

from PIL import Image
from processes import in_process

from lightning_st.index import build_index

CLASS_COUNT = 600
PHOTO_COUNT = 64  # a file cannot have more than 65,000 links on ext4
HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"


def write_images(folder, image_count):
    folder.mkdir()
    photos = []
    for number in range(PHOTO_COUNT):
        photos.append(folder / f"{number}.photo")
        Image.new("RGB", (1024 - number, 683 + number)).save(photos[-1], "JPEG")
    for digit in "0123456789abcdef":
        (folder / "images" / f"train_{digit}").mkdir(parents=True)
    for number in range(image_count):
        image_id = id_of(number, image_count)
        os.link(photos[number % PHOTO_COUNT], folder / "images" / f"train_{image_id[0]}" / f"{image_id}.jpg")


def id_of(number, image_count):
    """Return an id of 16 hexadecimal digits; they ascend."""
    return f"{number * (1 << 64) // image_count:016x}"


def write_csv(path, row_count, image_count):
    draw = random.Random(0)
    (path.parent / "class-descriptions-boxable.csv").write_text(
        "".join(f"/m/{number:05d},Class {number}\n" for number in range(CLASS_COUNT))
    )
    with path.open("w") as file:
        file.write(HEADER + "\n")
        for number in range(image_count):
            image_id = id_of(number, image_count)
            for _ in range(row_count * (number + 1) // image_count - row_count * number // image_count):
                left, top = draw.random() / 2, draw.random() / 2
                box = f"{left:.6f},{left + 0.01 + draw.random() / 3:.6f},{top:.6f},{top + 0.01 + draw.random() / 3:.6f}"
                label, is_group = f"/m/{draw.randrange(CLASS_COUNT):05d}", int(draw.random() < 0.05)
                file.write(f"{image_id},xclick,{label},1,{box},0,0,{is_group},0,0\n")


def measure(images, path, cache, queue):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    index = build_index(images, path, cache_folder=cache, progress=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    queue.put((len(index), len(index.boxes), wall, cpu, before, peak, index.path.stat().st_size))


def report(folder, row_count, image_count):
    path = folder / f"{row_count}-annotations-bbox.csv"
    write_csv(path, row_count, image_count)
    for kind in ("built", "from the cache"):
        found = in_process(measure, folder / "images", path, folder / "cache")
        images, boxes, wall, cpu, before, peak, size = found
        what = f"{row_count:,} ({path.stat().st_size / 1e6:.0f} MB), {kind}"
        memory = f"{before / 1e3:.0f} MB | {peak / 1e3:.0f} MB | {size / 1e6:.0f} MB"
        print(f"| {what} | {images:,} | {boxes:,} | {wall:.1f} s | {cpu:.1f} s | {memory} |", flush=True)
    path.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=14_610_229)
    parser.add_argument("--images", type=int, default=1_743_042)
    parser.add_argument("--folder", help="where the files go for the time being (3 GB)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(
            "| rows | images | boxes | wall | CPU | memory before | peak | index |\n|---|---|---|---|---|---|---|---|"
        )
        few = arguments.images // 40
        write_images(Path(folder, "few"), few)
        for row_count in (arguments.rows // 160, arguments.rows // 40, arguments.rows // 10):
            report(Path(folder, "few"), row_count, few)
        write_images(Path(folder, "all"), arguments.images)
        report(Path(folder, "all"), arguments.rows, arguments.images)


if __name__ == "__main__":
    main()
