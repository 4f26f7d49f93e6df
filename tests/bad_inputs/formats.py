"""Annotations in other formats: PASCAL VOC, YOLO, Open Images, masks, results, lists, files of classes, folds."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from source_makers import voc_xml

from bad_inputs.case import Bad, Case, Refused, Skipped, Used
from bad_inputs.coco import START, place

XML = voc_xml(("cat", 11, 11, 30, 40), ("dog", 6, 6, 45, 45, True), size=(80, 64))
BOXES = [[10, 10, 30, 40], [5, 5, 45, 45]]


def picture(case: Case, name: str = "images/a.jpg") -> None:
    case.write({f"set/{name}": case.first_image().read_bytes()})


def voc(change: Callable[[str], str | bytes], **keys: Any) -> Callable[[Case], None]:
    """Change the XML of the one image."""

    def spoil(case: Case) -> None:
        picture(case)
        case.write({"set/xml/a.xml": change(XML)})
        case.only(images="{}/set/images", annotations="{}/set/xml", **keys)

    return spoil


def yolo(labels: str | bytes = "0 .5 .5 .5 .5\n", names: str | bytes = "names: [cat, dog]\n") -> Callable[[Case], None]:
    """Write a YOLO set of one image."""

    def spoil(case: Case) -> None:
        picture(case)
        case.write({"set/labels/a.txt": labels, "set/data.yaml": names})
        case.only(images="{}/set/images", annotations="{}/set/data.yaml")

    return spoil


HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)
ROW = "a,xclick,/m/01,1,0.125,0.375,0.25,0.5,0,0,0,0,0\n"
TREE = {"LabelName": "/m/0bl9f", "Subcategory": [{"LabelName": "/m/02", "Subcategory": [{"LabelName": "/m/01"}]}]}
CYCLE = {"LabelName": "r", "Subcategory": [{"LabelName": "/m/01", "Subcategory": [{"LabelName": "/m/01"}]}]}


def open_images(
    csv: str | bytes = HEADER + ROW, described: str | bytes = "/m/01,Cat\n/m/02,Dog\n", tree: Any = None
) -> Callable[[Case], None]:
    """Write a set of Open Images of one image."""

    def spoil(case: Case) -> None:
        picture(case)
        hierarchy = tree if isinstance(tree, bytes) else json.dumps(tree)
        case.write({"set/boxes.csv": csv, "set/class-descriptions.csv": described, "set/tree.json": hierarchy})
        keys = {} if tree is None else {"hierarchy": "{}/set/tree.json"}
        case.only(images="{}/set/images", annotations="{}/set/boxes.csv", **keys)

    return spoil


def png(image: Image.Image, **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **more)
    return buffer.getvalue()


def indices(values: int = 1, size: tuple[int, int] = (80, 64)) -> Image.Image:
    """Return a mask whose lower half has the class index ``values``."""
    mask = np.zeros(size[::-1], np.uint16 if values > 255 else np.uint8)
    mask[size[1] // 2 :] = values
    return Image.fromarray(mask)


def in_colours(colour: tuple[int, int, int]) -> Image.Image:
    image = indices().convert("P")
    image.putpalette([0, 0, 0, *colour] + [0] * 762)
    return image


def masks(second: bytes, names: str = "background\nthing\n") -> Callable[[Case], None]:
    """Write a set of two images with masks, of which one is spoilt."""

    def spoil(case: Case) -> None:
        for stem in ("a", "b"):
            picture(case, f"images/{stem}.jpg")
        case.write({"set/masks/a.png": png(in_colours((9, 9, 9))), "set/masks/b.png": second, "set/names.txt": names})
        case.only(images="{}/set/images", masks="{}/set/masks", classes="{}/set/names.txt")
        case.recipe["data"]["target"] = "masks"

    return spoil


RESULT = {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.9}


def results(content: Any, listed: Any = START) -> Callable[[Case], None]:
    """Give results of a detector as pseudo-labels."""

    def spoil(case: Case) -> None:
        place(case, START)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        case.write({"results.json": data, "images.json": json.dumps(listed)})
        unlabeled = {"images": f"{case.folder}/set/images", "list": f"{case.folder}/images.json"}
        case.set(data={"unlabeled": unlabeled, "pseudo_labels": f"{case.folder}/results.json"})

    return spoil


def listed(content: str | bytes) -> Callable[[Case], None]:
    """Choose labelled images by a list."""

    def spoil(case: Case) -> None:
        place(case, START)
        case.write({"list.txt": content})
        case.source(list="{}/list.txt")

    return spoil


def classes(content: str | bytes) -> Callable[[Case], None]:
    """Name the classes of an XML in a file."""

    def spoil(case: Case) -> None:
        voc(lambda xml: xml)(case)
        case.write({"names.txt": content})
        case.source(classes="{}/names.txt")

    return spoil


def folds(content: str | bytes) -> Callable[[Case], None]:
    """Choose half of the labelled images by a published file."""

    def spoil(case: Case) -> None:
        place(case, START)
        case.write({"folds.txt": content})
        case.source(split_file="{}/folds.txt", fraction=0.5, fold=1)

    return spoil


LAUGHS = '<!DOCTYPE annotation [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {name} "{f"&{inner};" * 12}">' for inner, name in zip("abcdefgh", "bcdefghi", strict=True)
)
A = r"xml/a\.xml: "
VOC = [
    Bad("no size", voc(lambda x: x.replace("size>", "sice>")), Refused(A + "the field 'size' is missing. It holds width")),
    Bad("no width", voc(lambda x: x.replace("width>", "w>")), Refused(A + "size: the field 'width' is missing")),
    Bad("a height as a word", voc(lambda x: x.replace("64<", "tall<")), Refused(A + r"size\.height: .*got 'tall'")),
    Bad("a width of 0", voc(lambda x: x.replace("80<", "0<")), Refused(A + r"size\.width: expected a positive integer")),
    Bad("an object without name", voc(lambda x: x.replace(">dog<", "><")), Refused(A + r"object\[1\]: the field 'name'")),
    Bad("no bndbox", voc(lambda x: x.replace("bndbox>", "box>")), Refused(A + r"object\[0\]: .*It holds xmin, ymin, xmax")),
    Bad("no xmin", voc(lambda x: x.replace("xmin>", "x>")), Refused(A + r"object\[0\]\.bndbox: the field 'xmin' is mis")),
    Bad("a corner as a word", voc(lambda x: x.replace(">11<", ">left<")), Refused(A + r"object\[0\]\.bndbox\.xmin: .*'left'")),
    Bad("a corner that is NaN", voc(lambda x: x.replace(">11<", ">nan<")), Skipped(r"no numbers(?s:.*)a\.xml: object\[0\]")),
    Bad("an infinite corner", voc(lambda x: x.replace(">40<", ">inf<")), Skipped(r"no numbers(?s:.*)a\.xml: object\[0\]")),
    Bad("a corner beyond float32", voc(lambda x: x.replace(">40<", ">1e300<")), Skipped(r"no numbers(?s:.*)a\.xml: object")),
    Bad("an inverted box", voc(lambda x: x.replace(">40<", ">2<")), Skipped(r"1 box without area(?s:.*)a\.xml: object\[0\]")),
    Bad("negative corners", voc(lambda x: x.replace(">11<", ">-9<")), Used({"boxes": [[0, 0, 30, 40], BOXES[1]]})),
    Bad("no XML", voc(lambda x: "cat 1 2 3 4"), Refused(A + "no valid XML: syntax error")),
    Bad("an empty file", voc(lambda x: ""), Refused(A + "no valid XML: no element found")),
    Bad("cut in the middle", voc(lambda x: x[:200]), Refused(A + "no valid XML: ")),
    Bad("another root", voc(lambda x: "<html/>"), Refused(A + "expected an element 'annotation', found 'html'")),
    Bad("a billion laughs", voc(lambda x: f"{LAUGHS}]>" + x.replace(">cat<", ">&i;<")), Refused(A + "no valid XML: ")),
    Bad("an unknown encoding", voc(lambda x: '<?xml version="1.0" encoding="klingon"?>' + x), Refused(A + "no valid XML")),
    Bad("nesting", voc(lambda x: "<annotation>" * 50_000), Refused(A + "no valid XML: no element found")),
    Bad("a BOM", voc(lambda x: b"\xef\xbb\xbf" + x.encode()), Used({"boxes": BOXES})),
    Bad("UTF-16", voc(lambda x: x.encode("utf-16")), Used({"boxes": BOXES})),
    Bad("CRLF", voc(lambda x: x.replace("><", ">\r\n<")), Used({"boxes": BOXES, "crowd": [False, True]})),
]  # fmt: skip
T, Y = r"labels/a\.txt: line 1: ", r"data\.yaml: "
YAML_LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n}, ' * 9}]\n" for n in range(12))
YOLO = [
    Bad("four numbers", yolo("0 .5 .5 .5"), Refused(T + "expected 5 numbers, got 4. A line has a class index, centre x")),
    Bad("a word", yolo("cat .5 .5 .5 .5"), Refused(T + "the class index: expected a number from 0 to 1, got 'cat'")),
    Bad("a class above the list", yolo("7 .5 .5 .5 .5"), Refused(T + "the class index: expected an integer from 0 to 1, go")),
    Bad("a negative class", yolo("-1 .5 .5 .5 .5"), Refused(T + "the class index: expected an integer from 0 to 1, got '-1'")),
    Bad("a class with a fraction", yolo("0.5 .5 .5 .5 .5"), Refused(T + "the class index: expected an integer")),
    Bad("pixels", yolo("0 40 32 20 20"), Refused(T + "centre x: expected a number from 0 to 1, got '40'")),
    Bad("NaN", yolo("0 nan .5 .5 .5"), Refused(T + "centre x: expected a number from 0 to 1, got 'nan'")),
    Bad("infinite", yolo("0 .5 .5 inf .5"), Refused(T + "width: expected a number from 0 to 1, got 'inf'")),
    Bad("no width", yolo("0 .5 .5 0 .5"), Skipped(r"1 box without area(?s:.*)a\.txt: line 1")),
    Bad("UTF-16 labels", yolo("0 .5 .5 .5 .5".encode("utf-16")), Refused(r"labels/a\.txt: the file is not UTF-8")),
    Bad("CRLF and a BOM", yolo(b"\xef\xbb\xbf0 .5 .5 .5 .5\r\n\r\n"), Used({"boxes": [[20, 16, 60, 48]]})),
    Bad("no names", yolo(names="nc: 2\n"), Refused(Y + "the field 'names' is missing. It lists the classes by their index")),
    Bad("names with a gap", yolo(names="names: {0: cat, 2: dog}\n"), Refused(Y + "names: expected names of the indices 0 to")),
    Bad("names that are lists", yolo(names="names: [[cat], dog]\n"), Refused(Y + "names: expected a list of class names, go")),
    Bad("one name twice", yolo(names="names: [cat, cat]\n"), Refused(Y + "names: the class 'cat' stands there twice")),
    Bad("names such as no", yolo(names="names: [no, 1.0]\n"), Used({"classes": ["no", "1.0"]})),
    Bad("no YAML", yolo(names="names: [cat"), Refused(Y + r"line \d: no valid YAML: ")),
    Bad("a tag that makes things", yolo(names="names: !!python/object/apply:os.system [x]"), Used({"classes": ["x"]})),
    Bad("a number that is none", yolo(names="nc: !!int many\nnames: [cat]"), Used({"classes": ["cat"]})),
    Bad("YAML that unfolds", yolo(names=f"{YAML_LAUGHS}names: [*a12]\n"), Refused(Y + "names: expected a list of class na")),
    Bad("deep YAML", yolo(names="names: " + "[" * 5000), Refused(Y + "no valid YAML: lists and mappings stand in one ano")),
]  # fmt: skip
B, D = r"boxes\.csv: ", r"class-descriptions\.csv: "
OPEN_IMAGES = [
    Bad("no column XMax", open_images((HEADER + ROW).replace("XMax,", "")), Refused(B + "line 1: the column 'XMax' is mis")),
    Bad("a short line", open_images(HEADER + "a,xclick\n"), Refused(B + "line 2: the line has 2 fields, the header has 13")),
    Bad("a word as corner", open_images(HEADER + ROW.replace("0.375", "right")), Refused(B + "line 2: XMax: expected a num")),
    Bad("pixels", open_images(HEADER + ROW.replace("0.375", "30")), Refused(B + "line 2: XMax: expected a fraction of the")),
    Bad("NaN", open_images(HEADER + ROW.replace("0.25", "nan")), Refused(B + "line 2: YMin: expected a fraction .* got nan")),
    Bad("an inverted box", open_images(HEADER + ROW.replace("0.375", "0.1")), Skipped(r"without area(?s:.*)boxes\.csv: line")),
    Bad("an unknown class", open_images(HEADER + ROW.replace("/m/01", "/m/9")), Refused(B + "line 2: LabelName: the class")),
    Bad("rows apart", open_images(HEADER + ROW + "b,,/m/01,1,0,1,0,1,0,0,0,0,0\n" + ROW), Refused(B + "line 4: rows of")),
    Bad("UTF-16", open_images((HEADER + ROW).encode("utf-16")), Refused(B + "the annotations are a file that is no JSON")),
    Bad("Latin-1 within", open_images((HEADER + ROW).encode() + b"\xe9"), Refused(B + "line .*not UTF-8: unexpected")),
    Bad("CRLF and a BOM", open_images(b"\xef\xbb\xbf" + (HEADER + ROW).replace("\n", "\r\n").encode()),
        Used({"boxes": [[10, 16, 30, 32]]})),
    Bad("a description without name", open_images(described="/m/01\n"), Refused(D + "line 1: expected two fields, got")),
    Bad("a description twice", open_images(described="/m/01,Cat\n/m/01,Dog\n"), Refused(D + "line 2: LabelName: '/m/01' st")),
    Bad("a field of 200 kB", open_images(described=f"/m/01,{'x' * 200_000}\n"), Refused(D + "line 1: no valid CSV: field l")),
    Bad("a cycle of classes", open_images(tree=CYCLE), Refused(r"tree\.json: the class '/m/01' stands below itself. A hiera")),
    Bad("a class without name", open_images(tree={"Subcategory": []}), Refused(r"tree\.json: the root: the field 'LabelName'")),
    Bad("children of one", open_images(tree={"LabelName": "r", "Subcategory": 7}), Refused(r"tree\.json: .*expected a list")),
    Bad("a deep hierarchy", open_images(tree=b"[" * 10**6), Refused(r"tree\.json: no valid JSON: lists and objects stand in")),
    Bad("a hierarchy", open_images(tree=TREE), Used({"labels": [0, 1], "boxes": [[10, 16, 30, 32]] * 2})),
]  # fmt: skip
M = r"masks/b\.png: "
MASKS = [
    Bad("another size", masks(png(indices(size=(40, 64)))), Refused(M + r"the mask is 40 x 64 pixels, its image b\.jpg is 80")),
    Bad("an index above the list", masks(png(indices(9))), Refused(M + "pixel x=0, y=32: expected a class index from 0 to 1")),
    Bad("an index of 16 bits", masks(png(indices(700))), Refused(M + "pixel x=0, y=32: expected a class .* got 700")),
    Bad("a picture in colours", masks(png(indices().convert("RGB"))), Refused(M + r"expected class indices, .* \(mode RGB\)")),
    Bad("other colours", masks(png(in_colours((8, 8, 8)))), Refused(M + r"its palette gives the class index 1 the colour \(8")),
    Bad("a mask cut short", masks(png(indices())[:60]), Skipped(r"1 mask .*(?s:.*)b\.png: ")),
    Bad("a mask that is text", masks(b"mask"), Skipped(r"1 mask .*(?s:.*)b\.png: not an image, or of an unknown format")),
    Bad("no class names", masks(png(indices()), names="\n"), Refused(r"names\.txt: the file names no class. Write a name a")),
    Bad("300 class names", masks(png(indices()), names="\n".join(map(str, range(300)))), Refused(r"names\.txt: masks hold at")),
]  # fmt: skip
R = r"results\.json: "
RESULTS = [
    Bad("an object", results({"annotations": []}), Refused(R + "expected a JSON list, found an object")),
    Bad("no score", results([{**RESULT, "score": None}]), Refused(R + r"\[0\]\.score: expected a number from 0 to 1, got null")),
    Bad("a score of 90", results([RESULT, {**RESULT, "score": 90}]), Refused(R + r"\[1\]\.score: expected a number from 0 to")),
    Bad("a score that is NaN", results([{**RESULT, "score": float("nan")}]), Refused(R + r"\[0\]\.score: .*got NaN")),
    Bad("an unknown image", results([{**RESULT, "image_id": 9}]), Refused(R + r"\[0\]\.image_id: no image has the id 9")),
    Bad("an unknown class", results([{**RESULT, "category_id": 9}]), Refused(R + r"\[0\]\.category_id: no category has the id")),
    Bad("no results", results([]), Refused(R + "none of 2 images has a pseudo-label that reaches its threshold")),
    Bad("JSON lines", results(b'{"image_id": 1}\n{"image_id": 2}'), Refused(R + "expected a JSON list, found an object")),
    Bad("a box outside", results([RESULT, {**RESULT, "bbox": [500, 0, 5, 5]}]), Skipped(r"1 box .*outside(?s:.*)\[1\] of a")),
]  # fmt: skip
LISTS = [
    Bad("a name that is not there", listed("a.jpg\nz.jpg\n"), Refused(r"list\.txt: 1 of 2 images are not in .*: 'z\.jpg'")),
    Bad("another case", listed("A.JPG\n"), Refused(r"list\.txt: 1 of 1 images .*'A\.JPG'.* Did you mean 'a\.jpg'\?")),
    Bad("an empty list", listed("\n\n"), Refused(r"list\.txt: the list names no image. Write a name a line")),
    Bad("a list in UTF-16", listed("a.jpg\n".encode("utf-16")), Refused(r"list\.txt: the list is not UTF-8")),
    Bad("JSON without images", listed('{"a": 1}'), Refused(r"list\.txt: the list 'images' is missing")),
    Bad("a list that leaves", listed("../a.jpg\n"), Refused(r"list\.txt: 1 of 1 images are not in .*'\.\./a\.jpg'")),
    Bad("CRLF and a BOM", listed(b"\xef\xbb\xbfb.jpg\r\n"), Used({"image_ids": [2]})),
]  # fmt: skip
N = r"names\.txt: "
CLASSES = [
    Bad("one class twice", classes("cat\ncat\n"), Refused(N + "the class 'cat' stands there twice")),
    Bad("UTF-16", classes("cat".encode("utf-16")), Refused(N + "the file is not UTF-8")),
    Bad("JSON that is no list", classes('{"0": "cat"}'), Refused(N + 'expected a list of class names. Such as \\["cat", "dog"')),
    Bad("deep JSON", classes("[" * 10**6), Refused(N + "no valid JSON: lists and objects stand in one another too deep")),
    Bad("half a letter", classes('["\\ud800"]'), Refused(N + r"the class name '\\ud800' is no text")),
    Bad("classes that no XML has", classes("bird\n"), Used({"classes": ["bird"], "boxes": []})),
    Bad("folds that are no JSON", folds("1.0: 1"), Refused(r"folds\.txt: no valid JSON")),
    Bad("folds of other images", folds('{"50.0": {"1": [7]}}'), Refused(r"folds\.txt: 50 %, fold 1: the fold has 1 images up")),
    Bad("a huge number in a fold", folds(f'{{"50.0": {{"1": [{10**30}]}}}}'), Refused(r"folds\.txt: 50 %, fold 1: expected a l")),
]  # fmt: skip
TABLES = {"VOC": VOC, "YOLO": YOLO, "Open Images": OPEN_IMAGES, "masks": MASKS, "results": RESULTS, "lists": LISTS}
TABLES |= {"classes and folds": CLASSES}
