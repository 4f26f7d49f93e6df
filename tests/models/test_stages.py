"""The stages of backbones: what is frozen, and what the backward pass computes once more."""

import copy

import pytest
import torch
from torch import nn

from lightning_st.errors import ConfigError
from lightning_st.models import RetinaNet
from lightning_st.models.backbones import StagedBackbone, build_backbone
from lightning_st.models.inspection import inspect_model
from lightning_st.models.normalization import batch_norms, synchronise
from lightning_st.modules.optimization import make_optimizer

NARROW = {"channels": [8, 8, 16, 16], "stem_width": 8}
TINY = {"backbone": "resnet10t", "backbone_options": NARROW, "max_level": 5, "neck_width": 8, "head_width": 8}

# The last module of each stage, the stem first, of models whose modules timm arranges in different ways.
STAGE_ENDS = {
    "resnet18": ["act1", "layer1", "layer2", "layer3", "layer4"],
    "resnet200": ["act1", "layer1", "layer2", "layer3", "layer4"],
    "tf_efficientnet_b0": ["bn1", "blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6"],
    "mobilenetv3_small_050": ["act1", "blocks.0", "blocks.1", "blocks.3", "blocks.5"],
    "convnext_atto": ["stem_1", "stages_0", "stages_1", "stages_2", "stages_3"],
    "swin_tiny_patch4_window7_224": ["patch_embed", "layers_0", "layers_1", "layers_2", "layers_3"],
    "regnety_002": ["stem", "s1", "s2", "s3", "s4"],
    "densenet121": [
        "features_norm0",
        "features_denseblock1",
        "features_denseblock2",
        "features_denseblock3",
        "features_norm5",
    ],
}


@pytest.mark.parametrize("name", STAGE_ENDS)
def test_stages_of_timms_models(name):
    with torch.device("meta"):
        backbone = build_backbone(name, 3, 5)
    names = {id(module): known for known, module in backbone.model.named_modules()}
    stages = backbone.stages()
    assert [names[id(stage[-1])] for stage in stages] == STAGE_ENDS[name]
    inside = [id(p) for stage in stages for module in stage for p in module.parameters()]
    assert sorted(inside) == sorted(id(p) for p in backbone.parameters())  # each once


def test_stages_of_a_spinenet_are_the_stem_and_its_blocks():
    with torch.device("meta"):
        backbone = build_backbone("spinenet-49s", 3, 7, frozen_stages=3)
    frozen = {name.rpartition(".")[0] for name, p in backbone.named_parameters() if not p.requires_grad}
    assert {".".join(name.split(".")[: 1 if name.startswith("stem") else 2]) for name in frozen} == {
        "stem",
        "blocks.2",
        "blocks.3",
    }
    assert len(backbone.stages()) == 1 + 15


@pytest.mark.parametrize(
    ("name", "count", "heads"),
    [
        ("resnet18", 0, set()),
        ("resnet18", 1, {"conv1", "bn1"}),
        ("resnet18", 2, {"conv1", "bn1", "layer1"}),
        ("efficientnet_b0", 1, {"conv_stem", "bn1"}),
    ],
)
def test_frozen_parameters_get_no_gradient(name, count, heads):
    backbone = build_backbone(name, 3, 5, frozen_stages=count)
    sum(x.square().mean() for x in backbone(torch.randn(2, 3, 64, 64))).backward()
    frozen = {name.split(".")[1] for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == heads
    assert all((p.grad is None) == (not p.requires_grad) for p in backbone.parameters())


@pytest.mark.parametrize("mode", ["train", "sync", "frozen"])
def test_frozen_statistics_stay_whatever_train_says(mode):
    model = RetinaNet(["cat"], **TINY, frozen_stages=2, batch_norm=mode, batch_norm_momentum=0.5)
    model = copy.deepcopy(model).eval().train()  # as a moving average of the weights copies it
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    changed = {name for name, value in model.backbone.state_dict().items() if not torch.equal(value, before[name])}
    heads = {name.split(".")[1] for name in changed}
    assert heads == (set() if mode == "frozen" else {"layer2", "layer3", "layer4"})
    assert {norm.training for norm in batch_norms(model.head)} == {mode != "frozen"}


def test_frozen_stages_drop_nothing():
    backbone = build_backbone("efficientnet_b0", 3, 5, options={"drop_path_rate": 0.9}, frozen_stages=6).train()
    images = torch.randn(2, 3, 64, 64)
    assert all(torch.equal(x, y) for x, y in zip(backbone(images), backbone.eval()(images), strict=True))


def test_the_optimiser_skips_frozen_parameters():
    model = RetinaNet(["cat"], **TINY, frozen_stages=2)
    optimizer = make_optimizer("sgd", model.parameters(), momentum=0.9, weight_decay=0.1)
    moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert moved == {id(p) for p in model.parameters() if p.requires_grad}
    assert not moved & {id(p) for p in model.backbone.model.layer1.parameters()}
    assert all(id(p) in moved for p in model.backbone.model.layer2.parameters())


class Own(nn.Module):
    levels, channels = (3, 4), (4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 8, stride=8), nn.Conv2d(4, 4, 2, stride=2)

    def forward(self, images):
        fine = self.fine(images)
        return [fine, self.coarse(fine)]


class OwnStaged(StagedBackbone, Own):
    def stages(self):
        return [[self.fine], [self.coarse]]


def test_own_backbones_can_say_what_their_stages_are():
    backbone = build_backbone(OwnStaged(), 3, 4, frozen_stages=1)
    assert [p.requires_grad for p in backbone.parameters()] == [False, False, True, True]


@pytest.mark.parametrize(
    ("backbone", "arguments", "message"),
    [
        ("resnet18", {"frozen_stages": 6}, "frozen_stages to be 0 to 5 for this backbone, got 6"),
        ("resnet18", {"frozen_stages": -1}, "frozen_stages to be 0 to 5 for this backbone, got -1"),
        ("efficientnet_b0", {"frozen_stages": 7}, "frozen_stages to be 0 to 6"),
        ("spinenet-49s", {"frozen_stages": 17}, "frozen_stages to be 0 to 16"),
        (Own(), {"frozen_stages": 1}, r"frozen_stages to be 0 for backbone Own, got 1\. Derive it from .*Staged"),
        (Own(), {"gradient_checkpointing": True}, "gradient_checkpointing to be false for backbone Own, got True"),
        (OwnStaged(), {"gradient_checkpointing": True}, "gradient_checkpointing to be false for backbone OwnStaged"),
        ("hrnet_w18_small", {"frozen_stages": 1}, "'hrnet_w18_small' of timm cannot be divided into stages"),
        ("hrnet_w18_small", {"gradient_checkpointing": True}, "'hrnet_w18_small' of timm cannot be divided"),
    ],
)
def test_refusals(backbone, arguments, message):
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        build_backbone(backbone, 3, 7, **arguments)


def step(name, options, is_checkpointed, dtype=torch.float32, frozen_stages=0, is_synced=False) -> dict:
    """A forward and a backward pass of a backbone in training mode; everything that it leaves behind."""
    torch.manual_seed(0)
    backbone = build_backbone(
        name, 3, 7, options=options, frozen_stages=frozen_stages, gradient_checkpointing=is_checkpointed
    )
    backbone = (synchronise(backbone) if is_synced else backbone).train()
    side = 128 if name.startswith("spinenet") else 64
    images = torch.randn(2, 3, side, side)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        maps = backbone(images)
    loss = sum((level + 1) * x.float().square().mean() for level, x in enumerate(maps))
    loss.backward()
    gradients = {f"gradient of {name}": p.grad for name, p in backbone.named_parameters() if p.requires_grad}
    return {"loss": loss.detach(), "generator": torch.get_rng_state()} | gradients | backbone.state_dict()


ROWS = {
    "resnet": ("resnet10t", NARROW),
    "efficientnet": ("efficientnet_lite0", {"drop_path_rate": 0.5}),
    "spinenet": ("spinenet-49s", {"drop_rate": 0.5}),
}


def require_equal(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ROWS)
def test_recomputation_changes_no_bit(name, dtype):
    """Of the loss, the gradients, the running statistics and their counts, and the random numbers that follow."""
    kept, recomputed = (step(*ROWS[name], is_checkpointed, dtype) for is_checkpointed in (False, True))
    require_equal(kept, recomputed)
    counts = {int(value) for name, value in recomputed.items() if name.endswith("num_batches_tracked")}
    assert counts == {1}


@pytest.mark.parametrize("name", ["resnet", "spinenet"])
def test_recomputation_with_frozen_stages_and_synchronised_statistics(name):
    pair = [step(*ROWS[name], is_checkpointed, frozen_stages=2, is_synced=True) for is_checkpointed in (False, True)]
    require_equal(*pair)


FAMILIES = [
    *("convnext_atto", "mobilenetv3_small_050", "dpn68", "densenet121", "ghostnet_100", "regnety_002", "resnetv2_50"),
    *("vgg11", "repvgg_a0", "dla34", "resnet50", "efficientnet_b0"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_recomputation_of_timms_other_families(name):
    require_equal(*(step(name, {}, is_checkpointed) for is_checkpointed in (False, True)))


class Alone(nn.Module):
    """A backbone with the interface that ``inspect_model`` wants."""

    def __init__(self, name: str, is_checkpointed: bool) -> None:
        super().__init__()
        self.backbone = build_backbone(name, 3, 7, gradient_checkpointing=is_checkpointed)

    def forward(self, images):
        return self.backbone(images.float())


@pytest.mark.parametrize(
    ("name", "share"), [("resnet50", 0.15), ("efficientnet_b0", 0.05), ("spinenet-49s", 0.15), ("convnext_atto", 0.2)]
)
def test_recomputation_keeps_less(name, share):
    everything, results = (inspect_model(lambda c=c: Alone(name, c), 256, 256).kept_bytes for c in (False, True))
    assert results < share * everything


def test_what_is_kept_is_told_of_the_whole_model():
    everything, results = (
        inspect_model(lambda c=c: RetinaNet(["cat"], gradient_checkpointing=c), 256, 256).kept_bytes
        for c in (False, True)
    )
    assert results < 0.5 * everything


def test_evaluation_is_the_same():
    backbone = build_backbone("resnet10t", 3, 5, options=NARROW, gradient_checkpointing=True)
    images = torch.randn(2, 3, 64, 64)
    expected = build_backbone("resnet10t", 3, 5, options=NARROW)
    expected.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        assert all(torch.equal(x, y) for x, y in zip(backbone.eval()(images), expected.eval()(images), strict=True))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenetv3_small_050"])
def test_blocks_behind_the_coarsest_level_are_cut_off(name):
    """timm's EfficientNets keep them; they would get no gradient, which stops DDP."""
    backbone = build_backbone(name, 3, 4)
    sum(x.sum() for x in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []
