"""Images on their way to a backbone: views at other scales. Normalisation is tested with RetinaNet."""

import re

import pytest
import torch

from lightning_st.errors import ConfigError
from lightning_st.models.images import ImageNormalization, views_at


def make_images(height: int = 30, width: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, height, width), generator=generator, dtype=torch.uint8)


def test_scale_one_hands_the_images_on():
    images = make_images()
    (view,) = views_at(images, [1.0])
    assert view.images is images
    assert view.ratios == (1.0, 1.0)


def test_sizes_and_ratios_are_those_after_rounding():
    views = list(views_at(make_images(), [0.5, 1.25, 2.0]))
    assert [tuple(view.images.shape[-2:]) for view in views] == [(15, 25), (38, 62), (60, 100)]
    assert views[1].ratios == (62 / 50, 38 / 30)


def test_resizing_keeps_a_ramp_a_ramp():
    """Pixel j of half the size lies between pixels 2j and 2j + 1; away from the border, where values run out."""
    ramp = torch.arange(16, dtype=torch.uint8).expand(1, 3, 8, 16)
    half, double = (view.images for view in views_at(ramp, [0.5, 2.0]))
    assert torch.allclose(half[0, 0, 3, 1:-1], torch.arange(1, 7) * 2 + 0.5, atol=1e-4)
    assert torch.allclose(double[0, 0, 3, 1:-1], torch.arange(1, 31) / 2 - 0.25, atol=1e-4)


def test_the_smallest_view_is_a_pixel():
    (view,) = views_at(make_images(), [0.001])
    assert view.images.shape[-2:] == (1, 1)


@pytest.mark.parametrize("scales", [[], [0.0], [1.0, -0.5], [float("nan")], [float("inf")]])
def test_impossible_scales_are_refused(scales):
    with pytest.raises(ConfigError, match=re.escape(f"one finite number above 0 or more, got {scales}")):
        list(views_at(make_images(), scales))


def test_normalisation_is_no_part_of_a_state_dict():
    normalise = ImageNormalization(32)
    assert normalise.state_dict() == {}
    assert normalise.to(torch.bfloat16)(make_images()).dtype == torch.bfloat16
    assert normalise(make_images().float()).shape == (2, 3, 32, 64)
