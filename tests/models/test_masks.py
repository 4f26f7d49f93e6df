"""From cells to the pixels of the original image: where edges land, and what the padding does."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_st.models import blocks
from lightning_st.models.masks import cells_within, restore_masks
from lightning_st.models.resampling import taps_at


def restore(scores: torch.Tensor, scale: tuple[float, float], size: tuple[int, int]):
    (found,) = restore_masks([{"scores": scores}], torch.tensor([scale]), torch.tensor([size]))
    return found


def random_scores(classes: int, rows: int, columns: int) -> torch.Tensor:
    return 3 * torch.randn(classes, rows, columns, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.37, 1.7, 3.0, 4.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_step_lands_on_its_pixel(scale, axis):
    """Cells 0-9 are class 0, cells 10-23 class 1: the edge is where the two interpolated scores are equal."""
    side = int(96 / scale)
    scores = torch.zeros(2, 24, 24)
    scores[1] = -1
    edge = [slice(None)] * 2
    edge[axis] = slice(10, None)
    scores[1][tuple(edge)] = 1
    mask = restore(scores, (scale, scale), (side, side))["mask"]
    line = mask if axis == 0 else mask.T
    assert (line == line[:, :1]).all()
    # Midway between the centres of cells 9 and 10, at 38 and 42 pixels of the input.
    expected = [int((pixel + 0.5) * scale > 40) for pixel in range(side)]
    assert line[:, 0].tolist() == expected


def test_integer_enlargements_are_those_of_torch():
    scores = random_scores(3, 12, 20)
    found = restore(scores, (1.0, 1.0), (48, 80))
    enlarged = nn.functional.interpolate(scores[None], (48, 80), mode="bilinear", align_corners=False)[0]
    probabilities, labels = enlarged.softmax(dim=0).max(dim=0)
    assert torch.equal(found["mask"], labels.byte())
    assert torch.allclose(found["confidence"], probabilities, atol=1e-6)
    assert (found["mask"].dtype, found["confidence"].dtype) == (torch.uint8, torch.float32)


def test_different_scales_of_both_axes_equal_numpy():
    """One pixel of the original at a time, from the four cells around it."""
    scores = random_scores(4, 10, 16).numpy()
    scale_x, scale_y, height, width = 0.71, 0.33, 100, 70
    found = restore(torch.from_numpy(scores), (scale_x, scale_y), (height, width))
    last_row, last_column = cells_within(round(height * scale_y)) - 1, cells_within(round(width * scale_x)) - 1
    for row, column in ((0, 0), (13, 41), (57, 3), (99, 69), (98, 0), (0, 69)):
        y = min(max((row + 0.5) * scale_y / 4 - 0.5, 0), last_row)
        x = min(max((column + 0.5) * scale_x / 4 - 0.5, 0), last_column)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, last_row), min(left + 1, last_column)
        upper = scores[:, top, left] * (left + 1 - x) + scores[:, top, right] * (x - left)
        lower = scores[:, bottom, left] * (left + 1 - x) + scores[:, bottom, right] * (x - left)
        logits = upper * (top + 1 - y) + lower * (y - top)
        assert found["mask"][row, column] == logits.argmax()
        assert found["confidence"][row, column] == pytest.approx(np.exp(logits.max()) / np.exp(logits).sum(), abs=1e-5)


@pytest.mark.parametrize("side", [48, 49, 50, 51, 52, 61, 63])
def test_the_padding_does_not_bleed(side):
    """Cells are class 0 where their centre is in the image, and class 1 elsewhere, with all the confidence there is."""
    scores = torch.zeros(2, 16, 16)
    is_inside = torch.arange(16) * 4 + 2 < side
    scores[1] = torch.where(is_inside[:, None] & is_inside[None], -1e4, 1e4)
    for scale in (1.0, 0.5, 1 / 3, 2.0):
        found = restore(scores, (scale, scale), (round(side / scale), round(side / scale)))
        assert not found["mask"].any()
        assert (found["confidence"] == 1).all()


def test_cells_within_counts_centres():
    assert [cells_within(side) for side in range(1, 12)] == [
        max(1, sum(4 * cell + 2 < side for cell in range(9))) for side in range(1, 12)
    ]


@pytest.mark.parametrize("elements", [1, 700, 2**18])
def test_blocks_of_rows_do_not_show(monkeypatch, elements):
    scores = random_scores(5, 8, 8)
    whole = restore(scores, (0.6, 0.6), (53, 47))
    monkeypatch.setattr(blocks, "CPU_ELEMENTS", elements)
    found = restore(scores, (0.6, 0.6), (53, 47))
    assert torch.equal(found["mask"], whole["mask"])
    assert torch.allclose(found["confidence"], whole["confidence"], rtol=1e-6)


def test_no_intermediate_result_is_as_large_as_the_scores_of_all_pixels(monkeypatch):
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            found = function(*args, **(kwargs or {}))
            for tensor in found if isinstance(found, tuple) else (found,):
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return found

    with Watch():
        restore(random_scores(150, 16, 16), (0.05, 0.05), (900, 1200))
    assert largest == 900 * 1200  # the mask


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_scores(dtype):
    scores = random_scores(3, 8, 8).to(dtype)
    found, expected = (restore(x, (1.0, 1.0), (32, 32)) for x in (scores, scores.float()))
    assert torch.equal(found["mask"], expected["mask"])
    assert torch.equal(found["confidence"], expected["confidence"])


def test_extreme_scores_stay_finite():
    scores = torch.stack([torch.full((4, 4), 1e30), torch.full((4, 4), -1e30)])
    assert (restore(scores, (1.0, 1.0), (16, 16))["confidence"] == 1).all()


def test_single_pixels_and_single_classes():
    assert restore(random_scores(3, 8, 8), (32.0, 32.0), (1, 1))["mask"].shape == (1, 1)
    assert restore(random_scores(1, 8, 8), (1.0, 1.0), (5, 7))["confidence"].unique().tolist() == [1]
    assert restore_masks([], torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.int64)) == []


def test_samples_of_a_ramp_lie_on_it():
    ramp = torch.arange(10.0)
    taps = taps_at(7, 10 / 7, 10, torch.device("cpu"))
    assert taps.sample(ramp, dim=0).tolist() == pytest.approx([(i + 0.5) * 10 / 7 - 0.5 for i in range(7)], abs=1e-5)
    assert math.isclose(taps_at(4000, 0.1, 300, torch.device("cpu")).sample(torch.arange(300.0), 0)[-1], 299)
