"""Backbones of timm, and own ones."""

import socket
import time

import pytest
import timm
import torch
from torch import nn

from lightning_st.errors import CheckpointError, ConfigError
from lightning_st.models.backbones import build_backbone
from lightning_st.models.normalization import batch_norms

NARROW = {"channels": [8, 8, 16, 16], "stem_width": 8}


@pytest.mark.parametrize(
    ("name", "min_level", "max_level", "channels", "options"),
    [
        ("resnet10t", 3, 7, (64, 128, 256), {"channels": [32, 64, 128, 256], "stem_width": 16}),
        ("resnet10t", 2, 4, (8, 8, 16), NARROW),
        ("resnet10t", 4, 4, (16,), NARROW),
        ("efficientnet_b0", 3, 7, (40, 112, 320), {}),
        ("convnext_atto", 3, 5, (80, 160, 320), {}),
        ("swin_tiny_patch4_window7_224", 3, 5, (192, 384, 768), {"img_size": 64, "window_size": 2}),
    ],
)
def test_timms_backbones(name, min_level, max_level, channels, options):
    backbone = build_backbone(name, min_level, max_level, options=options)
    maps = backbone(torch.zeros(2, 3, 64, 64))
    assert backbone.channels == channels
    assert backbone.levels == tuple(range(min_level, min(max_level, 5) + 1))
    shapes = [(2, count, 64 >> level, 64 >> level) for level, count in zip(backbone.levels, channels, strict=True)]
    assert [tuple(x.shape) for x in maps] == shapes


def test_layers_behind_the_coarsest_level_are_cut_off():
    """A layer that no map needs would get no gradient, which stops DDP."""
    backbone = build_backbone("resnet10t", 3, 4, options=NARROW)
    sum(x.sum() for x in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


class OwnBackbone(nn.Module):
    """One strided convolution a level."""

    def __init__(self, min_level: int = 3, max_level: int = 5, width: int = 4) -> None:
        super().__init__()
        self.levels = tuple(range(min_level, min(max_level, 4) + 1))
        self.channels = (width,) * len(self.levels)
        self.convolutions = nn.ModuleList(nn.Conv2d(3, width, 1, stride=2**level) for level in self.levels)

    def forward(self, images):
        return [convolve(images) for convolve in self.convolutions]


def test_own_backbones():
    built = OwnBackbone()
    assert build_backbone(built, 3, 5) is built
    made = build_backbone(OwnBackbone, 3, 7, options={"width": 6})
    assert (made.levels, made.channels) == ((3, 4), (6, 6))
    named = build_backbone(f"{__name__}.OwnBackbone", 3, 7, options={"width": 6})
    assert (named.levels, named.channels) == ((3, 4), (6, 6))


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("resnt50", {}, "Unknown backbone 'resnt50'. Did you mean 'resnet50'"),
        ("resnet18", {"colour": "red"}, "timm cannot make backbone 'resnet18' with options {'colour': 'red'}"),
        ("vit_tiny_patch16_224", {}, r"feature maps at strides \[8, 16, 32\], got 'vit_tiny"),
        (OwnBackbone(), {"width": 3}, "backbone_options to be empty"),
        (OwnBackbone, {"widht": 3}, r"backbone 'OwnBackbone' cannot be made with backbone_options .*'widht': 3"),
        ("nowhere.Backbone", {}, r"Unknown backbone 'nowhere\.Backbone'"),
        (
            OwnBackbone(2, 4),
            {},
            r"levels of backbone OwnBackbone to be consecutive from 3 to at most 7, got \(2, 3, 4\)",
        ),
        (nn.Identity(), {}, r"levels of backbone Identity to be .*, got \(\)"),
    ],
)
def test_refusals(backbone, options, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(backbone, 3, 7, options=options)


def test_channels_have_to_go_with_levels():
    backbone = OwnBackbone()
    backbone.channels = (4,)
    with pytest.raises(ConfigError, match="one for each level"):
        build_backbone(backbone, 3, 7)


def test_own_backbones_have_no_weights_to_download():
    with pytest.raises(ConfigError, match="pretrained to be false or a file of weights, got True"):
        build_backbone(OwnBackbone(), 3, 7, pretrained=True)


def test_no_network_is_one_sentence_at_once(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for proxy in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"resnet18.a1_in1k: pretrained weights are to come from .*unreachable"):
        build_backbone("resnet18", 3, 7, pretrained="a1_in1k")
    assert time.perf_counter() - started < 20  # timm by itself tries for 47 s


def test_unknown_tag():
    with pytest.raises(CheckpointError, match="Invalid pretrained tag"):
        build_backbone("resnet18", 3, 7, pretrained="no_such_tag")


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "tf_efficientnet_b0", "efficientnet_b0"])
def test_maps_are_timms_own(name):
    """Of its model for features, and of its classifier, with the same weights and statistics."""
    torch.manual_seed(0)
    backbone = build_backbone(name, 3, 5).eval()
    for norm in batch_norms(backbone):  # as after some training: fresh ones hide a wrong layer
        nn.init.uniform_(norm.running_mean, -0.1, 0.1)
        nn.init.uniform_(norm.running_var, 0.8, 1.2)
        nn.init.uniform_(norm.weight, 0.8, 1.2)
    weights = backbone.model.state_dict()
    pyramid = timm.create_model(name, features_only=True).eval()
    pyramid.load_state_dict(weights)
    classifier = timm.create_model(name).eval()
    assert classifier.load_state_dict(weights, strict=False).unexpected_keys == []
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        found, expected = backbone(images), pyramid(images)[-3:]
        inner = classifier.forward_intermediates(images, intermediates_only=True)[-3:]
        last = classifier.forward_features(images)
    for x, y, z in zip(found, expected, inner, strict=True):
        assert torch.allclose(x, y, atol=1e-5)
        assert torch.allclose(x, z, atol=1e-5)
        assert x.abs().max() > 0.1
    # An EfficientNet's classifier has one more convolution.
    head = getattr(classifier, "conv_head", None)
    final = found[-1] if head is None else classifier.bn2(head(found[-1]))
    assert torch.allclose(final, last, atol=1e-5)
    epsilons = [norm.eps for norm in batch_norms(backbone)]
    assert epsilons == [norm.eps for norm in batch_norms(pyramid)]
    assert set(epsilons) == {1e-3 if name.startswith("tf_") else 1e-5}


NAMES = [
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152, 200)),
    *(f"tf_efficientnet_{size}" for size in ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "l2")),
]

# paper.md, section 5.5; the parameters without the classifier and the convolution before it.
PAPERS = {
    "tf_efficientnet_b0": (3.595, (40, 112, 320)),
    "tf_efficientnet_b1": (6.101, (40, 112, 320)),
    "tf_efficientnet_b2": (7.203, None),
    "tf_efficientnet_b3": (10.103, None),
    "tf_efficientnet_b4": (16.742, (56, 160, 448)),
    "tf_efficientnet_b5": (27.288, (64, 176, 512)),
    "tf_efficientnet_b6": (39.404, None),
    "tf_efficientnet_b7": (62.143, (80, 224, 640)),
    "tf_efficientnet_b8": (82.608, None),
    "tf_efficientnet_l2": (467.220, (176, 480, 1376)),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_families(name):
    with torch.device("meta"):
        backbone = build_backbone(name, 3, 7)
        maps = backbone(torch.empty(1, 3, 64, 64))
    assert [tuple(x.shape) for x in maps] == [
        (1, c, 64 >> level, 64 >> level) for c, level in zip(backbone.channels, (3, 4, 5), strict=True)
    ]
    millions, channels = PAPERS.get(name, (None, None))
    if millions:
        assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)
    assert channels is None or backbone.channels == channels
