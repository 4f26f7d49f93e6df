"""Kinds of models besides the guide's: exported, run by onnxruntime or reloaded, and compared with eager PyTorch."""

import numpy as np
import pytest
import torch
from deploy_makers import SIZE, skip_without_exporter, write_checkpoint
from recipes import TINY_SEGMENTER

from lightning_st import Predictor
from lightning_st.deploy.agreement import compare_masks
from lightning_st.deploy.detector import DeployedDetector
from lightning_st.deploy.export import export_model, made_up_images
from lightning_st.deploy.onnx_file import require_exporter
from lightning_st.deploy.outputs import predictions_of
from lightning_st.deploy.suppression import suppress_with_torchvision
from lightning_st.errors import ConfigError
from lightning_st.models import RetinaNet, SemanticSegmenter
from lightning_st.stages.trained_model import TrainedModel

SMALL = {"head_width": 16, "head_depth": 1}


def exported(path, ending):
    skip_without_exporter()
    return export_model(TrainedModel.describe(path), path.with_suffix(ending))


def test_efficientnet_with_nas_fpn(tmp_path):
    """Also more candidates than are compared: the cut of the best 20 of a class is a branch of the graph."""
    backbone = {
        "backbone": "test_efficientnet",
        "backbone_options": {"pad_type": "same"},
    }  # padded as tf_efficientnet_b0
    neck = {"neck": "nas-fpn", "neck_options": {"repeats": 1}, "neck_width": 16}
    write_checkpoint(tmp_path / "a.ckpt", RetinaNet, **backbone, **neck, **SMALL, anchor_size=2.0, pre_nms_count=20)
    agreement = exported(tmp_path / "a.ckpt", ".onnx").agreement
    assert agreement.is_close, agreement
    assert agreement.count > 100
    assert agreement.unpaired == 0


@pytest.mark.slow
def test_spinenet(tmp_path):
    """Its logits spread less: what random weights make of rounding grows with depth, to 1e-4 of a score at 1.5."""
    kind = {"backbone": "spinenet-49s", "neck": "identity", "min_level": 4, "max_level": 4}  # ten of its blocks
    write_checkpoint(tmp_path / "a.ckpt", RetinaNet, SIZE, (0.5, -3.5), **kind, **SMALL, anchor_size=2.0)
    agreement = exported(tmp_path / "a.ckpt", ".onnx").agreement
    assert agreement.is_close, agreement
    assert agreement.count > 100
    assert agreement.unpaired <= 1


def test_segmenter(tmp_path):
    """At a size that is no multiple of its cells, and masks at the size of the images."""
    write_checkpoint(tmp_path / "a.ckpt", SemanticSegmenter, (62, 81), **TINY_SEGMENTER["init_args"])
    images = [np.random.default_rng(n).integers(0, 256, (40 + 30 * n, 90, 3), dtype=np.uint8) for n in range(3)]
    expected = Predictor(tmp_path / "a.ckpt")(images)
    assert [len(prediction["mask"].unique()) for prediction in expected] != [1, 1, 1]
    for ending in (".onnx", ".pt2"):
        agreement = exported(tmp_path / "a.ckpt", ending).agreement
        assert agreement.is_close, agreement
        assert agreement.count == 8 * 62 * 81
        restored = compare_masks(Predictor(tmp_path / f"a{ending}")(images), expected)
        assert restored.is_close, restored


@pytest.mark.parametrize("limits", [{}, {"pre_nms_count": 5}, {"max_detections": 3}, {"score_threshold": 0.999}])
def test_what_is_traced_is_what_predict_computes(tmp_path, limits):
    """Before any export: the same boxes in the same order, and padding after them."""
    kind = {"backbone": "resnet10t", "backbone_options": {"channels": [8, 8, 16, 16], "stem_width": 8}}
    task = write_checkpoint(tmp_path / "a.ckpt", RetinaNet, **kind, **SMALL, max_level=4, neck_width=8, **limits)
    images = made_up_images(3, SIZE)
    deployed = DeployedDetector(task, SIZE, suppress_with_torchvision)
    with torch.no_grad():
        outputs = deployed(images)
    for found, wanted in zip(predictions_of(outputs), task.predict(images), strict=True):
        assert all(torch.equal(found[key], wanted[key]) for key in ("boxes", "labels", "scores"))
    for row, count in enumerate(outputs["counts"].tolist()):
        assert outputs["boxes"][row, count:].abs().sum() == outputs["scores"][row, count:].sum() == 0
        assert (outputs["labels"][row, count:] == -1).all()


def test_a_torch_that_cannot_write_onnx_is_named(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.6.0+cu124")
    with pytest.raises(ConfigError, match=r"Writing ONNX needs torch 2\.14 or newer, got 2\.6\.0\+cu124"):
        require_exporter()
