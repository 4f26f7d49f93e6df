"""A backbone's weights from files: of other programs, of other architectures, and broken ones."""

import logging

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from test_backbones import NARROW, OwnBackbone
from torch import nn

from lightning_st.errors import CheckpointError
from lightning_st.models import RetinaNet
from lightning_st.models.backbones import build_backbone, load_weights


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
    count = sum(not name.endswith("num_batches_tracked") for name in loaded)
    assert f"{count} of {count} tensors loaded, 100% of the parameters; not in the file: nothing" in caplog.text


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
    assert "not in the file: model.layer4.0.conv1.weight, model.layer4.0.bn1.weight" in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]


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


def meta_backbone(name: str) -> nn.Module:
    with torch.device("meta"):
        backbone = build_backbone(name, 3, 5)
    return backbone.to_empty(device="cpu")


def require_loaded(backbone: nn.Module, state: dict[str, torch.Tensor]) -> None:
    for name, value in backbone.model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, state[name]), name


def distinct(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights of which no two tensors of a shape are equal, as fresh normalisations are."""
    return {name: torch.rand_like(value.float()) for name, value in model.state_dict().items()}


def test_torchvisions_resnet50(tmp_path, caplog):
    state = distinct(torchvision.models.resnet50())
    backbone = meta_backbone("resnet50")
    with caplog.at_level(logging.INFO):
        load_weights(backbone, write(tmp_path / "resnet50.pth", state))
    require_loaded(backbone, state)
    assert "265 of 265 tensors loaded, 100% of the parameters; not in the file: nothing" in caplog.text
    assert "left in the file: fc.bias, fc.weight." in caplog.text


def test_a_classifier_of_timm(tmp_path, caplog):
    state = distinct(timm.create_model("efficientnet_b0"))
    backbone = meta_backbone("efficientnet_b0")
    with caplog.at_level(logging.INFO):
        load_weights(backbone, write(tmp_path / "b0.safetensors", state))
    require_loaded(backbone, state)
    assert "left in the file: bn2.bias, bn2.running_mean, bn2.running_var, bn2.weight, classifier.bias and 2 more." in (
        caplog.text
    )
    assert {record.levelname for record in caplog.records} == {"INFO"}


@pytest.mark.parametrize("prefix", ["", "module.encoder_q.", "encoder.", "backbone.", "module.base_encoder.model."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "teacher"])
def test_prefixes_of_self_supervised_training(tmp_path, classifier, prefix, wrapper):
    state = distinct(classifier)
    content = {f"{prefix}{name}": value for name, value in state.items() if not name.startswith("fc.")}
    content |= {"projection.0.weight": torch.zeros(4, 4), "module.queue": torch.zeros(3)}
    if wrapper:
        content = {"epoch": 3, wrapper: content, "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(4)}}}}
    path = write(tmp_path / "simclr.pth", content)
    require_loaded(build_backbone("resnet10t", 3, 5, pretrained=path, options=NARROW), state)


@pytest.mark.parametrize("leaves_out_modules_without_weights", [False, True])
@pytest.mark.parametrize("prefix", ["", "f.", "module.backbone."])
def test_children_by_number(tmp_path, classifier, prefix, leaves_out_modules_without_weights):
    """Self-supervised programs cut the classifier off with ``nn.Sequential(*children)``."""
    state = distinct(classifier)
    children = [
        name
        for name, child in classifier.named_children()
        if not leaves_out_modules_without_weights or child.state_dict()
    ]
    content = {}
    for name, value in state.items():
        head, _, rest = name.partition(".")
        if head != "fc":
            content[f"{prefix}{children.index(head)}.{rest}"] = value
    content["projector.0.weight"] = torch.zeros(3, 3)
    path = write(tmp_path / "simclr.pth", content)
    require_loaded(build_backbone("resnet10t", 3, 5, pretrained=path, options=NARROW), state)


def test_a_checkpoint_of_ours(tmp_path):
    arguments = {"backbone": "resnet10t", "backbone_options": NARROW, "neck_width": 8, "head_width": 8}
    model = RetinaNet(["cat"], **arguments)
    state = {f"task.{name}": value for name, value in distinct(model).items()}
    path = write(tmp_path / "last.ckpt", {"state_dict": state, "current_model_state": distinct(model)})
    backbone = RetinaNet(["cat", "dog"], **arguments, pretrained=path).backbone
    require_loaded(backbone, {name.removeprefix("task.backbone.model."): value for name, value in state.items()})


def test_counts_of_batches_may_be_missing(tmp_path, caplog, classifier):
    state = {name: value for name, value in distinct(classifier).items() if not name.endswith("num_batches_tracked")}
    with caplog.at_level(logging.INFO):
        backbone = build_backbone("resnet10t", 3, 5, pretrained=write(tmp_path / "a.pth", state), options=NARROW)
    require_loaded(backbone, state)
    assert {record.levelname for record in caplog.records} == {"INFO"}


@pytest.mark.parametrize(
    ("name", "others", "message"),
    [
        (
            "resnet50",
            "resnet18",
            r"only 2?\d% of the parameters of TimmBackbone are in it, so it is of another architecture: such as "
            r"model.layer1.0.conv1.weight of shape \(64, 64, 1, 1\) are missing, there is layer1.0.conv1.weight of "
            r"shape \(64, 64, 3, 3\)\.",
        ),
        ("resnet18", "efficientnet_lite0", "only 0% of the parameters"),
        ("spinenet-49s", "resnet18", "none of its tensors has a name that SpineNet knows"),
    ],
)
def test_weights_of_another_architecture(tmp_path, name, others, message):
    with torch.device("meta"):
        state = timm.create_model(others).state_dict()
    path = write(tmp_path / "others.pth", {key: torch.zeros(value.shape) for key, value in state.items()})
    with pytest.raises(CheckpointError, match=message):
        load_weights(meta_backbone(name), path)


def test_only_one_process_of_a_machine_reports(tmp_path, caplog, classifier, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with caplog.at_level(logging.INFO):
        build_backbone("resnet10t", 3, 5, pretrained=write(tmp_path / "a.pth", classifier.state_dict()), options=NARROW)
    assert caplog.text == ""
