"""ImageNet as it is published, a tar of tars, and the classes that folders and inner tars name."""

import pytest
from source_makers import read_member, tar_bytes

from lightning_st.errors import AnnotationError
from lightning_st.index import ReaderOptions, build_index

IMAGES = {f"n0{wnid}/n0{wnid}_{number}.JPEG": bytes([wnid, number]) * 700 for wnid in (2, 1) for number in range(3)}


@pytest.fixture
def nested(tmp_path):
    """ILSVRC2012_img_train.tar in small."""
    inner = {
        f"{folder}.tar": tar_bytes({n.partition("/")[2]: data for n, data in IMAGES.items() if n.startswith(folder)})
        for folder in ("n01", "n02")
    }
    path = tmp_path / "train.tar"
    path.write_bytes(tar_bytes({**inner, "LICENSE.txt": b"x"}))
    return path


def test_a_tar_of_tars_says_what_the_folder_says(nested, tmp_path):
    for name, data in IMAGES.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    index, plain = build_index(nested), build_index(tmp_path / "folder")
    assert (index.fingerprint, index.is_labeled, index.classes) == (plain.fingerprint, False, ())
    for row in range(len(index)):
        record = index.image(row)
        assert (record.path, read_member(record)) == (str(nested), IMAGES[record.name])


def test_a_list_chooses_among_nested_images(nested, tmp_path):
    (tmp_path / "list").write_text("n01/n01_1.JPEG\nn02_2\n")
    assert list(build_index(nested, list_file=tmp_path / "list").iterate_names()) == sorted(
        ["n01/n01_1.JPEG", "n02/n02_2.JPEG"]
    )


def test_classes_are_there_for_who_asks(nested, tmp_path):
    index = build_index(nested, format="classes")
    assert (index.classes, index.labels.tolist()) == (("n01", "n02"), [0, 0, 0, 1, 1, 1])
    named = ReaderOptions(tmp_path / "classes")
    (tmp_path / "classes").write_text("n02\nn01\nn03\n")
    assert build_index(nested, format="classes", options=named).labels.tolist() == [1, 1, 1, 0, 0, 0]
    (tmp_path / "classes").write_text("n02\n")
    with pytest.raises(AnnotationError, match=r"classes: the file does not name the class of n01/n01_0\.JPEG"):
        build_index(nested, format="classes", options=named)


def test_an_image_in_no_folder_has_no_class(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_bytes({"x.jpg": b"1"}))
    with pytest.raises(AnnotationError, match=r"a\.tar: x\.jpg: the image lies in no folder, so it has no class"):
        build_index(tmp_path / "a.tar", format="classes")


@pytest.mark.parametrize("missing", [1, 5, 12])
def test_a_cut_archive_is_refused_wherever_it_is_cut(nested, missing):
    whole = nested.read_bytes().rstrip(b"\0")
    nested.write_bytes(whole[: len(whole) * (13 - missing) // 13])
    with pytest.raises(AnnotationError, match=r"train\.tar: (n0.\.tar: )?the tar .* cannot be read: unexpected end"):
        build_index(nested)


def test_an_inner_archive_that_is_cut_or_compressed_is_named(tmp_path):
    inner = tar_bytes({"a.jpg": b"1" * 2000})
    for content, reason in ((inner[:1500], "unexpected end of data"), (b"\x1f\x8b" + b"x" * 600, "")):
        (tmp_path / "a.tar").write_bytes(tar_bytes({"x.tar": inner, "y.tar": content}))
        with pytest.raises(AnnotationError, match=rf"a\.tar: y\.tar: the tar archive in it cannot be read: .*{reason}"):
            build_index(tmp_path / "a.tar")
