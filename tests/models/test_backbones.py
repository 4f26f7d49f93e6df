"""Backbones of timm, own ones, and weights from files."""

import logging
import socket
import time

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from lightning_st.errors import CheckpointError, ConfigError
from lightning_st.models.backbones import build_backbone, load_weights

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


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(1)
    return timm.create_model("resnet10t", num_classes=7, **NARROW)


def write(path, state) -> str:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(tmp_path, caplog, classifier, suffix):
    path = write(tmp_path / f"weights{suffix}", classifier.state_dict())
    with caplog.at_level(logging.INFO):
        backbone = build_backbone("resnet10t", 3, 5, pretrained=path, options=NARROW)
    loaded = backbone.model.state_dict()
    assert all(torch.equal(value, classifier.state_dict()[name]) for name, value in loaded.items())
    assert f"{len(loaded)} of {len(loaded)} tensors loaded; not in the file: none" in caplog.text


@pytest.mark.parametrize(("key", "prefix"), [("state_dict", "task.backbone.model."), ("model", "module.encoder_q.")])
def test_weights_from_checkpoints_of_other_programs(tmp_path, classifier, key, prefix):
    state = {f"{prefix}{name}": value for name, value in classifier.state_dict().items()}
    path = write(tmp_path / "last.ckpt", {key: state | {"queue": torch.zeros(3)}, "epoch": 3})
    backbone = build_backbone("resnet10t", 3, 5, pretrained=path, options=NARROW)
    assert torch.equal(backbone.model.conv1[0].weight, classifier.conv1[0].weight)
    assert torch.equal(backbone.model.layer4[0].bn2.running_var, classifier.layer4[0].bn2.running_var)


def test_weights_whose_names_timm_flattens(tmp_path):
    """timm calls "stages.0" of ConvNeXt "stages_0" where it returns features."""
    full = timm.create_model("convnext_atto", num_classes=0)
    backbone = build_backbone("convnext_atto", 3, 5)
    count = load_weights(backbone, write(tmp_path / "weights.pt", full.state_dict()))
    assert count == len(backbone.state_dict())
    assert torch.equal(backbone.model.stem_0.weight, full.stem[0].weight)


def test_a_part_of_the_weights_is_reported(tmp_path, caplog, classifier):
    state = {name: value for name, value in classifier.state_dict().items() if "layer4" not in name}
    with caplog.at_level(logging.INFO):
        build_backbone("resnet10t", 3, 5, pretrained=write(tmp_path / "a.pth", state), options=NARROW)
    assert "not in the file: ['model.layer4.0.bn1.bias'" in caplog.text


def test_weights_that_do_not_fit(tmp_path, classifier):
    path = write(tmp_path / "weights.pth", classifier.state_dict())
    with pytest.raises(CheckpointError, match=r"weights.pth: expected model.conv1.0.weight of shape \(12, 3, 3, 3\)"):
        build_backbone("resnet10t", 3, 5, pretrained=path, options={"stem_width": 16, "channels": [8, 8, 16, 16]})
    path = write(tmp_path / "others.pth", {"queue": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"others.pth: none of its tensors has a name that TimmBackbone knows"):
        build_backbone("resnet10t", 3, 5, pretrained=path, options=NARROW)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.pth", None, "there is no such file"),
        ("missing.safetensors", None, "there is no such file"),
        ("cut.pth", b"PK\x03\x04 half a zip file", "cannot be read as a file of weights"),
        ("text.pth", b"not a checkpoint", "cannot be read as a file of weights"),
        ("cut.safetensors", b"\xff\xff", "cannot be read as a file of weights"),
        ("empty.pth", b"", "cannot be read as a file of weights"),
    ],
)
def test_unreadable_weights(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}: {message}"):
        load_weights(OwnBackbone(), tmp_path / name)


def test_a_checkpoint_that_is_no_dictionary(tmp_path):
    with pytest.raises(CheckpointError, match="expected tensors by name, found a list"):
        load_weights(OwnBackbone(), write(tmp_path / "list.pth", [torch.zeros(1)]))


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
