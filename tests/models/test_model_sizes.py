"""Parameters and multiply-adds of the paper's models (paper.md, sections 5.6, 6, 8), without computing any of them."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_st.models import RetinaNet, SemanticSegmenter
from lightning_st.models.backbones import build_backbone

CLASSES = [str(number) for number in range(91)]
NAS_FPN = {"backbone": "resnet50", "neck": "nas-fpn"}
SPINE = {"neck": "identity"}

# RetinaNet's arguments, side of the image, parameters, multiply-adds of the convolutions in 1e9
PUBLISHED = {
    "R50-FPN": ({"backbone": "resnet50"}, 640, 34_091_159, 96.88),
    "R101-FPN": ({"backbone": "resnet101"}, 1024, 53_083_287, 325.59),
    "R152-FPN": ({"backbone": "resnet152"}, 1280, 68_726_935, 629.95),
    "R50-NAS-FPN, 7 repeats": (NAS_FPN, 640, 60_078_743, 140.26),
    "R50-NAS-FPN, 5 repeats": (NAS_FPN | {"neck_options": {"repeats": 5}}, 640, 51_810_455, 126.43),
    "EfficientNet-B7-FPN": ({"backbone": "tf_efficientnet_b7"}, 640, 72_050_727, 103.78),
    "SpineNet-49S": (SPINE | {"backbone": "spinenet-49s", "head_width": 128}, 640, 11_265_942, 30.78),
    "SpineNet-49": (SPINE | {"backbone": "spinenet-49"}, 640, 28_543_383, 85.28),
    "SpineNet-96": (SPINE | {"backbone": "spinenet-96"}, 1024, 42_974_871, 265.02),
    "SpineNet-143": (SPINE | {"backbone": "spinenet-143"}, 1280, 66_959_511, 523.34),
    "SpineNet-190": (
        SPINE | {"backbone": "spinenet-190", "head_width": 512, "head_depth": 7},
        1280,
        163_637_351,
        1881.66,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name):
    arguments, side, parameters, multiply_adds = PUBLISHED[name]
    with torch.device("meta"):
        model = RetinaNet(CLASSES, **arguments).eval()
        images = torch.empty(1, 3, side, side, dtype=torch.uint8)
    assert sum(p.numel() for p in model.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        logits, _ = model(images)
    assert counter.get_total_flops() / 2e9 == pytest.approx(multiply_adds, rel=1e-3)
    assert logits.shape == (1, {640: 76_725, 1024: 196_416, 1280: 306_900}[side], 91)


@pytest.mark.parametrize(
    ("backbone", "parameters", "multiply_adds"),
    [("tf_efficientnet_b7", 67_527_317, 59.3547), ("tf_efficientnet_l2", 472_883_289, 226.0058)],
)
def test_counts_of_the_papers_segmenters(backbone, parameters, multiply_adds):
    """Without ImageNet's classifier: section 6 has 67.53 M and 59.35 B, and 472.88 M and 226.01 B.

    Section 6 counts to 10,000 parameters, so it cannot tell whether the head's 768 biases are there.
    """
    with torch.device("meta"):
        model = SemanticSegmenter(CLASSES[:21], backbone).eval()
        images = torch.empty(1, 3, 512, 512, dtype=torch.uint8)
    assert sum(p.numel() for p in model.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        logits = model(images)
    assert counter.get_total_flops() / 2e9 == pytest.approx(multiply_adds, abs=5e-5)
    assert logits.shape == (1, 21, 128, 128)


@pytest.mark.parametrize(
    ("name", "millions"), [("49s", 9.089), ("49", 21.831), ("96", 36.263), ("143", 60.248), ("190", 126.588)]
)
def test_spinenets_without_a_head(name, millions):
    with torch.device("meta"):
        backbone = build_backbone(f"spinenet-{name}", 3, 7)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)


OPTIONS = {"resnet10t": {"channels": [8, 8, 16, 16], "stem_width": 8}}
RESNETS = ("resnet18", "resnet50", "resnet200")
EFFICIENTNETS = ("efficientnet_b0", "tf_efficientnet_b0", "tf_efficientnet_b1", "tf_efficientnet_b2")
SPINENETS = ("spinenet-49s", "spinenet-49")
OTHERS = ("convnext_atto", "regnety_002", "mobilenetv3_small_050")
SMALL = [
    ("resnet10t", "fpn"),
    ("resnet10t", "nas-fpn"),
    ("efficientnet_lite0", "nas-fpn"),
    ("spinenet-49s", "identity"),
]
LARGE = [
    *((backbone, neck) for backbone in (*RESNETS, *EFFICIENTNETS, *SPINENETS, *OTHERS) for neck in ("fpn", "nas-fpn")),
    ("spinenet-49", "identity"),
    ("efficientnet_lite0", "fpn"),
]


STEPPED = pytest.mark.parametrize(
    ("backbone", "neck"), [*SMALL, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in LARGE)]
)


@STEPPED
def test_each_backbone_with_each_neck_takes_a_step(backbone, neck):
    torch.manual_seed(0)
    options = {"backbone_options": OPTIONS.get(backbone), "neck": neck, "neck_width": 16, "head_width": 16}
    options["neck_options"] = {"repeats": 2} if neck == "nas-fpn" else None
    model = RetinaNet(["cat"], backbone=backbone, head_depth=1, **options).train()
    batch = {
        "images": torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8),
        "boxes": torch.tensor([[[10.0, 10.0, 60.0, 60.0]]] * 2),
        "labels": torch.zeros(2, 1, dtype=torch.int64),
        "kinds": torch.ones(2, 1, dtype=torch.uint8),
        "pseudo": torch.zeros(2, dtype=torch.bool),
    }
    losses, _ = model.losses(batch)
    losses.mean().backward()
    assert torch.isfinite(losses).all()
    without = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    assert torch.isfinite(model.losses(batch)[0]).all()
    found = model.eval().predict(batch["images"])
    assert len(found) == 2
    assert all(torch.isfinite(prediction["boxes"]).all() for prediction in found)


@STEPPED
def test_each_pair_as_a_segmenter_takes_a_step(backbone, neck):
    torch.manual_seed(0)
    options = {"backbone_options": OPTIONS.get(backbone), "neck": neck, "neck_width": 16, "head_width": 16}
    options["neck_options"] = {"repeats": 1, "separable": True} if neck == "nas-fpn" else None
    model = SemanticSegmenter(["cat", "dog"], backbone=backbone, head_depth=1, **options).train()
    batch = {
        "images": torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8),
        "masks": torch.randint(0, 2, (2, 128, 128), dtype=torch.uint8),
        "pseudo": torch.tensor([False, True]),
    }
    losses, _ = model.losses(batch)
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    without = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []
    before = [p.detach().clone() for p in model.parameters()]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # SpineNet's level 7 is one pixel here
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    (found, _) = model.eval().restore(
        model.predict(batch["images"]), torch.full((2, 2), 0.5), torch.tensor([[256, 256]] * 2)
    )
    assert found["mask"].shape == (256, 256)
    assert found["confidence"].isfinite().all()
