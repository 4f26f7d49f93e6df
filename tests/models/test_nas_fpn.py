"""NAS-FPN against the paper's cell (paper.md, section 5.2), computed anew; and the neck that hands on."""

import pytest
import torch
from torch import nn

from lightning_st.errors import ConfigError
from lightning_st.models.necks import NASFPN, IdentityNeck, build_neck


def make_cell_input(side: int = 32) -> list[torch.Tensor]:
    return [torch.randn(2, 4, side >> step, side >> step) for step in range(5)]


def up(x: torch.Tensor, steps: int) -> torch.Tensor:
    return nn.Upsample(scale_factor=2**steps, mode="nearest")(x)


def down(x: torch.Tensor, steps: int) -> torch.Tensor:
    return nn.MaxPool2d(2**steps)(x)


def gate(coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    """Global attention: the strongest response of each channel of the coarse map gates the fine one."""
    strongest = coarse.flatten(2).max(dim=2).values[..., None, None]
    return coarse + fine * strongest.sigmoid()


def cell_by_hand(convolve, p3, p4, p5, p6, p7) -> list[torch.Tensor]:
    """The seven merges, written out."""
    relu = nn.functional.relu
    n5 = convolve[0](relu(gate(up(p6, 2), p4)))  # level 4 of P6 and P4
    n6 = convolve[1](relu(p4 + n5))
    n7 = convolve[2](relu(p3 + up(n6, 1)))
    n8 = convolve[3](relu(n6 + down(n7, 1)))
    n9 = convolve[4](relu(gate(down(n8, 1), down(n7, 2)) + p5))
    n10 = convolve[5](relu(gate(down(n9, 2), down(n6, 3)) + p7))
    n11 = convolve[6](relu(gate(up(n10, 1), down(n9, 1))))
    return [n7, n8, n9, n11, n10]


@pytest.fixture
def neck() -> NASFPN:
    torch.manual_seed(0)
    built = NASFPN(levels=(3, 4, 5), channels=(2, 4, 6), max_level=7, width=4, repeats=2).eval()
    for norm in built.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.weight)
    return built


def test_cells_are_the_papers(neck):
    c3, c4, c5 = (torch.randn(2, c, s, s) for c, s in zip((2, 4, 6), (32, 16, 8), strict=True))
    p3, p4, p5 = neck.lateral[0](c3), c4, neck.lateral[2](c5)  # a map of the right width is taken as it is
    maps = [p3, p4, p5, down(p5, 1), down(p5, 2)]
    for cell in neck.cells:
        maps = cell_by_hand(cell.convolutions, *maps)
    found = neck([c3, c4, c5])
    assert [x.shape[-1] for x in found] == [32, 16, 8, 4, 2]
    assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(found, maps, strict=True))
    assert any((x < 0).any() for x in found)  # no activation at the end


def test_each_cell_has_weights_of_its_own(neck):
    first, second = (cell.convolutions[0][0].weight for cell in neck.cells)
    assert not torch.equal(first, second)


def test_odd_sizes(neck):
    found = neck([torch.randn(1, c, *s) for c, s in zip((2, 4, 6), ((13, 9), (7, 5), (4, 3)), strict=True)])
    assert [tuple(x.shape[-2:]) for x in found] == [(13, 9), (7, 5), (4, 3), (2, 2), (1, 1)]


def test_separable_convolutions():
    neck = NASFPN(levels=(3, 4, 5), channels=(2, 4, 6), max_level=7, width=4, repeats=1, separable=True)
    depthwise, pointwise, _ = neck.cells[0].convolutions[0]
    assert (depthwise.groups, depthwise.kernel_size, depthwise.bias) == (4, (3, 3), None)
    assert (pointwise.kernel_size, pointwise.bias is not None) == ((1, 1), True)


def test_a_backbone_with_all_levels():
    neck = build_neck("nas-fpn", (3, 4, 5, 6, 7), (4,) * 5, 7, 4, {"repeats": 1})
    assert len(neck(make_cell_input())) == 5
    assert all(isinstance(layer, nn.Identity) for layer in neck.lateral)


def test_identity():
    maps = make_cell_input()
    neck = build_neck("identity", (3, 4, 5, 6, 7), (4,) * 5, 7, 256)
    assert neck.width == 4
    assert all(x is y for x, y in zip(neck(maps), maps, strict=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NASFPN((3, 4, 5), (4, 4, 4), max_level=6), r"to be five levels, got \(3, 6\)"),
        (lambda: NASFPN((3, 4, 5), (4, 4, 4), max_level=7, repeats=0), "repeats of nas-fpn to be at least 1"),
        (lambda: IdentityNeck((3, 4, 5), (4, 4, 4), max_level=7), r"got 'levels \(3, 4, 5\) of \(4, 4, 4\) channels'"),
        (lambda: IdentityNeck((3, 4), (4, 5), max_level=4), "maps of one width"),
        (lambda: build_neck("nasfpn", (3, 4, 5), (4, 4, 4), 7, 8), "Unknown neck 'nasfpn'. Did you mean 'nas-fpn'"),
        (
            lambda: build_neck("fpn", (3, 4), (4, 4), 4, 8, {"repeats": 2}),
            "neck 'fpn' cannot be made with",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
