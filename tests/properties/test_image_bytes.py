"""Whatever bytes an image file holds, it is decoded or it is an ImageError of one line; sizes agree wherever read."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from spoiling import EXAMPLES, read_or_refuse, spoilt_bytes
from subjects import palette_mask, picture

from lightning_st.data.decoding import decode, read_header
from lightning_st.index.image_size import read_image_size
from lightning_st.index.readers.masks import read_mask
from lightning_st.index.table import ImageRecord
from lightning_st.reports.pictures import load_thumbnail

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch):
    """A flipped bit in a header must not cost seconds: the limit itself is what is tested."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
@EXAMPLES
def test_a_spoilt_image_is_decoded_or_refused(format, data):
    content = data.draw(spoilt_bytes(picture(format)))
    header = read_or_refuse(lambda: read_header(content, "a.jpg"))
    image = read_or_refuse(lambda: decode(content, "a.jpg"))
    small = read_or_refuse(lambda: decode(content, "a.jpg", reduction=4))
    assert header is not None or image is None
    if image is not None:
        assert (image.shape, image.dtype) == ((*header.size, 3), np.uint8)
        assert small is not None
        assert max(small.shape) <= max(image.shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jpg"
        path.write_bytes(b"before" + content + b"after")
        size = read_or_refuse(lambda: read_image_size(path, 6, len(content)))
        record = ImageRecord(0, "a.jpg", str(path), 6, len(content), 0, 0, 0)
        thumbnail = read_or_refuse(lambda: load_thumbnail(record, 16))
        mask = read_or_refuse(lambda: _mask_or_none(path, content))
    if image is not None:
        assert size == header.size[::-1]
        assert thumbnail is None or thumbnail[1] == size
    assert mask is None or mask.ndim == 2


def _mask_or_none(path, content):
    path.write_bytes(content)
    return read_mask(path)[0]


@given(data=st.data())
@EXAMPLES
def test_a_spoilt_mask_is_read_or_refused(data):
    content = data.draw(spoilt_bytes(palette_mask()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        path.write_bytes(content)
        found = read_or_refuse(lambda: read_mask(path))
    assert found is None or found[0].ndim == 2
