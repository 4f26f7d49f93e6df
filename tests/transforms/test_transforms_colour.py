"""Colour operations against Pillow's, to one grey level."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from lightning_st.transforms import colour


def pictures():
    generator = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 64)
    yield "noise", generator.integers(0, 256, (48, 64, 3), np.uint8)
    yield "narrow", generator.integers(90, 140, (48, 64, 3), np.uint8)
    yield "ramps", np.stack([*np.meshgrid(ramp, ramp), np.full((64, 64), 30.0)], axis=-1).astype(np.uint8)
    yield "two values", generator.choice(np.array([7, 250], np.uint8), (20, 30, 3))
    yield "one value", np.full((10, 10, 3), (0, 99, 255), np.uint8)
    yield "one pixel", np.array([[[3, 77, 200]]], np.uint8)
    yield "two columns", generator.integers(0, 256, (9, 2, 3), np.uint8)
    yield "dark", (generator.random((48, 64, 3)) ** 4 * 255).astype(np.uint8)


PICTURES = dict(pictures())
FACTORS = (0.0, 0.1, 0.64, 1.0, 1.18, 1.9)

REFERENCES = {
    "auto_contrast": (
        lambda image, _: colour.auto_contrast(image),
        lambda image, _: ImageOps.autocontrast(image),
        (0,),
    ),
    "equalize": (lambda image, _: colour.equalize(image), lambda image, _: ImageOps.equalize(image), (0,)),
    "posterize": (colour.posterize, ImageOps.posterize, (1, 4, 8)),
    "solarize": (colour.solarize, ImageOps.solarize, (0, 100, 255, 256)),
    "color": (colour.color, lambda image, factor: ImageEnhance.Color(image).enhance(factor), FACTORS),
    "contrast": (colour.contrast, lambda image, factor: ImageEnhance.Contrast(image).enhance(factor), FACTORS),
    "brightness": (colour.brightness, lambda image, factor: ImageEnhance.Brightness(image).enhance(factor), FACTORS),
    "sharpness": (colour.sharpness, lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor), FACTORS),
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("picture", PICTURES)
def test_like_pillow(name, picture):
    ours, pillows, arguments = REFERENCES[name]
    image = PICTURES[picture]
    before = image.copy()
    for argument in arguments:
        changed = ours(image, argument)
        expected = np.asarray(pillows(Image.fromarray(image), argument))
        assert changed.dtype == np.uint8
        np.testing.assert_allclose(changed.astype(int), expected, atol=1, err_msg=f"argument {argument}")
        assert not np.shares_memory(changed, image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", ["posterize", "solarize", "equalize"])
def test_tables_are_exactly_pillows(name):
    ours, pillows, arguments = REFERENCES[name]
    for image in PICTURES.values():
        for argument in arguments:
            np.testing.assert_array_equal(ours(image, argument), pillows(Image.fromarray(image), argument))


def test_solarize_add_brightens_the_dark_half():
    image = np.array([[[0, 10, 127], [128, 200, 255]]], np.uint8)
    np.testing.assert_array_equal(colour.solarize_add(image, 110), [[[110, 120, 237], [128, 200, 255]]])
    np.testing.assert_array_equal(colour.solarize_add(image, 200), [[[200, 210, 255], [128, 200, 255]]])


def test_channels_have_tables_of_their_own():
    image = np.zeros((2, 128, 3), np.uint8)
    image[..., 0], image[..., 2] = np.arange(128), 255 - np.arange(128)
    stretched = colour.auto_contrast(image)
    assert [(stretched[..., c].min(), stretched[..., c].max()) for c in range(3)] == [(0, 255), (0, 0), (0, 255)]
    assert (np.diff(stretched[0, :, 2].astype(int)) < 0).all()
