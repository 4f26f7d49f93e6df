"""The policies of images that are learnt as wholes."""

import numpy as np
import pytest
from rectangles import noise_sample

from lightning_st.errors import ConfigError
from lightning_st.transforms import centre_crop, make_policy

SIZE = (48, 56)


def apply(name, image, seed=0, **options):
    policy = make_policy(name, SIZE, "views", **options)
    sample = noise_sample(*image.shape[:2], [])
    sample.image = image
    return policy.apply(sample, policy.draw(np.random.default_rng(seed), *image.shape[:2])).image


def ramp(height=100, width=140):
    """Red tells the column, green the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width), np.arange(height)[:, None]
    return image


@pytest.mark.parametrize("name", ["RandomResizedCrop", "SimCLR"])
def test_a_draw_decides_everything(name):
    image = np.random.default_rng(0).integers(0, 256, (100, 140, 3), dtype=np.uint8)
    first, again, other = (apply(name, image, seed) for seed in (1, 1, 2))
    assert first.shape == (*SIZE, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_crop_keeps_the_wanted_part_and_aspect():
    areas, ratios, flips = [], [], 0
    for seed in range(300):
        crop = apply("RandomResizedCrop", ramp(), seed).astype(int)
        width, height = (np.ptp(crop[..., channel]) + 1 for channel in (0, 1))
        areas.append(width * height / (100 * 140))
        ratios.append(width / height)
        flips += crop[0, 0, 0] > crop[0, -1, 0]
    assert 0.06 < min(areas) < 0.15
    assert 0.85 < max(areas) <= 1.05
    assert 0.68 < min(ratios) < 0.85
    assert 1.2 < max(ratios) < 1.45
    assert 110 < flips < 190


def test_options_say_how_much():
    image = ramp()
    assert np.ptp(apply("RandomResizedCrop", image, crop_area=[1, 1], flip_probability=0)[..., 1].astype(int)) > 85
    grey = np.full((100, 140, 3), 128, np.uint8)
    assert all((apply("SimCLR", grey, seed, colour_strength=0.0) == 128).all() for seed in range(10))
    assert any((apply("SimCLR", grey, seed) != 128).any() for seed in range(10))


def test_simclr_greys_a_fifth():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:] = (220, 60, 90)
    is_grey = [np.ptp(apply("SimCLR", image, seed, colour_strength=0.0)[5, 5].astype(int)) <= 1 for seed in range(200)]
    assert 22 <= sum(is_grey) <= 60


@pytest.mark.parametrize("target", ["boxes", "masks"])
@pytest.mark.parametrize("name", ["RandomResizedCrop", "SimCLR"])
def test_they_are_not_for_boxes_and_masks(name, target):
    with pytest.raises(ConfigError, match=rf"augment to be one that keeps the {target}: .* got '{name}'"):
        make_policy(name, SIZE, target)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SimCLR", {"crop_area": [0.5, 1.5]}, r"crop_area to be two parts of the image"),
        ("SimCLR", {"colour_strength": -1}, r"colour_strength to be 0 to 2"),
        ("RandomResizedCrop", {"colour_strength": 1}, r"no colour_strength for the policy 'RandomResizedCrop'"),
        ("S1", {"crop_area": [0.5, 1.0]}, r"no crop_area for the policy 'S1'"),
    ],
)
def test_refusals(name, options, message):
    with pytest.raises(ConfigError, match=message):
        make_policy(name, SIZE, "classes", **options)


@pytest.mark.parametrize("size", [(100, 140), (140, 100), (7, 300), (1, 1)])
def test_the_middle_is_cut_out(size):
    image = ramp(*size) if max(size) < 256 else np.zeros((*size, 3), np.uint8)
    crop, scales = centre_crop(image, (32, 40))
    assert crop.shape == (32, 40, 3)
    if min(size) >= 100:
        seen = [(int(crop[..., channel].min()) + int(crop[..., channel].max())) / 2 for channel in (0, 1)]
        np.testing.assert_allclose(seen, [(size[1] - 1) / 2, (size[0] - 1) / 2], atol=1.5)
        np.testing.assert_allclose(scales[0], scales[1], rtol=0.02)
        assert min(size[0] * scales[1] / 32, size[1] * scales[0] / 40) == pytest.approx(1 / 0.875, rel=0.02)
