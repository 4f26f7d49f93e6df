"""paper.md, sections 4.1 and 8."""

import pytest
import torch

from lightning_st.models.anchors import AnchorGrid

CPU = torch.device("cpu")


def paper_grid(size: float = 4.0) -> AnchorGrid:
    return AnchorGrid(3, 7, size, scales_per_octave=3, aspect_ratios=(1.0, 2.0, 0.5))


@pytest.mark.parametrize(
    ("side", "levels"),
    [
        (640, [57600, 14400, 3600, 900, 225]),
        (1024, [147456, 36864, 9216, 2304, 576]),
        (1280, [230400, 57600, 14400, 3600, 900]),
    ],
)
def test_counts(side, levels):
    boxes = paper_grid().boxes(side, side, CPU)
    assert boxes.dtype == torch.float32
    widths = (boxes[:, 2] - boxes[:, 0]).split(levels)  # raises where the total differs
    # The first anchor of each level is the square of four strides.
    assert [width[0].item() for width in widths] == [32, 64, 128, 256, 512]


@pytest.mark.parametrize(
    ("size", "stride", "sides"),
    [(4.0, 8, [32, 40.317, 50.797]), (3.0, 8, [24, 30.238, 38.098]), (4.0, 128, [512, 645.08, 812.75])],
)
def test_sides_of_square_anchors(size, stride, sides):
    boxes = paper_grid(size).boxes(640, 640, CPU)
    first = 0 if stride == 8 else -225  # the first location of P3 or of P7
    squares = boxes[first:][[0, 3, 6]]
    assert (squares[:, 2] - squares[:, 0]).tolist() == pytest.approx(sides, abs=0.005)
    assert (squares[:, 3] - squares[:, 1]).tolist() == pytest.approx(sides, abs=0.005)


def test_first_anchor():
    assert paper_grid().boxes(640, 640, CPU)[0].tolist() == [-12, -12, 20, 20]


def test_aspect_ratio_is_width_over_height_at_equal_area():
    sizes = paper_grid().boxes(640, 640, CPU)[:9, 2:] - paper_grid().boxes(640, 640, CPU)[:9, :2]
    assert (sizes[:, 0] / sizes[:, 1]).tolist() == pytest.approx([1, 2, 0.5] * 3)
    areas = sizes.prod(dim=1).view(3, 3)
    assert torch.allclose(areas, areas[:, :1].expand(3, 3), rtol=1e-6)


def test_locations_go_by_row_then_column():
    boxes = paper_grid().boxes(128, 256, CPU).view(-1, 9, 4)
    centres = (boxes[:, 0, :2] + boxes[:, 0, 2:]) / 2
    assert centres[0].tolist() == [4, 4]
    assert centres[1].tolist() == [12, 4]
    assert centres[256 // 8].tolist() == [4, 12]


def test_maps_that_round_up_reach_beyond_the_canvas():
    boxes = paper_grid().boxes(320, 96, CPU)
    *_, coarsest = boxes.split([9 * rows * columns for rows, columns in [(40, 12), (20, 6), (10, 3), (5, 2), (3, 1)]])
    centres = (coarsest[:, :2] + coarsest[:, 2:]) / 2
    assert centres.round().unique(dim=0).tolist() == [[64, 64], [64, 192], [64, 320]]


def test_mirrored_anchors_are_the_anchors_mirrored():
    grid, (height, width) = paper_grid(), (128, 256)
    boxes = grid.boxes(height, width, CPU)
    mirrored = boxes[grid.mirror_rows(height, width, CPU)]
    expected = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    assert torch.allclose(mirrored, expected, atol=1e-4)


def test_anchors_made_in_validation_serve_in_training():
    grid = paper_grid()
    with torch.inference_mode():
        grid.boxes(128, 128, CPU)
    weight = torch.ones(4, requires_grad=True)
    (grid.boxes(128, 128, CPU) * weight).sum().backward()
    assert weight.grad is not None


def test_many_canvas_sizes_do_not_pile_up():
    grid = paper_grid()
    for side in range(128, 128 * 30, 128):
        assert len(grid.boxes(128, side, CPU)) > 0
    assert len(grid._boxes) <= 8
