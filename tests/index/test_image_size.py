"""Sizes from headers: the same as Pillow says of the upright picture, whatever the format, in files and archives."""

import pytest
from PIL import Image, ImageOps
from source_makers import tar_bytes, write_image

from lightning_st.errors import ImageError
from lightning_st.index.image_size import read_image_size


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tif", "ppm"])
def test_every_format(tmp_path, suffix):
    path = write_image(tmp_path / f"a.{suffix}", 30, 20)
    assert read_image_size(path) == (30, 20)


@pytest.mark.parametrize("mode", ["L", "CMYK", "progressive"])
def test_every_kind_of_jpeg(tmp_path, mode):
    image = Image.new("RGB" if mode == "progressive" else mode, (30, 20))
    image.save(tmp_path / "a.jpg", progressive=mode == "progressive", icc_profile=b"x" * 9000)
    assert read_image_size(tmp_path / "a.jpg") == (30, 20)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_an_image_that_lies_is_turned(tmp_path, orientation, suffix):
    path = write_image(tmp_path / f"a.{suffix}", 30, 20, orientation)
    with Image.open(path) as image:
        assert read_image_size(path) == ImageOps.exif_transpose(image).size


def test_a_member_of_an_archive_with_a_long_header(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", icc_profile=b"x" * 90_000)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.tar").write_bytes(tar_bytes({"first.txt": b"x" * 700, "a.jpg": data}))
    offset = (tmp_path / "a.tar").read_bytes().index(data)
    assert read_image_size(tmp_path / "a.tar", offset, len(data)) == (30, 20)


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"\xff\xd8\xff\xe0", b"\xff\xd8" + b"\xff" * 99, b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.jpg: (not an image, or of an unknown format|[A-Za-z]\w+)"):
        read_image_size(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match=r"b\.jpg: no such file"):
        read_image_size(tmp_path / "b.jpg")


@pytest.mark.data
@pytest.mark.parametrize("folder", ["imagenet_sample", "nuclei"])
def test_real_images(shared_data, folder):
    for path in sorted((shared_data / folder / "images").rglob("*.*"))[:150]:
        with Image.open(path) as image:
            assert read_image_size(path) == ImageOps.exif_transpose(image).size
