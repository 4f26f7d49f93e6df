"""An ImageFolder, or ImageNet's tar of tars, as an index with the class of each image; and without, as ever."""

import numpy as np
import pytest
from source_makers import tar_bytes

from lightning_st.errors import AnnotationError, ConfigError
from lightning_st.index import build_index, common_images, same_image_rows
from lightning_st.index.readers import ReaderOptions

NAMES = ("b/2.jpg", "a/1.jpg", "b/deep/1.jpg", "a/3.jpg", "c/1.jpg")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(name.encode())
    return tmp_path / "images"


def classes_of(index):
    assert np.array_equal(np.diff(index.box_offsets), np.ones(len(index)))
    return {name: index.classes[label] for name, label in zip(index.iterate_names(), index.labels, strict=True)}


def test_the_first_folder_is_the_class(folder):
    index = build_index(folder, format="classes")
    assert (index.is_labeled, index.classes) == (True, ("a", "b", "c"))
    assert classes_of(index) == {name: name[0] for name in NAMES}
    assert not index.boxes.any()


def test_without_the_format_there_is_no_label(folder):
    for index in (build_index(folder), build_index(folder, format="folder"), build_index(folder, labeled=False)):
        assert (index.is_labeled, index.classes, len(index.boxes)) == (False, (), 0)
    with pytest.raises(ConfigError, match="for the format 'classes'"):
        build_index(folder, format="classes", labeled=False)


def test_a_tar_of_tars_says_what_the_folder_says(folder, tmp_path):
    inner = {
        f"{letter}.tar": tar_bytes({n.partition("/")[2]: n.encode() for n in sorted(NAMES) if n.startswith(letter)})
        for letter in "abc"
    }
    (tmp_path / "train.tar").write_bytes(tar_bytes(inner))
    index = build_index(tmp_path / "train.tar", format="classes")
    assert index.fingerprint == build_index(folder, format="classes").fingerprint
    assert index.image(0).length > 0


def test_a_file_gives_the_order_and_a_list_the_images(folder, tmp_path):
    (tmp_path / "classes.txt").write_text("c\nb\na\nd\n")
    (tmp_path / "list.txt").write_text("a/3.jpg\nc/1.jpg\n")
    options = ReaderOptions(classes=tmp_path / "classes.txt")
    index = build_index(folder, format="classes", list_file=tmp_path / "list.txt", options=options)
    assert index.classes == ("c", "b", "a", "d")
    assert classes_of(index) == {"a/3.jpg": "a", "c/1.jpg": "c"}
    assert build_index(folder, format="classes", list_file=tmp_path / "list.txt").classes == ("a", "c")


def test_another_folder_makes_another_index(folder):
    before = build_index(folder, format="classes")
    (folder / "c" / "1.jpg").rename(folder / "a" / "9.jpg")
    assert build_index(folder, format="classes").classes == ("a", "b")
    assert before.classes == ("a", "b", "c")


def test_refusals(folder, tmp_path):
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(AnnotationError, match=r"classes\.txt: the file does not name the class of c/1\.jpg"):
        build_index(folder, format="classes", options=ReaderOptions(classes=tmp_path / "classes.txt"))
    with pytest.raises(ConfigError, match="the folders of the images are their classes"):
        build_index(folder, tmp_path / "classes.txt", format="classes")
    (folder / "1.jpg").write_bytes(b"")
    with pytest.raises(AnnotationError, match=r"images: 1\.jpg: the image lies in no folder, so it has no class"):
        build_index(folder, format="classes")


def test_the_same_images_are_found_in_another_index(folder, tmp_path):
    (tmp_path / "list.txt").write_text("c/1.jpg\nb/2.jpg\n")
    part, whole = build_index(folder, list_file=tmp_path / "list.txt"), build_index(folder, format="classes")
    rows = same_image_rows(whole, part)
    assert {whole.name(i): part.name(row) for i, row in enumerate(rows.tolist()) if row >= 0} == {
        "b/2.jpg": "b/2.jpg",
        "c/1.jpg": "c/1.jpg",
    }
    assert np.array_equal(np.flatnonzero(rows >= 0), common_images(whole, part)[0])
