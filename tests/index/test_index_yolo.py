"""YOLO text files: where labels and names are looked for, splits of data.yaml, export, and what is refused."""

import numpy as np
import pytest
import yaml
from source_makers import read_member, tar_bytes, write_image

from lightning_st.errors import AnnotationError, ConfigError, DataError
from lightning_st.index import AnnotationIndex, IndexWriter, ReaderOptions, build_index, export_yolo

YAML = "path: ../datasets/coco8\ntrain: images/train\nval: val.txt\ntest: [a, b]\nnames: {0: cat, 1: dog}\n"


@pytest.fixture
def root(tmp_path):
    """A data set as ultralytics has it: two images to train, one of them without boxes, and one to judge by."""
    root = tmp_path / "coco8"
    for name in ("train/1", "train/2", "val/3"):
        write_image(root / "images" / f"{name}.jpg")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "val").mkdir()
    (root / "labels" / "train" / "1.txt").write_text("1 0.5 0.5 0.2 0.4\n\n0 0.1 0.1 0.2 0.2\n")
    (root / "labels" / "val" / "3.txt").write_text("0 0.5 0.5 1 1")
    (root / "val.txt").write_text("./images/val/3.jpg\n")
    (root / "data.yaml").write_text(YAML)
    return root


def names_of(index):
    return list(index.iterate_names())


def test_a_root_says_where_everything_is(root):
    index = build_index(root, labeled=True)
    assert (index.source["format"], index.classes) == ("yolo", ("cat", "dog"))
    assert names_of(index) == ["images/train/1.jpg", "images/train/2.jpg", "images/val/3.jpg"]
    np.testing.assert_allclose(index.annotations(0).boxes, [[40, 15, 60, 35], [0, 0, 20, 10]], atol=1e-4)
    assert index.annotations(0).labels.tolist() == [1, 0]
    assert len(index.annotations(1).boxes) == 0
    assert (index.image(1).width, index.image(1).height) == (100, 50)


def test_a_root_that_could_be_two_says_what_it_holds(root):
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir()
    with pytest.raises(ConfigError, match="Annotations/ and JPEGImages/ of PASCAL VOC, and data"):
        build_index(root, labeled=True)
    assert build_index(root, labeled=True, format="yolo").source["format"] == "yolo"


@pytest.mark.parametrize("labeled", [True, False])
def test_splits_of_a_data_yaml_are_folders_or_lists(root, labeled):
    assert names_of(build_index(root, list_file="train", labeled=labeled)) == ["1.jpg", "2.jpg"]
    assert names_of(build_index(root, list_file="val", labeled=labeled)) == ["images/val/3.jpg"]
    assert build_index(root, list_file="val", labeled=labeled).is_labeled is labeled
    with pytest.raises(AnnotationError, match=r"data\.yaml: test: expected a folder or a file, got \['a', 'b'\]"):
        build_index(root, list_file="test", labeled=labeled)


def test_a_split_may_be_written_as_roboflow_does(tmp_path):
    write_image(tmp_path / "set" / "train" / "images" / "1.jpg")
    (tmp_path / "set" / "train" / "labels").mkdir()
    (tmp_path / "set" / "train" / "labels" / "1.txt").write_text("0 .5 .5 .5 .5")
    (tmp_path / "set" / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnames: ['cat']")
    assert len(build_index(tmp_path / "set", list_file="train", labeled=True).boxes) == 1
    with pytest.raises(AnnotationError, match=r"data\.yaml: val: there is no folder or file '../valid/images'"):
        build_index(tmp_path / "set", list_file="val", labeled=True)


def test_labels_are_found_beside_the_images(root):
    index = build_index(root / "images" / "train", labeled=True)
    assert (names_of(index), index.classes, len(index.boxes)) == (["1.jpg", "2.jpg"], ("cat", "dog"), 2)
    assert build_index(root / "images" / "train").is_labeled is False


def test_labels_and_names_may_be_named(root, tmp_path):
    (root / "data.yaml").rename(root / "other.yaml")
    (root / "labels").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "train" / "classes.txt").write_text("cat\ndog\n")
    index = build_index(root / "images" / "train", tmp_path / "elsewhere" / "train")
    assert (index.source["format"], index.classes, len(index.boxes)) == ("yolo", ("cat", "dog"), 2)
    (tmp_path / "elsewhere").rename(root / "labels")
    index = build_index(root, root / "other.yaml", list_file="train")
    assert (names_of(index), len(index.boxes)) == (["1.jpg", "2.jpg"], 2)
    (tmp_path / "names").write_text("a\nb\nc\n")
    index = build_index(root / "images", format="yolo", options=ReaderOptions(classes=tmp_path / "names"))
    assert index.classes == ("a", "b", "c")


def test_a_data_yaml_among_unlabelled_images_may_be_anything(root):
    (root / "data.yaml").write_text("- not ours")
    assert len(build_index(root)) == 3


def test_labels_may_lie_in_the_folder_of_the_images(tmp_path):
    write_image(tmp_path / "set" / "1.jpg")
    (tmp_path / "set" / "1.txt").write_text("0 .5 .5 .5 .5")
    (tmp_path / "set" / "classes.txt").write_text("cat")
    assert len(build_index(tmp_path / "set", format="yolo").boxes) == 1


def test_polygons_become_boxes_and_a_sixth_number_is_a_score(root):
    (root / "labels" / "train" / "1.txt").write_text("0 0.1 0.2 0.5 0.2 0.5 0.8\n1 .5 .5 .2 .2 .75")
    index = build_index(root, list_file="train", labeled=True)
    np.testing.assert_allclose(index.boxes, [[10, 10, 50, 40], [40, 20, 60, 30]], atol=1e-4)
    assert (index.has_scores, index.scores.tolist()) == (True, [1, 0.75])


def test_a_box_that_rounding_moved_out_is_clipped_and_counted(root):
    (root / "labels" / "train" / "1.txt").write_text("0 0.1 0.5 0.21 1\n0 0.5 0.5 0 0.1")
    index = build_index(root, list_file="train", labeled=True)
    assert {kind: entry["count"] for kind, entry in index.problems.items()} == {"clipped": 1, "no_area": 1}
    assert index.problems["no_area"]["examples"][0].startswith("1.txt: line 2: xyxy [50.0, 22.5")
    assert index.boxes[0, 0] == 0


def test_a_changed_label_makes_another_index(root):
    before = build_index(root, labeled=True)
    (root / "labels" / "train" / "2.txt").write_text("0 .5 .5 .5 .5")
    assert len(build_index(root, labeled=True).boxes) == len(before.boxes) + 1


LINES = {
    "four numbers": ("0 .5 .5 .5", r"1\.txt: line 1: expected 5 numbers, got 4. A line has a class index, centre x"),
    "eight numbers": ("0 1 1 1 1 1 1 1", "expected 5 numbers, got 8"),
    "class above": (
        "0 .5 .5 .5 .5\n2 .5 .5 .5 .5",
        r"line 2: the class index: expected an integer from 0 to 1, got '2'",
    ),
    "class below": ("-1 .5 .5 .5 .5", "the class index: expected an integer from 0 to 1, got '-1'"),
    "class half": ("0.5 .5 .5 .5 .5", "the class index: expected an integer from 0 to 1, got '0.5'"),
    "pixels": ("0 .5 .5 320 .5", r"1\.txt: line 1: width: expected a number from 0 to 1, got '320'"),
    "negative": ("0 -0.5 .5 .5 .5", "line 1: centre x: expected a number from 0 to 1, got '-0.5'"),
    "nan": ("0 .5 nan .5 .5", "line 1: centre y: expected a number from 0 to 1, got 'nan'"),
    "word": ("0 .5 .5 .5 high", "line 1: height: expected a number from 0 to 1, got 'high'"),
    "class word": ("cat .5 .5 .5 .5", "line 1: the class index: expected a number from 0 to 1, got 'cat'"),
}


@pytest.mark.parametrize(("text", "message"), LINES.values(), ids=LINES)
def test_a_wrong_line_is_refused_in_one_sentence(root, text, message):
    (root / "labels" / "train" / "1.txt").write_text(text)
    with pytest.raises(AnnotationError, match=message) as refusal:
        build_index(root, labeled=True)
    assert "\n" not in str(refusal.value)


NAMES = {
    "no YAML": ("names: [", r"data\.yaml: line 1: no valid YAML: "),
    "no names": ("nc: 2", r"data\.yaml: the field 'names' is missing"),
    "empty": ("names: []", "names: expected a list of class names"),
    "gap": ("names: {0: cat, 2: dog}", r"data\.yaml: names: expected names of the indices 0 to 1"),
    "twice": ("names: [cat, cat]", "the class 'cat' stands there twice"),
}


@pytest.mark.parametrize(("content", "message"), NAMES.values(), ids=NAMES)
def test_wrong_names_are_refused(root, content, message):
    (root / "data.yaml").write_text(content)
    with pytest.raises(AnnotationError, match=message):
        build_index(root, labeled=True)


def test_missing_names_and_missing_labels_are_refused(root, tmp_path):
    (root / "data.yaml").unlink()
    with pytest.raises(AnnotationError, match=r"there is no file of the class names\. Looked for data\.yaml, classes"):
        build_index(root / "images", labeled=True)
    (root / "classes.txt").write_text("cat\ndog\n")
    for path in (root / "labels").rglob("*.txt"):
        path.unlink()
    with pytest.raises(AnnotationError, match=r"none of its 3 images has a label file, such as .*labels/train/1\.txt"):
        build_index(root / "images", labeled=True)
    (tmp_path / "a.tar").write_bytes(tar_bytes({"1.jpg": b"1"}))
    with pytest.raises(ConfigError, match="images, for the format 'yolo', to be a folder"):
        build_index(tmp_path / "a.tar", format="yolo", options=ReaderOptions(classes=root / "classes.txt"))


def test_an_export_reads_back(root, tmp_path):
    index = build_index(root, labeled=True)
    export_yolo(index, tmp_path / "out")
    again = build_index(tmp_path / "out", labeled=True)
    assert (again.classes, names_of(again)) == (index.classes, [f"images/{name}" for name in names_of(index)])
    np.testing.assert_allclose(again.boxes, index.boxes, atol=1e-4)
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["names"] == ["cat", "dog"]
    with pytest.raises(DataError, match="out: the folder is not empty"):
        export_yolo(index, tmp_path / "out")


def test_an_export_leaves_out_crowds_and_what_is_not_kept(tmp_path):
    content = write_image(tmp_path / "x.jpg").read_bytes()
    (tmp_path / "a.tar").write_bytes(tar_bytes({"x.jpg": content}))
    offset = (tmp_path / "a.tar").read_bytes().index(content)
    with IndexWriter(tmp_path / "i", ["a: b", "c"]) as writer:
        boxes = {
            "boxes": [[0, 0, 10, 10]] * 3,
            "labels": [0, 1, 1],
            "crowd": [False, True, False],
            "scores": [1, 1, 0.2],
        }
        writer.add("x.jpg", path=tmp_path / "a.tar", offset=offset, length=len(content), **boxes)
    index = AnnotationIndex.open(tmp_path / "i")
    export_yolo(index, tmp_path / "out", keep=index.scores > 0.5)
    assert (tmp_path / "out" / "labels" / "x.txt").read_text() == "0 0.05 0.1 0.1 0.2\n"
    assert (tmp_path / "out" / "images" / "x.jpg").read_bytes() == read_member(index.image(0))
    assert build_index(tmp_path / "out", labeled=True).classes == ("a: b", "c")
