"""`lightning_st export --checkpoint`: what is refused, and before what; what it writes is in tests/deploy."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

from lightning_st.cli import main
from lightning_st.deploy import export, onnx_file
from lightning_st.deploy.agreement import BoxAgreement


@pytest.fixture(autouse=True)
def _any_torch(monkeypatch):
    """Nothing is traced here, so an older PyTorch will do."""
    monkeypatch.setattr(onnx_file, "OLDEST_TORCH", (2, 0))


@pytest.fixture
def checkpoint(tiny_run) -> Path:
    return tiny_run[1] / "round_0" / "student" / "checkpoints" / "best.ckpt"


@pytest.fixture
def without_writing(monkeypatch):
    """Everything but the seconds of tracing: a file of ten bytes, which agrees or not."""

    def agree_on(agreement):
        monkeypatch.setattr(export, "write", lambda task, card, path: path.write_bytes(bytes(10)))
        monkeypatch.setattr(export, "compare", lambda task, card, path, images: agreement)

    return agree_on


def exported(checkpoint, output, *words):
    return main(["export", "--checkpoint", str(checkpoint), "--output", str(output), *words])


def test_what_cannot_be_exported_is_refused_in_one_sentence(checkpoint, tmp_path, capsys, monkeypatch):
    onnx = tmp_path / "a.onnx"
    for words, message in (
        ((checkpoint, tmp_path / "a.pth"), "Expected output to be a file named *.onnx or *.pt2"),
        ((checkpoint, tmp_path / "nowhere" / "a.onnx"), "Expected output to be in a folder that exists"),
        ((tmp_path / "no.ckpt", onnx), "no such checkpoint file"),
        ((checkpoint, onnx, "--images", str(tmp_path / "nothing")), "nothing"),
        ((checkpoint, onnx, "--image_size", "0"), "whole numbers of pixels"),
        ((checkpoint, onnx, "--image_sise", "64"), "Did you mean '--image_size'?"),
    ):
        assert exported(*words) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert main(["export", str(checkpoint), "--output", str(onnx)]) == 2
    assert "is a model: lightning_st export --checkpoint FILE" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert exported(checkpoint, onnx) == 2
    assert "ONNX needs onnxscript: pip install 'lightning_st[export]'." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_disagrees_is_not_kept(checkpoint, tmp_path, capsys, without_writing):
    onnx = tmp_path / "a.onnx"
    onnx.write_bytes(b"older")
    without_writing(BoxAgreement(count=5, boxes=0.2))
    assert exported(checkpoint, onnx) == 2
    assert "onnxruntime and the checkpoint disagree: 5 boxes within 0.2 px" in capsys.readouterr().err
    assert onnx.read_bytes() == b"older"
    without_writing(BoxAgreement())
    assert exported(checkpoint, onnx) == 0
    assert "give photographs to compare on, --images DIR" in capsys.readouterr().out
    assert onnx.read_bytes() == bytes(10)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_a_config_says_what_a_checkpoint_does_not(tiny_run, checkpoint, tmp_path, capsys, without_writing):
    content = torch.load(checkpoint, weights_only=True)
    content["lightning_st"]["task"]["complete"] = False
    torch.save(content, tmp_path / "old.ckpt")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny_run[0]))
    without_writing(BoxAgreement(count=5))
    assert exported(tmp_path / "old.ckpt", tmp_path / "a.onnx") == 2
    assert "--config FILE" in capsys.readouterr().err
    assert exported(tmp_path / "old.ckpt", tmp_path / "a.onnx", "--config", str(tmp_path / "recipe.yaml")) == 0
    assert "RetinaNet, 2 classes, images uint8 [batch, 3, 64, 64]" in capsys.readouterr().out
