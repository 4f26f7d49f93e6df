"""Nothing outside the folder of the images is opened through an annotation, and nothing outside a folder is written."""

import io
import json
import logging
import os
import shutil
import tarfile
from pathlib import Path

import hostile
import numpy as np
import pytest
from PIL import Image

from lightning_st.cli import main
from lightning_st.data.decoding import read_bytes
from lightning_st.errors import AnnotationError, ImageError, IndexFileError
from lightning_st.index import AnnotationIndex, IndexWriter, build_index, encode_mask, export_masks, export_yolo
from lightning_st.index.image_size import read_image_size
from lightning_st.reports.pictures import load_thumbnail


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with one image, beside which lies another that is not in it."""
    folder = tmp_path / "root"
    folder.mkdir()
    for path in (folder / "a.jpg", tmp_path / "secret.jpg"):
        Image.new("RGB", (20, 20)).save(path)
    return folder


def inside(index: AnnotationIndex, root: Path) -> bool:
    paths = [index.image(row).path for row in range(len(index))]
    return bool(paths) and all(os.path.normpath(path).startswith(f"{root}/") for path in paths)


LEADING_OUT = ["../secret.jpg", "{}/secret.jpg", "x/../../secret.jpg", "//etc/passwd", "/proc/self/environ", "a\0.jpg",
               ".", ".."]  # fmt: skip
ODD = ["..\\secret.jpg", "C:\\secret.jpg", "\\\\host\\secret.jpg", "file:///etc/passwd", "~/secret.jpg", "$HOME/x.jpg"]


def write_coco(folder: Path, *names: str) -> Path:
    content = {
        "images": [{"id": n, "file_name": name, "width": 20, "height": 20} for n, name in enumerate(names)],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5]}],
        "categories": [{"id": 1, "name": "x"}],
    }
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("name", LEADING_OUT)
def test_coco_names_do_not_lead_out(root, tmp_path, name):
    path = write_coco(tmp_path, name.format(tmp_path), "a.jpg")
    with pytest.raises(AnnotationError, match=r"images\[0\]\.file_name: .* is not a path below the folder"):
        build_index(root, path)


@pytest.mark.parametrize("name", ODD)
def test_what_means_something_elsewhere_is_a_name_here(root, tmp_path, name):
    """Separators and drives of Windows, addresses, and what a shell would replace."""
    assert inside(build_index(root, write_coco(tmp_path, name, "a.jpg")), root)


@pytest.mark.parametrize("kind", ["text", "COCO"])
@pytest.mark.parametrize("name", ["../secret.jpg", "{}/secret.jpg", "x/../../secret.jpg", "..\\secret.jpg"])
def test_lists_do_not_lead_out(root, tmp_path, name, kind):
    path = tmp_path / "list"
    name = name.format(tmp_path)
    path.write_text(f"{name}\n" if kind == "text" else json.dumps({"images": [{"id": 1, "file_name": name}]}))
    with pytest.raises(AnnotationError, match="1 of 1 images are not in"):
        build_index(root, list_file=path)


def test_voc_file_names_folders_and_paths_are_not_followed(root, tmp_path):
    """An XML belongs to the image that has its own name; what it says of names is not read."""
    (tmp_path / "xml").mkdir()
    text = (
        "<annotation><folder>../..</folder><filename>../secret.jpg</filename><path>/etc/passwd</path>"
        "<size><width>20</width><height>20</height></size><object><name>x</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
    )
    for name in ("a.xml", "secret.xml"):
        (tmp_path / "xml" / name).write_text(text)
    index = build_index(root, tmp_path / "xml")
    assert [index.name(row) for row in range(len(index))] == ["a.jpg"]
    assert inside(index, root)


def test_open_images_ids_are_not_followed(root, tmp_path):
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/1,X\n")
    rows = "".join(f"{name},x,/m/1,1,0,1,0,1,0,0,0,0,0\n" for name in ("../secret", "/etc/passwd", "a"))
    header = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    (tmp_path / "boxes.csv").write_text(f"{header}\n{rows}")
    index = build_index(root, tmp_path / "boxes.csv")
    assert [index.name(row) for row in range(len(index))] == ["a.jpg"]


@pytest.fixture
def yolo(root, tmp_path) -> Path:
    folder = tmp_path / "yolo"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    shutil.copy(root / "a.jpg", folder / "images")
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return folder


def test_a_data_yaml_may_name_folders_elsewhere_and_the_log_says_so(yolo, root, caplog):
    """`path: ../datasets/x` is what most of them say; that images of it are read is in the log."""
    (yolo / "data.yaml").write_text("names: [x]\ntrain: images\nval: ../root\n")
    (root / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    with caplog.at_level(logging.INFO, "lightning_st"):
        assert inside(build_index(yolo, list_file="train", format="yolo"), yolo)
        assert "elsewhere" not in caplog.text
        assert inside(build_index(yolo, list_file="val", format="yolo"), root)
    assert f"data.yaml: its val lies elsewhere: {root}." in caplog.text


def test_a_list_of_a_data_yaml_does_not_lead_out(yolo):
    (yolo / "data.yaml").write_text("names: [x]\ntrain: train.txt\n")
    (yolo / "train.txt").write_text("../secret.jpg\n")
    with pytest.raises(AnnotationError, match="1 of 1 images are not in"):
        build_index(yolo, list_file="train", format="yolo")


def test_links_in_the_users_own_folder_are_followed(root, tmp_path):
    """They are the user's: data sets are often folders of links. A circle of them has an end."""
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "circle").symlink_to(root)
    index = build_index(root)
    assert [index.name(row) for row in range(len(index))] == ["a.jpg", "link.jpg"]


def write_tar(path: Path, data: bytes, *members: str | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            if info.isreg():
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


def special(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.devmajor, info.devminor = kind, target, 1, 5  # /dev/zero
    return info


def test_members_of_an_archive_are_read_in_place_and_never_unpacked(root, tmp_path, monkeypatch):
    def unpack(*arguments, **options):
        raise AssertionError("an archive is unpacked")

    for name in ("extract", "extractall"):
        monkeypatch.setattr(tarfile.TarFile, name, unpack)
    data = (root / "a.jpg").read_bytes()
    kinds = {"sym": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}
    links = [special(f"{name}.jpg", kind) for name, kind in kinds.items()]
    names = ("../../out.jpg", "/absolute.jpg", "ok/../../out.jpg", "ok/./a.jpg", "b\\c.jpg")
    path = write_tar(tmp_path / "images.tar", data, *names, *links)
    index = build_index(path)
    assert [index.name(row) for row in range(len(index))] == ["ok/a.jpg", "b\\c.jpg"]
    for row in range(len(index)):
        record = index.image(row)
        assert record.path == str(path)
        assert read_bytes(record.path, record.offset, record.length) == data
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["images.tar", "root", "secret.jpg"]


def forged(tmp_path: Path, name: str, **more: object) -> Path:
    """Write an index with an image of this name, as no writer of ours does."""
    path = tmp_path / "forged.index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_st.index.writer.normal_name", lambda written: written)
        with IndexWriter(path, ["x"], source={"root": str(tmp_path / "root")}) as writer:
            writer.add(name, 20, 20, boxes=[[1, 1, 9, 9]], labels=[0], **more)
    return path


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "x/../../secret.jpg", "a\0.jpg"])
def test_an_index_names_no_image_outside_its_folders(root, tmp_path, name):
    index = AnnotationIndex.open(forged(tmp_path, name))
    with pytest.raises(IndexFileError, match="is not a path below the folder of the images"):
        index.image(0)
    with pytest.raises(ValueError, match="path below the root"), IndexWriter(tmp_path / "x.index", ["x"]) as writer:
        writer.add(name)


def test_exports_write_nothing_outside_their_folder(root, tmp_path, capsys):
    mask = encode_mask(np.zeros((20, 20), np.uint8))
    for export, more in ((export_masks, {"mask": mask}), (export_yolo, {})):
        path = forged(tmp_path, "../../secret.jpg", **more)
        with pytest.raises(IndexFileError, match="is not a path below"):
            export(AnnotationIndex.open(path), tmp_path / "out" / "deep")
    for words in (["export", str(path), "--format", "yolo"], ["show", "pseudo_labels", str(path)]):
        hostile.refused([*words, "--output", str(tmp_path / "out")], capsys, says="is not a path below")
    assert not list(tmp_path.rglob("*.txt"))
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("name", ["zero", "pipe"])
def test_a_device_or_a_pipe_is_no_image(tmp_path, name):
    """An index of a stranger's may name any file; one that never ends, or never begins, is not read."""
    path = Path("/dev/zero") if name == "zero" else tmp_path / "pipe"
    if name == "pipe":
        os.mkfifo(path)
    with pytest.raises(ImageError, match="not a regular file"):
        read_bytes(path)
    with pytest.raises(ImageError, match="not a regular file"):
        read_image_size(path)
    for length in (-1, 100):
        record = type("Record", (), {"path": str(path), "name": "a.jpg", "offset": 0, "length": length})
        with pytest.raises(ImageError, match="not a regular file"):
            load_thumbnail(record)


def test_more_bytes_than_there_are_take_no_memory(root):
    with pytest.raises(ImageError, match="bytes early"):
        read_bytes(root / "a.jpg", 0, 2**62)
    sparse = root / "sparse.jpg"
    with sparse.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImageError, match="more than any image has"):
        read_bytes(sparse)


def test_results_name_images_by_number_alone(root, tmp_path):
    images = write_coco(tmp_path, "a.jpg")
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{"image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5,
                                    "file_name": "../secret.jpg"}]))  # fmt: skip
    from lightning_st.index import ReaderOptions

    index = build_index(root, results, "results", images, options=ReaderOptions(categories=((1, "x"),)))
    assert inside(index, root)
    assert np.allclose(index.scores, 0.5)


def test_what_is_no_image_shows_nothing_of_itself(tmp_path, capsys):
    """An index of a stranger's that names a text file: the sheet says that it is no image, and none of its text."""
    (tmp_path / "private").write_text("a private word")
    path = tmp_path / "stranger.index"
    with IndexWriter(path, ["x"], source={"root": str(tmp_path)}) as writer:
        writer.add("private", 20, 20, boxes=[[1, 1, 9, 9]], labels=[0], scores=[0.9])
    assert main(["show", "pseudo_labels", str(path), "--output", str(tmp_path / "sheet")]) == 2
    assert "a private word" not in capsys.readouterr().err
