"""The feature pyramid and the head, layer by layer (paper.md, sections 4.3 and 5.3)."""

import pytest
import torch
from torch import nn

from lightning_st.models.heads import RetinaHead
from lightning_st.models.necks import FPN


def test_pyramid_is_the_papers():
    torch.manual_seed(0)
    neck = FPN(levels=(3, 4, 5), channels=(2, 3, 5), max_level=7, width=4)
    for norm in neck.norm:
        nn.init.normal_(norm.weight)
    c3, c4, c5 = (torch.randn(2, c, s, s) for c, s in zip((2, 3, 5), (16, 8, 4), strict=True))
    relu, up = nn.functional.relu, nn.Upsample(scale_factor=2, mode="nearest")
    m5 = neck.lateral[2](c5)
    m4 = neck.lateral[1](c4) + up(m5)
    m3 = neck.lateral[0](c3) + up(m4)
    p3, p4, p5 = (convolve(m) for convolve, m in zip(neck.output, (m3, m4, m5), strict=True))
    p6 = neck.extra[0](p5)
    p7 = neck.extra[1](relu(p6))
    expected = [norm(p) for norm, p in zip(neck.norm, (p3, p4, p5, p6, p7), strict=True)]
    found = neck([c3, c4, c5])
    assert [p.shape[-1] for p in found] == [16, 8, 4, 2, 1]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
    assert any((p < 0).any() for p in found)  # no activation at the end


def test_odd_sizes():
    neck = FPN(levels=(3, 4), channels=(2, 2), max_level=5, width=4)
    found = neck([torch.randn(2, 2, 13, 9), torch.randn(2, 2, 7, 5)])
    assert [tuple(p.shape[-2:]) for p in found] == [(13, 9), (7, 5), (4, 3)]


def test_without_further_levels():
    assert len(FPN(levels=(3, 4), channels=(2, 2), max_level=4, width=4)([torch.randn(2, 2, 8, 8)] * 2)) == 2


def test_head_shares_convolutions_and_not_normalisation():
    torch.manual_seed(0)
    head = RetinaHead(class_count=3, anchors_per_location=2, level_count=2, in_width=4, width=6, depth=2)
    nn.init.normal_(head.class_predictor.weight)
    x = torch.randn(2, 4, 8, 8)
    for norm in head.class_tower.norms[1]:
        nn.init.normal_(norm.weight)
    logits, deltas = head([x, x])
    assert logits.shape == (2, 2 * 8 * 8 * 2, 3)
    assert deltas.shape == (2, 2 * 8 * 8 * 2, 4)
    first, second = logits.chunk(2, dim=1)
    assert not torch.allclose(first, second)
    for one, other in zip(head.class_tower.norms[0], head.class_tower.norms[1], strict=True):
        other.load_state_dict(one.state_dict())
    first, second = head([x, x])[0].chunk(2, dim=1)
    assert torch.equal(first, second)


@pytest.mark.parametrize(("row", "column", "anchor"), [(0, 0, 1), (3, 5, 0), (7, 7, 1)])
def test_head_orders_by_row_column_anchor(row, column, anchor):
    head = RetinaHead(class_count=3, anchors_per_location=2, level_count=1, in_width=4, width=4, depth=0)
    maps = {}
    head.box_predictor.register_forward_hook(lambda module, inputs, output: maps.update(box=output))
    nn.init.normal_(head.box_predictor.weight)
    deltas = head([torch.randn(1, 4, 8, 8)])[1]
    expected = maps["box"][0, 4 * anchor : 4 * anchor + 4, row, column]
    assert torch.equal(deltas[0, (row * 8 + column) * 2 + anchor], expected)


def test_separable_head():
    """Counted by hand: nine weights a channel, then a pointwise convolution with bias; norms are as ever."""
    torch.manual_seed(0)
    head = RetinaHead(91, anchors_per_location=9, level_count=5, separable=True)
    convolutions = 2 * 4 * (256 * 9 + 256 * 256 + 256) + 2 * 256 * 9 + 256 * 9 * (91 + 4) + 9 * (91 + 4)
    assert sum(p.numel() for p in head.parameters()) == convolutions + 2 * 4 * 5 * 2 * 256
    convolution = head.class_tower.convolutions[0]
    x = torch.randn(2, 256, 8, 8)
    depthwise, pointwise = (part.weight for part in convolution)
    full = torch.einsum("oi,ikl->oikl", pointwise[:, :, 0, 0], depthwise[:, 0])
    expected = nn.functional.conv2d(x, full, convolution[1].bias, padding=1)
    assert torch.allclose(convolution(x), expected, atol=1e-5)


def test_a_fresh_separable_head_believes_what_a_full_one_does():
    torch.manual_seed(0)
    heads = [RetinaHead(3, anchors_per_location=2, level_count=1, separable=separable) for separable in (False, True)]
    x = [torch.randn(2, 256, 8, 8)]
    for head in heads:
        logits, deltas = head(x)
        assert logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.01)
        assert deltas.abs().max() < 0.01
    # Far above the epsilon of the normalisation behind it.
    assert all(head.class_tower.convolutions[0](x[0]).var() > 50 * 1e-4 for head in heads)
