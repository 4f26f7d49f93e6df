"""COCO JSON. Two images of 80 x 64 pixels are named a.jpg and b.jpg, with a box each: see `START`."""

import copy
import json
from collections.abc import Callable
from typing import Any

from bad_inputs.case import Bad, Case, Refused, Skipped, Used

START: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 80, "height": 64},
        {"id": 2, "file_name": "b.jpg", "width": 80, "height": 64},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 10, 20, 30], "area": 500, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 5, "bbox": [5, 5, 40, 40]},
    ],
    "categories": [{"id": 2, "name": "square"}, {"id": 5, "name": "disc"}],
}
BOXES = [[10, 10, 30, 40], [5, 5, 45, 45]]
NAN, INF = float("nan"), float("inf")
GONE = object()
"""In the place of a value: the field is left out."""


def place(case: Case, content: Any) -> None:
    """Make the labelled set one of this JSON, or of these bytes."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    for number, name in enumerate(("a.jpg", "b.jpg")):
        picture = sorted(case.images().iterdir())[number].read_bytes()
        case.write({f"set/images/{name}": picture})
    case.write({"set/boxes.json": data})
    case.only(images="{}/set/images", annotations="{}/set/boxes.json")


def field(part: str, number: int, name: str, value: Any) -> Callable[[Case], None]:
    """Give a field of a record another value."""

    def spoil(case: Case) -> None:
        content = copy.deepcopy(START)
        content[part][number].update({name: value})
        if value is GONE:
            del content[part][number][name]
        place(case, content)

    return spoil


def part(name: str, value: Any) -> Callable[[Case], None]:
    """Give a list of the file another value."""

    def spoil(case: Case) -> None:
        content = {**START, name: value}
        place(case, {key: value for key, value in content.items() if value is not GONE})

    return spoil


def text(change: Callable[[str], str | bytes]) -> Callable[[Case], None]:
    """Change the text of the file."""

    def spoil(case: Case) -> None:
        changed = change(json.dumps(START, indent=1))
        place(case, changed if isinstance(changed, bytes) else changed.encode())

    return spoil


def again(name: str, number: int, /, **changes: Any) -> Callable[[Case], None]:
    """Add a record like one that is there."""
    return part(name, [*START[name], {**START[name][number], **changes}])


def deep(case: Case) -> None:
    place(case, b'{"images": ' + b"[" * 20_000_000)


def deep_outline(case: Case) -> None:
    outline = "[" * 400 + "]" * 400
    place(case, json.dumps(START).replace('"iscrowd": 0', f'"segmentation": {outline}').encode())


FILE = r"set/boxes\.json: "
FIELDS = [
    Bad("images without id", field("images", 0, "id", GONE), Refused(FILE + r"images\[0\]: the field 'id' is missing")),
    Bad("images without file_name", field("images", 1, "file_name", GONE), Refused(FILE + r"images\[1\]: .*file_name")),
    Bad("images without width", field("images", 0, "width", GONE), Used({"boxes": BOXES, "widths": [0, 80]})),
    Bad("no image_id", field("annotations", 1, "image_id", GONE), Refused(FILE + r"annotations\[1\]: .*'image_id' is mis")),
    Bad("no category_id", field("annotations", 0, "category_id", GONE), Refused(FILE + r"annotations\[0\]: .*category_id")),
    Bad("no bbox", field("annotations", 0, "bbox", GONE), Refused(FILE + r"annotations\[0\]: .*'bbox'.* four numbers")),
    Bad("no area", field("annotations", 0, "area", GONE), Used({"areas": [600, 1600]})),
    Bad("no iscrowd", field("annotations", 0, "iscrowd", GONE), Used({"crowd": [False, False]})),
    Bad("class without id", field("categories", 0, "id", GONE), Refused(FILE + r"categories\[0\]: the field 'id' is mis")),
    Bad("class without name", field("categories", 1, "name", GONE), Refused(FILE + r"categories\[1\]: the field 'name'")),
    Bad("no images", part("images", GONE), Refused(FILE + "the list 'images' is missing. A COCO file")),
    Bad("no annotations", part("annotations", GONE), Refused(FILE + "the list 'annotations' is missing")),
    Bad("no categories", part("categories", GONE), Refused(FILE + "the list 'categories' is missing")),
    Bad("images is empty", part("images", []), Refused(FILE + "images: the file names no image")),
    Bad("categories is empty", part("categories", []), Refused(FILE + "categories: the file names no class")),
    Bad("annotations is null", part("annotations", None), Refused(FILE + "annotations: expected a list, got null")),
    Bad("an image that is a number", part("images", [7]), Refused(FILE + r"images\[0\]: expected an object, got 7")),
    Bad("an id as text", field("images", 0, "id", "1"), Refused(FILE + r'images\[0\]\.id: expected an integer, got "1"')),
    Bad("an id with a fraction", field("annotations", 0, "image_id", 1.5), Refused(r"annotations\[0\]\.image_id: .*1\.5")),
    Bad("a name that is a number", field("images", 0, "file_name", 7), Refused(r"images\[0\]\.file_name: expected a file")),
    Bad("an empty name", field("images", 0, "file_name", ""), Refused(r"images\[0\]\.file_name: expected a file name")),
    Bad("a width as text", field("images", 0, "width", "80"), Refused(r"images\[0\]\.width: expected a positive integer")),
    Bad("a width of 0", field("images", 0, "width", 0), Refused(r"images\[0\]\.width: expected a positive integer, got 0")),
    Bad("a negative height", field("images", 1, "height", -64), Refused(r"images\[1\]\.height: .*got -64")),
    Bad("a huge height", field("images", 1, "height", 2**40), Refused(r"images\[1\]\.height: .*got 1099511627776")),
    Bad("a box as text", field("annotations", 0, "bbox", "10,10,20,30"), Refused(r"\.bbox: expected four numbers")),
    Bad("a box of three", field("annotations", 0, "bbox", [1, 2, 3]), Refused(r"\.bbox: expected four .*got \[1, 2, 3\]")),
    Bad("null in a box", field("annotations", 0, "bbox", [1, 2, 3, None]), Refused(r"\.bbox: expected four numbers")),
    Bad("a box of long text", field("annotations", 0, "bbox", "x" * 9999), Refused(r'\.bbox: .*got "x{56}\.\.\.')),
    Bad("iscrowd of 2", field("annotations", 0, "iscrowd", 2), Refused(r"\[0\]\.iscrowd: expected 0 or 1, got 2")),
    Bad("a negative area", field("annotations", 0, "area", -3), Refused(r"\[0\]\.area: expected a number of square pixels")),
    Bad("an infinite area", field("annotations", 0, "area", INF), Refused(r"\[0\]\.area: expected .*got Infinity")),
    Bad("an area that is NaN", field("annotations", 0, "area", NAN), Used({"areas": [600, 1600]})),
    Bad("a score of 150", field("annotations", 0, "score", 150), Refused(r"\[0\]\.score: expected a number from 0 to 1")),
    Bad("a class name of 5", field("categories", 0, "name", 5), Refused(r"categories\[0\]\.name: expected a name, got 5")),
    Bad("half a letter as class", field("categories", 0, "name", "\ud800"), Refused(r"categories\[0\]\.name: .*ud800")),
]  # fmt: skip
NUMBERS = [
    Bad("NaN in a box", field("annotations", 0, "bbox", [NAN, 1, 5, 5]), Skipped(r"1 box .*no numbers(?s:.*)tations\[0\] of a")),
    Bad("an infinite box", field("annotations", 0, "bbox", [1, 1, INF, 5]), Skipped(r"1 box .*no numbers(?s:.*)\[0\] of a\.jpg")),
    Bad("a box beyond float32", field("annotations", 0, "bbox", [1, 1, 1e300, 5]), Skipped(r"1 box .*no numbers(?s:.*)\[0\]")),
    Bad("a negative width", field("annotations", 0, "bbox", [9, 9, -4, 4]), Skipped(r"1 box without area(?s:.*)\[0\] of a\.j")),
    Bad("a box without area", field("annotations", 0, "bbox", [9, 9, 0, 4]), Skipped(r"1 box without area(?s:.*)\[0\] of a\.j")),
    Bad("a box outside", field("annotations", 1, "bbox", [500, 5, 9, 9]), Skipped(r"1 box .*outside(?s:.*)annotations\[1\] of b")),
    Bad("a box partly outside", field("annotations", 0, "bbox", [-5, 10, 35, 30]), Used({"boxes": [[0, 10, 30, 40], BOXES[1]]}, "1 box partly out")),
    Bad("huge ids", field("images", 1, "id", 2**63), Refused(r"images\[1\]\.id: expected an integer, got 9223372036854775808")),
    Bad("large ids", again("images", 0, id=2**62, file_name="c.jpg"), Used({"image_ids": [1, 2, 2**62]})),
    Bad("an unknown image", field("annotations", 1, "image_id", 99), Refused(r"\[1\]\.image_id: no image has the id 99")),
    Bad("an unknown class", field("annotations", 1, "category_id", 77), Refused(r"\[1\]\.category_id: no category has the id 77")),
    Bad("one image id twice", again("images", 0, file_name="c.jpg"), Refused(r"images\[2\]\.id: 1 stands already in images\[0\]")),
    Bad("one file twice", again("images", 0, id=3), Refused(r"images\[2\]\.file_name: 'a\.jpg' stands already in images\[0\]")),
    Bad("one class id twice", again("categories", 0, name="cat"), Refused(r"categories\[2\]\.id: 2 stands already")),
    Bad("one class twice", again("categories", 0, id=7), Refused(r"categories\[2\]\.name: 'square' stands already")),
    Bad("one annotation id twice", again("annotations", 0), Used({"boxes": [BOXES[0], BOXES[0], BOXES[1]]})),
]  # fmt: skip
TEXT = [
    Bad("an empty file", text(lambda t: ""), Refused(FILE + "expected a JSON object, found nothing")),
    Bad("no JSON", text(lambda t: "boxes"), Refused(FILE + "expected a JSON object, found 'b'")),
    Bad("a list", text(lambda t: "[]"), Refused(FILE + "expected a JSON object, found a list. Detection results are")),
    Bad("cut in the middle", text(lambda t: t[: len(t) // 2]), Refused(FILE + "line .*the file ends in the middle of")),
    Bad("a comma too many", text(lambda t: t.replace("}\n ]", "},\n ]")), Refused(FILE + r"line \d+ column \d+: no valid JS")),
    Bad("JSON lines", text(lambda t: '{"id": 1}\n{"id": 2}\n'), Refused(FILE + "line 2 column 1: .*more text.*JSON lines")),
    Bad("20 MB of nesting", deep, Refused(FILE + "line 1 column 13: no valid JSON: lists and objects stand in one another")),
    Bad("a deep outline", deep_outline, Refused(FILE + "line 1 .*lists and objects stand in one another more than 100")),
    Bad("a number of 5000 digits", text(lambda t: t.replace("500", "5" * 5000)), Refused(FILE + "line .*no valid JSON: Exce")),
    Bad("a BOM", text(lambda t: b"\xef\xbb\xbf" + t.encode()), Used({"boxes": BOXES})),
    Bad("CRLF", text(lambda t: t.replace("\n", "\r\n")), Used({"boxes": BOXES})),
    Bad("UTF-16", text(lambda t: t.encode("utf-16")), Refused(FILE + "the file is not UTF-8: .* Save it in UTF-8")),
    Bad("Latin-1", text(lambda t: t.replace("disc", "é").encode("latin-1")), Refused(FILE + "the file is not UTF-8")),
    Bad("NUL behind the end", text(lambda t: t + "\0\0"), Refused(FILE + "line .*more text after the end of the object")),
    Bad("one list twice", text(lambda t: t[:-1] + ', "images": [7]}'), Used({"boxes": BOXES})),
    Bad("keys that nobody knows", part("licences", [{"id": "x"}]), Used({"boxes": BOXES})),
]  # fmt: skip
TABLE = [*FIELDS, *NUMBERS, *TEXT]
