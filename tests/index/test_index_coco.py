"""COCO JSON: the same as pycocotools reads, and one sentence for each way a file can be wrong."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from lightning_st.errors import AnnotationError
from lightning_st.index import build_index

SHARED_SETS = {
    "bccd/all_raw.json": "bccd/images",
    "coco_mini/all.json": "coco_mini/images",
    "coco_mini/instances_train2017.json": "coco_mini/images/train2017",
    "nuclei/train.json": "nuclei/images",
    "oid_format/train.json": "oid_format/images",
    "voc_formats/all.json": "voc_formats/images",
    "bccd/train_unlabeled_80.json": "bccd/images",
}


def content(**changes):
    """A small COCO file: two images, the second without boxes; sparse ids."""
    whole = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 100, "height": 50},
            {"id": 3, "file_name": "sub/b.jpg", "width": 60, "height": 80},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [10, 20, 30.5, 10], "area": 99.5, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 100, 50], "iscrowd": 1},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    return whole | changes


@pytest.fixture
def build(tmp_path):
    """Return a function that builds the index of a COCO file given as an object, or as text."""
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg"):
        (images / name).touch()

    def build(what, **arguments):
        path = tmp_path / "labels.json"
        path.write_text(what if isinstance(what, str) else json.dumps(what))
        return build_index(images, path, **arguments)

    return build


def first(field, **changes):
    """The small file with fields of its first record of `field` changed; a field set to `...` is left out."""
    whole = content()
    whole[field][0] = {key: value for key, value in (whole[field][0] | changes).items() if value is not ...}
    return whole


@pytest.mark.data
@pytest.mark.parametrize("name", SHARED_SETS)
def test_real_files_read_as_pycocotools_reads_them(shared_data, name):
    folder, file = name.split("/")
    path = shared_data / folder / "annotations" / file
    if not path.exists():
        pytest.skip(f"{path} is not there")
    index, reference = build_index(shared_data / SHARED_SETS[name], path), COCO(path)
    counted = json.loads((shared_data / "VERIFY.json").read_text())[folder]["json"][file]
    assert len(index) == counted["images"]
    assert index.box_count_read == counted["annotations"]
    assert index.bad_box_count == counted["boxes_zero"]
    assert int(index.crowd.sum()) == counted["crowd"]
    assert index.class_ids == tuple(sorted(reference.getCatIds()))
    for row in range(len(index)):
        compare_image(index, reference, row)


def compare_image(index, reference, row):
    record = index.image(row)
    image = reference.imgs[record.image_id]
    assert (record.name, record.width, record.height) == (image["file_name"], image["width"], image["height"])
    boxes = [box for box in reference.imgToAnns[record.image_id] if min(box["bbox"][2:]) > 0]
    expected = np.array([box["bbox"] for box in boxes]).reshape(-1, 4)
    expected[:, 2:] += expected[:, :2]
    found = index.annotations(row)
    np.testing.assert_allclose(found.boxes, np.clip(expected, 0, np.tile([image["width"], image["height"]], 2)), 1e-6)
    assert [index.class_ids[label] for label in found.labels] == [box["category_id"] for box in boxes]
    assert found.crowd.tolist() == [bool(box["iscrowd"]) for box in boxes]
    np.testing.assert_allclose(found.areas, [box["area"] for box in boxes], 1e-6)
    segmentations = [index.segmentation(int(index.box_offsets[row]) + number) for number in range(len(boxes))]
    assert segmentations == [box.get("segmentation") or None for box in boxes]


def test_a_small_file_worked_out_by_hand(build):
    index = build(content())
    assert (index.classes, index.class_ids) == (("cat", "dog"), (2, 18))
    assert [index.image(row).image_id for row in range(2)] == [7, 3]
    annotations = index.annotations(0)
    assert annotations.boxes.tolist() == [[10, 20, 40.5, 30], [0, 0, 100, 50]]
    assert annotations.labels.tolist() == [1, 0]
    assert annotations.crowd.tolist() == [False, True]
    assert annotations.areas.tolist() == [99.5, 5000]
    assert annotations.scores.tolist() == [1, 1]
    assert not index.has_scores
    assert index.annotations(1).boxes.shape == (0, 4)
    assert (index.is_labeled, index.problems) == (True, {})
    assert index.source["format"] == "coco"


def test_the_order_of_lists_and_records_does_not_matter(build):
    straight = build(content()).fingerprint
    whole = content(info={"segmentation": [[1]]}, licenses=[{"images": []}])
    whole["categories"].reverse()
    whole = dict(reversed(whole.items()))
    assert build(json.dumps(whole, indent=3)).fingerprint == straight
    assert build("\ufeff" + json.dumps(whole)).fingerprint == straight


def test_annotations_need_not_be_grouped_by_image(build):
    boxes = [
        {"image_id": 7 if number % 3 else 3, "category_id": 2, "bbox": [number, 0, 1, 1], "segmentation": [[number]]}
        for number in range(20)
    ]
    index = build(content(annotations=boxes))
    assert index.annotations(0).boxes[:, 0].tolist() == [number for number in range(20) if number % 3]
    assert [index.segmentation(box)[0][0] for box in range(20)] == index.boxes[:, 0].tolist()


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2.5, 3e1, -4]],
        [[1, 2], [3, 4]],
        {"counts": [1, 2, 3], "size": [4, 5]},
        {"counts": 'a"}]\\[{é', "size": [4, 5]},
        [{"counts": "ab", "size": [1, 2]}],
        [[1, 2], None, [3, 4]],
        [[1, 2], [float("inf"), 4]],
    ],
)
@pytest.mark.parametrize("is_last", [True, False])
def test_segmentations_are_kept(build, segmentation, is_last):
    box = {"image_id": 7, "category_id": 2, "bbox": [1, 1, 1, 1]}
    box = box | {"segmentation": segmentation} if is_last else {"segmentation": segmentation} | box
    nested = box | {"attributes": {"segmentation": [[0]]}}
    index = build(content(annotations=[box, nested, box | {"segmentation": []}, box | {"segmentation": None}]))
    assert [index.segmentation(number) for number in range(4)] == [segmentation, segmentation, None, None]


def test_scores_are_read_where_there_are_some(build):
    whole = first("annotations", score=0.25)
    index = build(whole)
    assert index.has_scores
    assert index.scores.tolist() == [0.25, 1]


def test_an_image_may_be_of_unknown_size(build):
    whole = first("images", width=..., height=...)
    whole["annotations"][0]["bbox"] = [-10, 2000, 40, 10]
    index = build(whole)
    assert (index.image(0).width, index.image(0).height) == (0, 0)
    assert index.annotations(0).boxes.tolist() == [[0, 2000, 30, 2010], [0, 0, 100, 50]]
    assert {kind: problem["count"] for kind, problem in index.problems.items()} == {"clipped": 1}


def test_bad_boxes_are_counted_and_left_out(build):
    bad = {
        "not_finite": [[float("nan"), 0, 1, 1], [0, 0, float("inf"), 1]],
        "no_area": [[1, 1, 0, 5], [1, 1, 5, 0], [9, 9, -3, 3]],
        "outside": [[100, 0, 5, 5], [0, 50, 5, 5], [-5, 0, 5, 5], [0, -9, 5, 5]],
        "clipped": [[-5, -5, 10, 10], [90, 40, 20, 20]],
    }
    boxes = [{"image_id": 7, "category_id": 2, "bbox": box} for boxes in bad.values() for box in boxes]
    index = build(content(annotations=boxes))
    assert {kind: entry["count"] for kind, entry in index.problems.items()} == {k: len(v) for k, v in bad.items()}
    assert (index.bad_box_count, index.box_count_read, len(index.bad_box_examples)) == (9, 11, 9)
    assert index.boxes.tolist() == [[0, 0, 5, 5], [90, 40, 100, 50]]
    assert index.areas.tolist() == [25, 100]
    assert index.problems["outside"]["examples"][0] == "annotations[5] of a.jpg: xyxy [100.0, 0.0, 105.0, 5.0]"


def test_problems_hold_ten_examples(build):
    boxes = [{"image_id": 7, "category_id": 2, "bbox": [0, 0, 0, 0]}] * 25
    problem = build(content(annotations=boxes)).problems["no_area"]
    assert (problem["count"], len(problem["examples"])) == (25, 10)


def many(count, **changes):
    """A file of `count` equal annotations; `changes` are those of the last."""
    box = content()["annotations"][0]
    records = [box | {"id": number} for number in range(count)]
    records[-1] |= changes
    return content(annotations=records)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bbox": [1, 2, 3, "4"]}, r"bbox: expected four numbers .*, got \[1, 2, 3, \"4\"\]"),
        ({"bbox": [1, 2, 3]}, "bbox: expected four numbers"),
        ({"area": -1}, "area: expected a number of square pixels, got -1"),
        ({"iscrowd": 2}, "iscrowd: expected 0 or 1, got 2"),
        ({"image_id": True}, "image_id: expected an integer, got true"),
        ({"category_id": 2**63}, "category_id: expected an integer, got 9223372036854775808"),
        ({"score": 1.5}, "score: expected a number from 0 to 1, got 1.5"),
    ],
)
def test_of_many_records_the_wrong_one_is_named(build, changes, problem):
    """They are looked at some hundreds at a time."""
    with pytest.raises(AnnotationError, match=rf"annotations\[1299\]\.{problem}"):
        build(many(1300, **changes))


def test_a_wrong_record_comes_before_json_that_is_none_after_it(build):
    text = json.dumps(many(700, iscrowd=7)).replace('"iscrowd": 7}', '"iscrowd": 7}, {"id": }')
    with pytest.raises(AnnotationError, match=r"annotations\[699\]\.iscrowd: expected 0 or 1, got 7"):
        build(text)


def test_values_that_are_accepted_one_by_one_are_read(build):
    """A flag may be true, a box hold whole numbers, an area be NaN: the box's own is taken then."""
    index = build(many(600, iscrowd=True, area=float("nan"), bbox=[1, 2, 30, 40]))
    assert len(index.boxes) == 600
    assert index.crowd.tolist() == [False] * 599 + [True]
    assert index.areas[-1] == 1200
    assert index.boxes[-1].tolist() == [1, 2, 31, 42]


def test_a_file_without_any_box_is_labeled(build):
    index = build(content(annotations=[]))
    assert (len(index), len(index.boxes), index.is_labeled, index.classes) == (2, 0, True, ("cat", "dog"))


def test_missing_images_are_found_out_by_a_sample(build, tmp_path):
    (tmp_path / "images" / "a.jpg").unlink()
    assert len(build(content())) == 2
    (tmp_path / "images" / "sub" / "b.jpg").unlink()
    with pytest.raises(AnnotationError, match=r"none of its first 2 images is there, such as .*images/a\.jpg"):
        build(content(info="changed, so not in the cache"))


REFUSALS = {
    "empty file": ("", "expected a JSON object, found nothing"),
    "no json": ('{"images": [}', "line 1 column 13: no valid JSON: Expecting value"),
    "cut": (json.dumps(content())[:-30], r"line 1 column \d+: no valid JSON: the file ends in the middle"),
    "cut in a string": ('{\n\n"images": [{"file_na', r"line 3 column \d+: no valid JSON: the file ends in the middle"),
    "text behind": (json.dumps(content()) + "\n x", "line 2 column 2: no valid JSON: more text after the end"),
    "brace behind": (json.dumps(content()) + "}", r"line 1 column \d+: no valid JSON: more text after the end"),
    "empty object": ("{}", "the list 'annotations' is missing"),
    "key without quotes": ("{images: []}", "expected a key in double quotes"),
    "colon missing": ('{"images" []}', "expected ':'"),
    "comma missing": ('{"images": [] "annotations": []}', "expected ',' or '}'"),
    "comma missing in list": ('{"images": [1 2]}', "images.0.: expected an object, got 1"),
    "too deep": (
        '{"images": ' + "[" * 100_000,
        "no valid JSON: lists and objects stand in one another more than 100 deep",
    ),
    "detection results": ("[]", "expected a JSON object, found a list. Detection results are no annotations"),
    "no annotations": (
        {key: value for key, value in content().items() if key != "annotations"},
        "the list 'annotations' is missing. A COCO file of labelled images has",
    ),
    "no images": ({"annotations": [], "categories": []}, "the list 'images' is missing"),
    "images no list": (content(images={}), "images: expected a list, got {}"),
    "images empty": (content(images=[]), "images: the file names no image"),
    "categories empty": (content(categories=[], annotations=[]), "categories: the file names no class"),
    "image no object": (content(images=["a.jpg"]), r'images\[0\]: expected an object, got "a.jpg"'),
    "file_name missing": (
        first("images", file_name=...),
        r"images\[0\]: the field 'file_name' is missing. It is a file",
    ),
    "file_name number": (first("images", file_name=5), r"images\[0\].file_name: expected a file name, got 5"),
    "file_name absolute": (first("images", file_name="/etc/a.jpg"), r"'/etc/a.jpg' is not a path below the folder"),
    "file_name leaves": (first("images", file_name="x/../../a.jpg"), r"images\[0\].file_name: 'x/../../a.jpg' is not"),
    "file_name with zero": (first("images", file_name="a\0.jpg"), "is not a path below"),
    "file_name half a pair": (first("images", file_name="\ud800.jpg"), "is not a path below"),
    "file_name a folder": (first("images", file_name="."), "'.' is not a path below"),
    "image id text": (first("images", id="7"), r'images\[0\].id: expected an integer, got "7"'),
    "image id huge": (first("images", id=2**63), r"images\[0\].id: expected an integer"),
    "width text": (first("images", width="9"), r'images\[0\].width: expected a positive integer, got "9"'),
    "file_name twice": (
        first("images", file_name="sub/./b.jpg"),
        r"images\[1\].file_name: 'sub/b.jpg' stands already in images\[0\].file_name",
    ),
    "height zero": (first("images", height=0), r"images\[0\].height: expected a positive integer, got 0"),
    "image id twice": (first("images", id=3), r"images\[1\].id: 3 stands already in images\[0\].id"),
    "category id twice": (first("categories", id=2), r"categories\[1\].id: 2 stands already in categories\[0\].id"),
    "category name twice": (first("categories", name="cat"), r"categories\[1\].name: 'cat' stands already in"),
    "category name missing": (first("categories", name=...), r"categories\[0\]: the field 'name' is missing"),
    "unknown image": (first("annotations", image_id=8), r"annotations\[0\].image_id: no image has the id 8 \(1 of 2"),
    "unknown category": (
        first("annotations", category_id=1),
        r"annotations\[0\].category_id: no category has the id 1",
    ),
    "unknown high category": (first("annotations", category_id=99), "no category has the id 99"),
    "bbox missing": (first("annotations", bbox=...), r"annotations\[0\]: the field 'bbox' is missing. It is four"),
    "bbox short": (
        first("annotations", bbox=[1, 2, 3]),
        r"annotations\[0\].bbox: expected four numbers.*got \[1, 2, 3\]",
    ),
    "bbox text": (first("annotations", bbox=["1", 2, 3, 4]), r"annotations\[0\].bbox: expected four numbers"),
    "bbox huge": (
        first("annotations", bbox=[10**400, 2, 3, 4]),
        r"annotations\[0\].bbox: expected four numbers.*0000\.\.\.",
    ),
    "area text": (first("annotations", area="9"), r"annotations\[0\].area: expected a number"),
    "iscrowd two": (first("annotations", iscrowd=2), r"annotations\[0\].iscrowd: expected 0 or 1, got 2"),
    "score text": (first("annotations", score="high"), r"annotations\[0\].score: expected a number"),
}


@pytest.mark.parametrize(("what", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_wrong_file_is_refused_in_one_sentence(build, what, message):
    with pytest.raises(AnnotationError, match=message) as refusal:
        build(what)
    assert "labels.json: " in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_no_utf8_is_refused(build, tmp_path):
    (tmp_path / "latin.json").write_bytes(b'{"images": "\xe4\xf6"}')
    with pytest.raises(AnnotationError, match=r"latin\.json: the file is not UTF-8"):
        build_index(tmp_path / "images", tmp_path / "latin.json")
