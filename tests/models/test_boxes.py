"""The box code (paper.md, sections 4.2 and 8)."""

import math

import torch

from lightning_st.models.boxes import clip, decode, encode, has_area


def random_boxes(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, generator=generator) * 500
    return torch.cat([corners, corners + 8 + torch.rand(count, 2, generator=generator) * 300], dim=1)


def test_round_trip():
    boxes, anchors = random_boxes(2000).split(1000)
    error = (decode(encode(boxes, anchors), anchors) - boxes).abs().max()
    # paper.md asks for 1e-4 pixels; float32 has steps of 6e-5 at coordinates from 512 on.
    assert error < 4 * 6.2e-5
    boxes, anchors = boxes.double(), anchors.double()
    assert (decode(encode(boxes, anchors), anchors) - boxes).abs().max() < 1e-9


def test_identical_box_is_zero():
    boxes = random_boxes(10)
    assert torch.equal(encode(boxes, boxes), torch.zeros(10, 4))


def test_formula():
    anchor, box = torch.tensor([0.0, 0.0, 10.0, 20.0]), torch.tensor([5.0, 2.0, 25.0, 12.0])
    expected = [(15 - 5) / 10, (7 - 10) / 20, math.log(2), math.log(0.5)]
    assert torch.allclose(encode(box, anchor), torch.tensor(expected))


def test_decoded_sides_are_bounded():
    anchor = torch.tensor([0.0, 0.0, 16.0, 16.0])
    box = decode(torch.tensor([0.0, 0.0, 50.0, 50.0]), anchor)
    assert torch.allclose(box[2:] - box[:2], torch.tensor([1000.0, 1000.0]))


def test_padding_rows_encode_to_finite_numbers():
    assert encode(torch.zeros(1, 4), random_boxes(1)).isfinite().all()


def test_clip_and_area():
    boxes = torch.tensor([[-5.0, -5.0, 30.0, 8.0], [25.0, 0.0, 40.0, 5.0]])
    clipped = clip(boxes, height=10, width=20)
    assert clipped.tolist() == [[0, 0, 20, 8], [20, 0, 20, 5]]
    assert has_area(clipped).tolist() == [True, False]
