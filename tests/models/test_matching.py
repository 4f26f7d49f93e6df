"""Target assignment against a version that goes box by box in plain Python (paper.md, sections 4.2 and 8)."""

import pytest
import torch
from torchvision.ops import box_iou

from lightning_st.models import blocks
from lightning_st.models.anchors import AnchorGrid
from lightning_st.models.matching import match_anchors
from lightning_st.types import BoxKind

ANCHORS = AnchorGrid(3, 5, 2.0, 3, (1.0, 2.0, 0.5)).boxes(128, 128, torch.device("cpu"))


def match_in_plain_python(
    boxes: torch.Tensor, kinds: torch.Tensor, positive_iou: float, negative_iou: float
) -> tuple[list[int], list[bool]]:
    """One image, one box and one anchor at a time."""
    iou = box_iou(boxes, ANCHORS)
    matched, ignored = [len(boxes)] * len(ANCHORS), [False] * len(ANCHORS)
    objects = [row for row, kind in enumerate(kinds) if kind == BoxKind.OBJECT]
    for anchor in range(len(ANCHORS)):
        best = max(objects, key=lambda row: iou[row, anchor].item(), default=None)
        if best is not None and iou[best, anchor] >= positive_iou:
            matched[anchor] = best
        elif best is not None and iou[best, anchor] >= negative_iou:
            ignored[anchor] = True
    for row in reversed(objects):
        if iou[row].max() > 0:
            matched[int(iou[row].argmax())] = row
    anchor_areas = (ANCHORS[:, 2:] - ANCHORS[:, :2]).prod(dim=1)
    for row, kind in enumerate(kinds):
        if kind == BoxKind.UNSURE:
            ignored = [was or bool(now >= positive_iou) for was, now in zip(ignored, iou[row], strict=True)]
            ignored[int(iou[row].argmax())] |= bool(iou[row].max() > 0)
        if kind == BoxKind.CROWD:
            corners = torch.cat([torch.maximum(ANCHORS[:, :2], boxes[row, :2]), ANCHORS[:, 2:]], dim=1)
            sides = (torch.minimum(corners[:, 2:], boxes[row, 2:]) - corners[:, :2]).clamp(min=0)
            covered = sides.prod(dim=1) / anchor_areas
            ignored = [was or bool(now >= 0.5) for was, now in zip(ignored, covered, strict=True)]
    return matched, [i and m == len(boxes) for i, m in zip(ignored, matched, strict=True)]


def random_image(seed: int, box_count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(box_count, 2, generator=generator) * 100
    boxes = torch.cat([corners, corners + 4 + 60 * torch.rand(box_count, 2, generator=generator)], dim=1)
    return boxes, torch.randint(0, 4, (box_count,), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("positive_iou", "negative_iou"), [(0.5, 0.5), (0.6, 0.3)])
@pytest.mark.parametrize("elements", [2**18, 1000])
def test_equals_plain_python(monkeypatch, positive_iou, negative_iou, elements):
    monkeypatch.setattr(blocks, "CPU_ELEMENTS", elements)
    images = [random_image(seed) for seed in range(4)]
    boxes, kinds = (torch.stack(column) for column in zip(*images, strict=True))
    matched, ignored = match_anchors(ANCHORS, boxes, kinds, positive_iou, negative_iou)
    for number, (image_boxes, image_kinds) in enumerate(images):
        expected = match_in_plain_python(image_boxes, image_kinds, positive_iou, negative_iou)
        assert matched[number].tolist() == expected[0]
        assert ignored[number].tolist() == expected[1]


def one_image(*boxes: tuple[list[float], BoxKind]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[box for box, _ in boxes]]), torch.tensor([[kind for _, kind in boxes]], dtype=torch.uint8)


def test_a_box_that_fits_no_anchor_well_claims_its_best():
    boxes, kinds = one_image(([40.0, 40.0, 44.0, 80.0], BoxKind.OBJECT))
    iou = box_iou(boxes[0], ANCHORS)[0]
    assert 0.1 < iou.max() < 0.5
    matched, ignored = match_anchors(ANCHORS, boxes, kinds)
    assert (matched[0] == 0).nonzero().flatten().tolist() == [int(iou.argmax())]
    assert not ignored.any()


def test_of_two_boxes_that_claim_one_anchor_the_first_has_it():
    box = [40.0, 40.0, 44.0, 80.0]
    matched, _ = match_anchors(ANCHORS, *one_image((box, BoxKind.OBJECT), (box, BoxKind.OBJECT)))
    assert (matched == 0).sum() == 1
    assert (matched == 1).sum() == 0


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([0.0, 0.0, 0.0, 0.0], BoxKind.PADDING),
        ([30.0, 30.0, 62.0, 62.0], BoxKind.PADDING),
        ([50.0, 50.0, 50.0, 70.0], BoxKind.OBJECT),
        ([900.0, 900.0, 950.0, 950.0], BoxKind.OBJECT),
        ([900.0, 900.0, 950.0, 950.0], BoxKind.UNSURE),
    ],
    ids=["padding", "padding with numbers in it", "no area", "outside", "unsure outside"],
)
def test_boxes_that_change_nothing(box, kind):
    matched, ignored = match_anchors(ANCHORS, *one_image((box, kind)))
    assert (matched == 1).all()
    assert not ignored.any()


def test_no_rows():
    matched, ignored = match_anchors(ANCHORS, torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.uint8))
    assert matched.shape == ignored.shape == (2, len(ANCHORS))
    assert (matched == 0).all()
    assert not ignored.any()


def test_crowd_spares_the_anchors_inside_but_not_the_objects():
    crowd, inside = [20.0, 20.0, 110.0, 110.0], [56.0, 56.0, 72.0, 72.0]
    matched, ignored = match_anchors(ANCHORS, *one_image((crowd, BoxKind.CROWD), (inside, BoxKind.OBJECT)))
    centres = (ANCHORS[:, :2] + ANCHORS[:, 2:]) / 2
    small = (ANCHORS[:, 2] - ANCHORS[:, 0]) < 30
    well_inside = ((centres > 40) & (centres < 90)).all(dim=1) & small
    outside = ((centres < 5) | (centres > 123)).any(dim=1)
    assert (matched[0] == 1).any()
    assert torch.equal(ignored[0][well_inside], (matched[0] == 2)[well_inside])
    assert not ignored[0][outside].any()


def test_many_boxes_of_one_image():
    """More rows than any block holds, all different: every box finds at least one anchor."""
    boxes, _ = random_image(1, box_count=400)
    kinds = torch.full((1, 400), int(BoxKind.OBJECT), dtype=torch.uint8)
    matched, _ = match_anchors(ANCHORS, boxes.unsqueeze(0), kinds)
    best = box_iou(boxes, ANCHORS).argmax(dim=1)
    first_claims = {int(anchor): row for row, anchor in reversed(list(enumerate(best)))}
    assert all(matched[0, anchor] == row for anchor, row in first_claims.items())
