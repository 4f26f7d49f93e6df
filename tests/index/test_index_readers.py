"""Folders, lists and tar archives: which images they hold, in which order, and what is refused."""

import io
import json
import logging
import os
import tarfile

import pytest

from lightning_st.errors import AnnotationError, ConfigError
from lightning_st.index import build_index
from lightning_st.index.names import IMAGE_EXTENSIONS
from lightning_st.index.readers import READERS

NAMES = ["b-x/1.jpg", "b.png", "b/1.JPG", "b/c/2.jpeg", "ä.webp"]  # sorted as text, not folder by folder


def names_of(index):
    return list(index.iterate_names())


@pytest.fixture
def folder(tmp_path):
    """A folder of images, with files that are none."""
    root = tmp_path / "images"
    for name in [*NAMES, "notes.txt", ".hidden.jpg", ".thumbs/1.jpg", "b/._1.jpg", "jpg", "b/c/2.jpeg.part"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def write_tar(path, members, mode="w"):
    """Write a tar archive of (name, content); a name ending in / is a folder, content None a link to the first."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name.rstrip("/"))
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            elif content is None:
                info.type, info.linkname = tarfile.SYMTYPE, members[0][0]
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    return path


def test_a_folder_holds_its_images_sorted_by_name(folder):
    index = build_index(folder)
    assert names_of(index) == NAMES
    assert (index.is_labeled, index.classes, len(index.boxes)) == (False, (), 0)
    assert index.image(2).path == str(folder / "b/1.JPG")
    assert (index.image(2).width, index.image(2).height, index.image(2).length) == (0, 0, -1)
    assert index.source == {"format": "folder", "root": str(folder), "annotations": None, "list": None}


def test_links_are_followed_but_not_in_circles(folder, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "3.jpg").touch()
    (folder / "circle").symlink_to(folder)
    (folder / "b" / "circle").symlink_to("..")
    (folder / "linked").symlink_to(tmp_path / "more")
    (folder / "one.jpg").symlink_to(tmp_path / "more" / "3.jpg")
    (folder / "broken.jpg").symlink_to(tmp_path / "nothing.jpg")
    (folder / "itself.jpg").symlink_to(folder / "itself.jpg")
    assert names_of(build_index(folder)) == sorted([*NAMES, "linked/3.jpg", "one.jpg"])


@pytest.mark.skipif(os.name != "posix", reason="needs a file system that takes any bytes for a name")
def test_a_name_that_is_no_utf8_survives(tmp_path):
    (tmp_path / "images").mkdir()
    path = os.fsencode(tmp_path / "images") + b"/\xff.jpg"
    with open(path, "wb"):
        pass
    index = build_index(tmp_path / "images")
    assert os.path.exists(index.image(0).path)
    assert index.find([index.name(0)]).tolist() == [0]


@pytest.mark.data
def test_the_folders_of_an_imagefolder_are_no_labels(shared_data):
    index = build_index(shared_data / "imagenet_sample" / "images")
    assert (len(index), index.classes, index.is_labeled) == (300, (), False)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(AnnotationError, match=r"holds no image\. Looked for \.jpg, .*pgm, recursively"):
        build_index(tmp_path)


@pytest.mark.parametrize("extension", IMAGE_EXTENSIONS)
def test_every_extension_is_found(tmp_path, extension):
    (tmp_path / f"a{extension.upper()}").touch()
    assert len(build_index(tmp_path)) == 1


def test_the_images_of_a_tar_archive_are_read_at_their_place(folder, tmp_path):
    members = [(f"./{name}", (folder / name).read_bytes()) for name in reversed(NAMES)]
    extra = [("b/", None), ("link.jpg", None), (".hidden.jpg", b"x"), ("b/._1.jpg", b"x"), ("a.txt", b"x")]
    index = build_index(write_tar(tmp_path / "a.tar", [*members, *extra]))
    assert names_of(index) == NAMES[::-1]
    for row in range(len(index)):
        record = index.image(row)
        with open(record.path, "rb") as file:
            file.seek(record.offset)
            assert file.read(record.length) == record.name.encode()
    assert not index.is_labeled


def test_a_tar_archive_and_its_folder_say_the_same(folder, tmp_path):
    archive = write_tar(tmp_path / "a.tar", [(name, b"123") for name in NAMES])
    assert build_index(archive).fingerprint == build_index(folder).fingerprint


def test_a_large_tar_archive_is_listed_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_st.index.readers.tar._REPORT_EVERY", 3)
    names = [f"{number}.jpg" for number in range(20)]
    assert names_of(build_index(write_tar(tmp_path / "a.tar", [(name, b"1") for name in names]))) == names


def test_what_lies_in_an_archive_as_a_link_is_left_out_and_named(tmp_path, caplog):
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"1"), ("b.jpg", None), ("c.txt", None), ("d.jpg", None)])
    with caplog.at_level(logging.WARNING, "lightning_st"):
        assert names_of(build_index(path)) == ["a.jpg"]
    assert "a.tar: 2 images are left out, because they are links or sparse files, such as b.jpg." in caplog.text


@pytest.mark.parametrize(("suffix", "kind"), [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz")])
def test_a_compressed_archive_is_refused(tmp_path, suffix, kind):
    path = write_tar(tmp_path / f"a.tar.{suffix}", [("a.jpg", b"1")], f"w:{suffix}")
    with pytest.raises(AnnotationError, match=rf"the archive is compressed \({kind}\). Unpack it to a plain .tar"):
        build_index(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"no archive at all" * 100,
            r"a\.tar: the tar archive cannot be read: .* Images are read from a folder, or an",
        ),
        (b"", r"a\.tar: the tar archive cannot be read: empty file"),
        ("cut", r"a\.tar: the tar archive cannot be read: unexpected end of data"),
        ("none", r"a\.tar: the tar archive holds no image"),
    ],
)
def test_a_wrong_archive_is_refused(tmp_path, content, message):
    path = tmp_path / "a.tar"
    if content == "none":
        write_tar(path, [("a.txt", b"1")])
    elif content == "cut":
        write_tar(path, [("a.jpg", b"1"), ("b.jpg", b"2" * 5000)])
        path.write_bytes(path.read_bytes()[:3000])
    else:
        path.write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        build_index(path)


@pytest.mark.parametrize("kind", ["folder", "tar"])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_list_chooses_images(folder, tmp_path, kind, as_json):
    images = folder if kind == "folder" else write_tar(tmp_path / "a.tar", [(name, b"1") for name in NAMES])
    wanted = ["ä.webp", "b-x/1.jpg", "2.jpeg", "ä.webp", "./b.png"]
    chosen = tmp_path / "list"
    if as_json:
        chosen.write_text(json.dumps({"images": [{"file_name": name} for name in wanted], "annotations": "not read"}))
    else:
        chosen.write_text("\ufeff\n" + "\r\n".join(f" {name} " for name in wanted) + "\n\n")
    assert names_of(build_index(images, list_file=chosen)) == ["b-x/1.jpg", "b.png", "b/c/2.jpeg", "ä.webp"]


def test_absolute_names_may_lie_below_the_images(folder, tmp_path):
    (tmp_path / "list").write_text(f"{folder}/b.png\n")
    assert names_of(build_index(folder, list_file=tmp_path / "list")) == ["b.png"]


def test_nothing_behind_the_images_of_a_json_list_is_read(folder, tmp_path):
    (tmp_path / "list").write_text('{"images": [{"file_name": "b.png"}], "annotations": [{"secret" not even JSON')
    index = build_index(folder, list_file=tmp_path / "list")
    assert (names_of(index), index.is_labeled, len(index.boxes)) == (["b.png"], False, 0)


def test_a_list_chooses_annotated_images(make_coco, tmp_path):
    images, annotations = make_coco(tmp_path, image_count=6)
    (tmp_path / "list").write_text("image_004.jpg\nimage_001.jpg\n")
    whole = build_index(images, annotations)
    part = build_index(images, annotations, list_file=tmp_path / "list")
    assert names_of(part) == ["image_001.jpg", "image_004.jpg"]
    for row, same in ((0, 1), (1, 4)):
        assert part.annotations(row).boxes.tolist() == whole.annotations(same).boxes.tolist()
        assert part.image(row).image_id == whole.image(same).image_id
    assert len(part.boxes) == len(whole.annotations(1).boxes) + len(whole.annotations(4).boxes)
    assert part.box_count_read == len(part.boxes)


def test_problems_of_images_that_are_not_chosen_do_not_count(make_coco, tmp_path):
    images, annotations = make_coco(tmp_path, image_count=3)
    content = json.loads(annotations.read_text())
    for box in content["annotations"]:
        if box["image_id"] != content["images"][1]["id"]:
            box["bbox"][2] = 0
    annotations.write_text(json.dumps(content))
    (tmp_path / "list").write_text("image_001.jpg\n")
    assert build_index(images, annotations, list_file=tmp_path / "list").bad_box_count == 0
    (tmp_path / "list").write_text("image_002.jpg\n")
    assert build_index(images, annotations, list_file=tmp_path / "list").bad_box_count > 0


def test_annotated_images_may_lie_in_an_archive(make_coco, tmp_path):
    images, annotations = make_coco(tmp_path, image_count=4)
    files = sorted(images.iterdir(), reverse=True)
    archive = write_tar(tmp_path / "a.tar", [(f"train/{file.name}", file.read_bytes()) for file in files])
    index, plain = build_index(archive, annotations), build_index(images, annotations)
    assert index.fingerprint == plain.fingerprint
    record = index.image(2)
    with open(record.path, "rb") as file:
        file.seek(record.offset)
        assert file.read(record.length) == (images / "image_002.jpg").read_bytes()
    other = write_tar(tmp_path / "b.tar", [("image_002.jpg", b"1")])
    with pytest.raises(AnnotationError, match=r"3 of 4 images are not in .*b\.tar: 'image_000.jpg', 'image_001.jpg', "):
        build_index(other, annotations)


def test_a_line_of_a_list_ends_where_the_line_ends(tmp_path):
    """Unicode has more line ends than a text file; a file name may hold them."""
    (tmp_path / "images").mkdir()
    for name in ("a\u2028b.jpg", "c\x0cd.jpg", "e.jpg"):
        (tmp_path / "images" / name).touch()
    (tmp_path / "list").write_bytes("a\u2028b.jpg\r\nc\x0cd.jpg\n".encode())
    index = build_index(tmp_path / "images", list_file=tmp_path / "list")
    assert names_of(index) == ["a\u2028b.jpg", "c\x0cd.jpg"]


LISTS = {
    "missing names": ("no.jpg\nb.png\nnor/1.jpg\nc\nd\n", r"list: 4 of 5 images are not in .*images: 'no.jpg', 'nor/"),
    "leaves the folder": ("../images/b.png\n", r"1 of 1 images are not in"),
    "absolute elsewhere": ("/etc/b.png\n", r"1 of 1 images are not in"),
    "several": ("1.jpg\n", r"list: '1.jpg' fits several images, '.*/1.jpg' is one. Write the path"),
    "empty": ("\n \n", "list: the list names no image"),
    "json without images": ('{"annotations": []}', "the list 'images' is missing"),
    "json with wrong images": (
        '{"images": [{"file_name": "b.png"}, {"id": 1}]}',
        r"images\[1\].file_name: expected a file",
    ),
    "json without names": ('{"images": []}', "list: the list names no image"),
    "no text": (b"\xff\xfe\x00", "the list is not UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), LISTS.values(), ids=LISTS)
def test_a_wrong_list_is_refused(folder, tmp_path, content, message):
    (folder / "z").mkdir()
    (folder / "z" / "1.jpg").touch()
    (tmp_path / "list").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AnnotationError, match=message):
        build_index(folder, list_file=tmp_path / "list")


@pytest.mark.parametrize("what", ["images", "annotations", "list_file"])
def test_a_missing_path_is_refused(folder, tmp_path, what):
    paths = {"images": folder} | {what: tmp_path / "nowhere"}
    with pytest.raises(AnnotationError, match=rf"nowhere: there is no such file or folder \({what[:4]}"):
        build_index(**paths)


def test_a_format_is_recognised_or_refused(make_coco, folder, tmp_path):
    images, annotations = make_coco(tmp_path / "set", image_count=1)
    archive = write_tar(tmp_path / "a.tar", [("a.jpg", b"1")])
    (tmp_path / "a.csv").write_text("a,b\n")
    (folder / "a.xml").touch()
    assert set(READERS) == {"coco", "voc", "openimages", "yolo", "folder", "tar", "results", "masks", "classes"}
    for arguments, expected in [((images, annotations), "coco"), ((folder,), "folder"), ((archive,), "tar")]:
        assert build_index(*arguments).source["format"] == expected
    for arguments, message in [
        ((folder, annotations, "coko"), "Unknown format 'coko'. Did you mean 'coco'"),
        ((folder, None, "coco"), "annotations, for the format 'coco', to be the file of the labels"),
        ((folder, annotations, "folder"), "annotations, for the format 'folder', to be left out"),
        ((folder, None, "tar"), "Expected images to be a tar archive"),
        ((archive, None, "folder"), "Expected images to be a folder"),
        ((folder, tmp_path / "a.csv"), r"a\.csv: the annotations are a file that is no JSON and begins with 'a,b'"),
        (
            (folder, folder),
            "a folder with 1 .xml, 1 .txt files: cannot tell their format. Known: coco, voc, ",
        ),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_index(*arguments)
