"""PASCAL VOC: roots, lists, the two meanings of a corner, difficult objects, and what is refused."""

import json
import logging

import numpy as np
import pytest
from source_makers import voc_xml, write_image, write_voc

from lightning_st.errors import AnnotationError, ConfigError
from lightning_st.index import ReaderOptions, build_index

TWO = {"a": voc_xml(("dog", 1, 1, 100, 50), ("cat", 11, 6, 20, 15, True)), "b": voc_xml(("dog", 2, 3, 4, 5))}


@pytest.fixture
def root(tmp_path):
    return write_voc(tmp_path / "VOC2012", TWO)


def names_of(index):
    return list(index.iterate_names())


def test_a_root_says_where_everything_is(root):
    index = build_index(root, labeled=True)
    assert (names_of(index), index.classes, index.source["format"]) == (["a.jpg", "b.jpg"], ("cat", "dog"), "voc")
    assert index.image(0).path == str(root / "JPEGImages" / "a.jpg")
    assert (index.image(0).width, index.image(0).height) == (100, 50)


def test_pixels_count_from_one_and_the_last_is_inside(root):
    annotations = build_index(root, labeled=True).annotations(0)
    assert annotations.boxes.tolist() == [[0, 0, 100, 50], [10, 5, 20, 15]]
    assert annotations.labels.tolist() == [1, 0]


def test_difficult_objects_are_crowd(root):
    assert build_index(root, labeled=True).annotations(0).crowd.tolist() == [False, True]


def test_parts_of_an_object_are_no_objects(root):
    assert "head" not in build_index(root, labeled=True).classes


def test_corners_are_plain_where_no_pascal_is_named(root, caplog):
    for stem in TWO:
        path = root / "Annotations" / f"{stem}.xml"
        path.write_text(path.read_text().replace("The VOC2007 Database", "Unknown"))
    with caplog.at_level(logging.INFO):
        index = build_index(root, labeled=True)
    assert index.annotations(1).boxes.tolist() == [[2, 3, 4, 5]]
    assert "its database is 'Unknown': boxes are plain corners (first_pixel: 0)" in caplog.text
    chosen = build_index(root, labeled=True, options=ReaderOptions(first_pixel=1))
    assert chosen.annotations(1).boxes.tolist() == [[1, 2, 4, 5]]
    assert chosen.source["first_pixel"] == 1


def test_a_root_without_labels_shows_none(root):
    write_image(root / "SegmentationClass" / "a.png")
    for labeled in (None, False):
        index = build_index(root, labeled=labeled)
        assert (names_of(index), index.is_labeled, index.classes) == (["a.jpg", "b.jpg"], False, ())


@pytest.mark.parametrize("labeled", [True, False])
def test_a_list_of_the_root_goes_by_its_name(root, labeled):
    (root / "ImageSets" / "Main" / "train.txt").write_text("b\n")
    assert names_of(build_index(root, list_file="train", labeled=labeled)) == ["b.jpg"]
    assert names_of(build_index(root, list_file=root / "ImageSets/Main/train.txt", labeled=labeled)) == ["b.jpg"]
    with pytest.raises(AnnotationError, match=r"trainn: there is no such file \(list\), nor such .* splits: train"):
        build_index(root, list_file="trainn", labeled=labeled)


def test_a_list_of_one_class_leaves_out_images_without_it(root):
    (root / "ImageSets" / "Main" / "cat_train.txt").write_text("a  1\nb -1\n")
    assert names_of(build_index(root, list_file="cat_train", labeled=True)) == ["a.jpg"]


def test_lists_of_one_folder_agree_on_the_classes(root):
    (root / "list").write_text("b.jpg\n")
    assert build_index(root, list_file=root / "list", labeled=True).classes == ("cat", "dog")


def test_a_file_of_classes_chooses_them_and_their_order(root, tmp_path):
    for content in ("dog\n", '["dog"]'):
        (tmp_path / "classes").write_text(content)
        index = build_index(root, labeled=True, options=ReaderOptions(classes=tmp_path / "classes"))
        assert (index.classes, index.labels.tolist()) == (("dog",), [0, 0])


def test_images_and_annotations_may_lie_apart(root, tmp_path):
    (root / "Annotations").rename(tmp_path / "xml")
    index = build_index(root / "JPEGImages", tmp_path / "xml")
    assert (names_of(index), index.source["format"]) == (["a.jpg", "b.jpg"], "voc")


def test_a_root_may_have_other_annotations(root, tmp_path):
    write_image(root / "SegmentationClass" / "a.png")
    (root / "Annotations").rename(tmp_path / "xml")
    (root / "Annotations").mkdir()
    index = build_index(root, tmp_path / "xml", list_file=None)
    assert (names_of(index), index.image(0).path) == (["a.jpg", "b.jpg"], str(root / "JPEGImages" / "a.jpg"))


def test_an_image_without_xml_is_left_out_and_an_xml_without_image_counted(root):
    write_image(root / "JPEGImages" / "c.jpg")
    (root / "JPEGImages" / "b.jpg").unlink()
    index = build_index(root, labeled=True)
    assert names_of(index) == ["a.jpg"]
    assert index.problems["missing_image"]["count"] == 1
    assert "b.xml: there is no image 'b'" in index.problems["missing_image"]["examples"][0]
    (root / "list").write_text("a\nc\n")
    with pytest.raises(AnnotationError, match=r"list: 1 images of the list have no XML in .*Annotations.*'c\.jpg'"):
        build_index(root, list_file=root / "list", labeled=True)


def test_bad_boxes_name_their_file_and_object(root):
    (root / "Annotations" / "a.xml").write_text(voc_xml(("dog", 1, 1, 9, 9), ("dog", 7, 7, 6, 9), ("dog", -5, 1, 9, 9)))
    index = build_index(root, labeled=True)
    assert {kind: entry["count"] for kind, entry in index.problems.items()} == {"no_area": 1, "clipped": 1}
    assert index.problems["no_area"]["examples"] == ["a.xml: object[1]: xyxy [6.0, 6.0, 6.0, 9.0]"]
    assert index.annotations(0).boxes.tolist() == [[0, 0, 9, 9], [0, 0, 9, 9]]


def test_a_changed_xml_makes_another_index(root):
    before = build_index(root, labeled=True)
    (root / "Annotations" / "b.xml").write_text(voc_xml(("dog", 2, 3, 40, 50)))
    assert build_index(root, labeled=True).path != before.path


def test_two_years_are_told_apart(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        write_voc(tmp_path / year, TWO)
        if year == "VOC2007":
            assert names_of(build_index(tmp_path, labeled=True)) == ["a.jpg", "b.jpg"]
    with pytest.raises(ConfigError, match="the folder holds VOC2007, VOC2012: cannot tell which is meant"):
        build_index(tmp_path, labeled=True)


REFUSALS = {
    "cut": (voc_xml(("dog", 1, 1, 2, 2))[:-20], r"a\.xml: no valid XML: "),
    "empty": ("", r"a\.xml: no valid XML: no element found"),
    "other XML": ("<svg/>", "expected an element 'annotation', found 'svg'"),
    "no size": ("<annotation/>", r"a\.xml: the field 'size' is missing. It holds width and height"),
    "no width": ("<annotation><size><height>3</height></size></annotation>", "size: the field 'width' is missing"),
    "size zero": (voc_xml(size=(0, 5)), r"size\.width: expected a positive integer, got '0'"),
    "no name": (voc_xml(("", 1, 1, 2, 2)), r"object\[0\]: the field 'name' is missing"),
    "no box": (
        voc_xml().replace("</annotation>", "<object><name>dog</name></object></annotation>"),
        r"a\.xml: object\[0\]: the field 'bndbox' is missing. It holds xmin, ymin, xmax, ymax",
    ),
    "no corner": (
        voc_xml(("dog", 1, 1, 2, 2)).replace("<xmax>2</xmax>", ""),
        r"a\.xml: object\[0\]\.bndbox: the field 'xmax' is missing",
    ),
    "no number": (
        voc_xml(("dog", 1, 1, "two", 2)),
        r"a\.xml: object\[0\]\.bndbox\.xmax: expected a number, got 'two'",
    ),
}


@pytest.mark.parametrize(("xml", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_wrong_xml_is_refused_in_one_sentence(tmp_path, xml, message):
    root = write_voc(tmp_path / "VOC2012", {"a": xml, "b": TWO["b"]})
    with pytest.raises(AnnotationError, match=message) as refusal:
        build_index(root, labeled=True)
    assert "\n" not in str(refusal.value)


def test_what_is_missing_as_a_whole_is_refused(root, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnnotationError, match="empty: the folder holds no XML file"):
        build_index(root / "JPEGImages", tmp_path / "empty", "voc")
    write_image(tmp_path / "others" / "z.jpg")
    with pytest.raises(AnnotationError, match=r"Annotations: no XML has an image in .*others"):
        build_index(tmp_path / "others", root / "Annotations")
    write_voc(tmp_path / "bare", {"a": voc_xml()})
    with pytest.raises(AnnotationError, match="none of 1 XML files holds an object"):
        build_index(tmp_path / "bare", labeled=True)
    with pytest.raises(ConfigError, match="Expected first_pixel to be 0 or 1, got 2"):
        build_index(root, labeled=True, options=ReaderOptions(first_pixel=2))
    with pytest.raises(ConfigError, match="hierarchy to be left out: the format 'voc' does not take it"):
        build_index(root, labeled=True, options=ReaderOptions(hierarchy=tmp_path))


@pytest.mark.data
@pytest.mark.parametrize(("name", "file"), [("voc_formats", "all"), ("voc_formats", "val"), ("bccd", "all")])
def test_real_xml_says_what_the_json_beside_it_says(shared_data, name, file):
    folder = shared_data / name
    list_file = folder / "original" / "ImageSets" / "Main" / f"{file}.txt"
    index = build_index(
        folder / "images", folder / "original" / "Annotations", list_file=list_file if file == "val" else None
    )
    reference = json.loads((folder / "annotations" / f"{file}.json").read_text())
    compare_with_json(index, reference)
    assert index.bad_box_count == (2 if name == "bccd" else 0)


def compare_with_json(index, reference, tolerance=0.0):
    """Compare an index with the JSON that lies beside its source, box by box."""
    names = {category["id"]: category["name"] for category in reference["categories"]}
    rows = {name.rpartition("/")[2]: row for row, name in enumerate(index.iterate_names())}
    assert len(index) == len(reference["images"])
    for image in reference["images"]:
        row = rows[image["file_name"].rpartition("/")[2]]
        boxes = [box for box in reference["annotations"] if box["image_id"] == image["id"]]
        found, expected = index.annotations(row), np.array([box["bbox"] for box in boxes]).reshape(-1, 4)
        expected[:, 2:] += expected[:, :2]
        assert (index.image(row).width, index.image(row).height) == (image["width"], image["height"])
        np.testing.assert_allclose(found.boxes, expected, rtol=0, atol=tolerance)
        assert [index.classes[label] for label in found.labels] == [names[box["category_id"]] for box in boxes]
        assert found.crowd.tolist() == [bool(box["iscrowd"] or box.get("ignore")) for box in boxes]
