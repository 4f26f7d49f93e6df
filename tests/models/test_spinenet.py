"""SpineNet against the tables of the paper (paper.md, section 5.1), its graph computed anew."""

import pytest
import torch
from torch import nn

from lightning_st.errors import ConfigError
from lightning_st.models.backbones import build_backbone
from lightning_st.models.backbones.spinenet import BLOCKS, SpineNet

# feature: level, kind, parents, output level
TABLE = """
2 2 bottleneck 0 1 -
3 4 residual 0 1 -
4 3 bottleneck 2 3 -
5 4 bottleneck 2 4 -
6 6 residual 3 5 -
7 4 bottleneck 3 5 -
8 5 residual 6 7 -
9 7 residual 6 8 -
10 5 bottleneck 8 9 -
11 5 bottleneck 8 10 -
12 4 bottleneck 5 10 P4
13 3 bottleneck 4 10 P3
14 5 bottleneck 7 12 P5
15 7 bottleneck 5 14 P7
16 6 bottleneck 12 14 P6
"""
ROWS = [line.split() for line in TABLE.split("\n") if line]


@pytest.fixture(scope="module")
def small() -> SpineNet:
    """The smallest variant, with statistics and scales that leave no path out."""
    torch.manual_seed(0)
    model = SpineNet("49s").eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
    return model


def test_the_table_is_the_papers():
    for row, block in zip(ROWS, BLOCKS, strict=True):
        level, kind, *parents, output = row[1:]
        assert (block.level, block.kind, block.parents) == (int(level), kind, tuple(map(int, parents)))
        assert block.is_output == (output != "-")
        assert output in ("-", f"P{block.level}")


def test_the_one_feature_that_nobody_reads_joins_the_next_output_of_its_level():
    """The rule of the paper's code: an output adds each earlier feature without a consumer and of its own shape."""
    shapes = dict.fromkeys((0, 1), (2, "bottleneck"))
    consumers = dict.fromkeys(range(len(BLOCKS) + 2), 0)
    for number, block in enumerate(BLOCKS, start=2):
        for parent in block.parents:
            consumers[parent] += 1
        unread = [n for n in shapes if consumers[n] == 0 and shapes[n] == (block.level, block.kind)]
        assert list(block.added) == (unread if block.is_output else [])
        consumers |= dict.fromkeys(block.added, 1)
        shapes[number] = (block.level, block.kind)
    assert [number for number, block in enumerate(BLOCKS, start=2) if block.added] == [14]


def test_the_graph_is_the_tables(small):
    """Every feature anew from the table's rows and the model's layers."""
    images = torch.randn(1, 3, 128, 128)
    features = dict(enumerate(small.stem(images)))
    outputs = {}
    for number, level, _, *parents, output in ROWS:
        block = small.blocks[number]
        total = 0
        for resample, parent in zip(block.resample, map(int, parents), strict=True):
            x = resample.shrink(features[parent])
            factor = (128 >> int(level)) // x.shape[-1]
            total = total + resample.widen(x.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
        if number == "14":
            total = total + features[11]
        features[int(number)] = block.group(nn.functional.silu(total))
        if output != "-":
            outputs[int(level)] = small.endpoints[level](features[int(number)])
    for level, found in zip(small.levels, small(images), strict=True):
        assert torch.allclose(found, outputs[level], atol=1e-4), level
        assert found.std() > 0.01


def test_parents_shrink_by_a_strided_convolution_and_a_pool(small):
    """Ratio 2 by the convolution alone; then a pool of 3 x 3 for ratio 4, of 5 x 5 from ratio 8 on."""
    pools = {}
    for block in small.blocks.values():
        for resample, parent in zip(block.resample, block.spec.parents, strict=True):
            level = 2 if parent < 2 else BLOCKS[parent - 2].level
            layers = list(resample.shrink)
            strided = [x for x in layers if isinstance(x, nn.Conv2d) and x.stride == (2, 2)]
            assert len(strided) == (block.spec.level > level)
            found = [(x.kernel_size, x.stride) for x in layers if isinstance(x, nn.MaxPool2d)]
            pools.setdefault(block.spec.level - level, set()).update(found)
    by_ratio = {2**steps: kinds for steps, kinds in pools.items()}
    assert by_ratio == {0.25: set(), 0.5: set(), 1: set(), 2: set(), 4: {(3, 2)}, 8: {(5, 4)}}


@pytest.mark.parametrize("size", [(128, 128), (96, 160), (75, 101)])
def test_maps_of_any_size(small, size):
    maps = small(torch.randn(1, 3, *size))
    sides = [tuple(-(-side // 2**level) for side in size) for level in range(3, 8)]
    assert [tuple(x.shape) for x in maps] == [(1, 128, *side) for side in sides]


def test_fewer_levels_leave_out_what_they_do_not_need():
    """A block that no map needs would get no gradient, which stops DDP."""
    backbone = build_backbone("spinenet-49s", 3, 5, options={"drop_rate": 0.0})
    assert backbone.levels == (3, 4, 5)
    assert "15" not in backbone.blocks
    sum(x.sum() for x in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_stochastic_depth_rises_from_block_to_block():
    with torch.device("meta"):
        model = SpineNet("143")
    rates = [[unit.drop.p for unit in model.blocks[str(number)].group] for number in range(2, 17)]
    assert rates == [pytest.approx([0.16 * i / 15] * 3) for i in range(1, 16)]
    assert all(unit.drop.p == 0 for group in model.stem.groups for unit in group)


def test_stochastic_depth_drops_the_branch_of_whole_images():
    torch.manual_seed(0)
    unit = SpineNet("49s", drop_rate=0.5).blocks["16"].group[0]
    branch = torch.ones(4000, 1, 2, 2)
    kept = unit.drop(branch).flatten(1)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(kept.amax(1), kept.amin(1))
    assert (kept > 0).float().mean() == pytest.approx(0.5, abs=0.03)
    assert torch.equal(unit.drop.eval()(branch), branch)


@pytest.mark.parametrize(
    ("name", "levels", "options", "message"),
    [
        ("spinenet-50", (3, 7), {}, "Unknown backbone 'spinenet-50'. Did you mean 'spinenet-190'|'spinenet-49"),
        ("spinenet-49", (2, 7), {}, r"3 to 7 for SpineNet, got \(2, 7\)"),
        ("spinenet-49", (3, 7), {"colour": 1}, "backbone 'spinenet-49' cannot be made with .*'colour'"),
    ],
)
def test_refusals(name, levels, options, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(name, *levels, options=options)
