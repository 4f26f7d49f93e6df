"""Compiled models, channels last, the fused optimiser: the same training, the same names in its checkpoints."""

import copy

import pytest
import torch
from fake_task import CLASSES, LIGHTNING_WARNINGS, FakeData, FakeTask, make_trainer
from lightning.pytorch.callbacks import Checkpoint
from torch._dynamo.utils import counters

from lightning_st.models import RetinaNet, SemanticSegmenter
from lightning_st.modules import StudentModule, TeacherModule, WeightEMA, load_weights, read_checkpoint, speed
from lightning_st.types import BoxKind

pytestmark = [
    *LIGHTNING_WARNINGS,
    # torch's own code, when it compiles.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

SMALL = {
    "backbone": "resnet10t",
    "backbone_options": {"channels": [8, 8, 16, 16], "stem_width": 8},
    "max_level": 4,
    "neck_width": 8,
    "head_width": 8,
    "head_depth": 1,
}


@pytest.fixture(autouse=True)
def in_seconds(monkeypatch):
    """Graphs are made and run as they are traced, forward and backward: no C++ is compiled."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda target: real(target, backend="aot_eager"))
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda part: setattr(part, "_compiled_call_impl", real(part._call_impl, backend="aot_eager")),
    )
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def norm_task(classes):
    return FakeTask(classes, norm=True)


def make_module(kind=StudentModule, task=norm_task, **options):
    torch.manual_seed(0)
    return kind(task, CLASSES, **{"lr": 0.1, "warmup_steps": 0, **options})


class SaveAt(Checkpoint):
    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path, weights_only=False)


def fit(module, folder, steps=8, resume=None, save_at=4):
    callbacks = [WeightEMA(0.4), SaveAt(save_at, folder / f"{save_at}.ckpt")]
    trainer = make_trainer(
        folder, max_steps=steps, callbacks=callbacks, val_check_interval=4, check_val_every_n_epoch=None
    )
    trainer.fit(module, datamodule=FakeData(epoch_batches=8), ckpt_path=resume, weights_only=True)
    return module


def make_batch(image_count=2, rows=32, size=64, classes=3):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(image_count, rows, 2, generator=generator) * size / 2
    is_object = torch.arange(rows) < torch.tensor([[3], [0]])
    labels = torch.randint(classes, (image_count, rows), generator=generator)
    return {
        "images": torch.randint(256, (image_count, 3, size, size), dtype=torch.uint8, generator=generator),
        "boxes": torch.cat([corners, corners + size / 3], dim=2) * is_object[..., None],
        "labels": labels.masked_fill(~is_object, -1),
        "kinds": (is_object * int(BoxKind.OBJECT)).to(torch.uint8),
        "pseudo": torch.tensor([False, True]),
        "rows": torch.arange(image_count),
        "positions": torch.arange(image_count),
        "masks": torch.randint(classes, (image_count, size, size), dtype=torch.uint8, generator=generator),
        "bad_images": [],
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"gradient_checkpointing": True}, {"batch_norm": "frozen", "frozen_stages": 1}]
)
@pytest.mark.parametrize("kind", [RetinaNet, SemanticSegmenter])
def test_a_training_step_is_one_graph_and_the_same_as_without(kind, options):
    torch.manual_seed(0)
    neck = {"neck": "fpn"}  # a segmenter's own wants five levels
    plain = kind(["a", "b", "c"], **SMALL, **neck, **options).train()
    compiled = copy.deepcopy(plain)
    speed.prepare(compiled, compiled=True, channels_last=False)
    losses = speed.compiled_losses(compiled)
    batch = make_batch()
    expected, expected_parts = plain.losses(batch)
    found, parts = losses(batch)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(parts, expected_parts)
    expected.sum().backward()
    found.sum().backward()
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)
    # With gradient_checkpointing the graph is cut where a stage begins, which costs speed alone.
    assert options.get("gradient_checkpointing") or not counters["graph_break"]
    assert options.get("gradient_checkpointing") or counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
def test_batches_that_differ_in_what_is_no_tensor_share_a_graph_and_more_boxes_make_one_more_at_most():
    model = RetinaNet(["a", "b", "c"], **SMALL).train()
    losses = speed.compiled_losses(model)
    for bad in ([], ["a.jpg: cut short"], ["b.jpg: empty", "c.jpg: empty"]):
        losses({**make_batch(), "bad_images": bad})
    assert counters["stats"]["unique_graphs"] == 1
    for rows in (64, 96, 128):
        losses(make_batch(rows=rows))
    assert counters["stats"]["unique_graphs"] <= 2
    assert not counters["graph_break"]


@pytest.mark.slow
def test_predictions_of_a_compiled_model_are_those_of_the_model():
    torch.manual_seed(0)
    plain = RetinaNet(["a", "b", "c"], **SMALL, score_threshold=0.005).eval()
    compiled = copy.deepcopy(plain)
    speed.prepare(compiled, compiled=True, channels_last=False)
    for image_count in (2, 1):
        images = make_batch()["images"][:image_count]
        for one, other in zip(plain.predict(images, flip=True), compiled.predict(images, flip=True), strict=True):
            assert len(one["boxes"]) > 0
            torch.testing.assert_close(one, other)


@pytest.mark.slow
def test_checkpoints_averages_and_resuming_are_those_of_a_module_that_is_not_compiled(tmp_path):
    plain = fit(make_module(), tmp_path / "plain")
    compiled = fit(make_module(compile_task=True), tmp_path / "compiled")
    assert compiled.evaluation["AP"] == plain.evaluation["AP"]
    one, other = (read_checkpoint(tmp_path / name / "4.ckpt") for name in ("plain", "compiled"))
    for state in ("state_dict", "current_model_state"):
        torch.testing.assert_close(one[state], other[state])
    # Either goes on with the other's checkpoint, and ends where it would have ended.
    for name, options in (("plain", {"compile_task": True}), ("compiled", {}), ("compiled", {"compile_task": True})):
        module = fit(make_module(**options), tmp_path / "again", resume=tmp_path / name / "4.ckpt", save_at=8)
        torch.testing.assert_close(module.state_dict(), plain.state_dict())
    bare = norm_task(CLASSES)
    load_weights(bare, tmp_path / "compiled" / "4.ckpt")


def test_channels_last_lays_kernels_out_anew_and_changes_no_value():
    one, other = make_module(), make_module(channels_last=True)
    assert other.task.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert not one.task.conv.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_fused_optimiser_takes_the_same_steps(tmp_path, optimizer):
    # Without batch normalisation: the bias before it gets rounding for a gradient, which Adam blows up.
    one = fit(make_module(TeacherModule, FakeTask, optimizer=optimizer), tmp_path / "one")
    options = {"optimizer": optimizer, "fused_optimizer": True, "channels_last": True}
    other = fit(make_module(TeacherModule, FakeTask, **options), tmp_path / "two")
    torch.testing.assert_close(one.state_dict(), other.state_dict())
    groups = other.trainer.optimizers[0].param_groups
    assert all(group["fused"] for group in groups)
