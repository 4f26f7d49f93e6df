"""Losses, gradients and weights that are not finite: nothing is hurt or saved, and the order of batches stays."""

from itertools import pairwise

import pytest
import torch
from fake_task import CLASSES, LIGHTNING_WARNINGS, FakeData, FakeTask, make_trainer
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision

from lightning_st.errors import StageError
from lightning_st.modules import StudentModule, TeacherModule, WeightEMA
from lightning_st.stages.last_checkpoint import LastCheckpoint

pytestmark = LIGHTNING_WARNINGS


class BrokenLoss(FakeTask):
    """Has a loss that is not finite for image 25, the last of the third batch."""

    def losses(self, batch):
        losses, parts = super().losses(batch)
        return torch.where(batch["rows"] == 25, torch.inf, losses), parts


class BrokenGradient(FakeTask):
    """Has a gradient that is not finite from the third batch on, where the loss is."""

    def losses(self, batch):
        losses, parts = super().losses(batch)
        if batch["rows"].max() >= 25:
            losses = losses + torch.sqrt(self.linear.bias[0] * 0)  # the derivative of a square root at zero
        return losses, parts


def make_module(kind, task):
    torch.manual_seed(1)
    return kind(task, CLASSES, lr=0.1, warmup_steps=4)


def test_a_loss_that_is_not_finite_names_the_checkpoint_from_before(tmp_path):
    saving = ModelCheckpoint(tmp_path, "kept", every_n_train_steps=1)
    trainer = make_trainer(tmp_path, max_steps=5, callbacks=[saving])
    with pytest.raises(StageError, match=r"step 2 .*The weights of .*/kept\.ckpt are from before\."):
        trainer.fit(make_module(StudentModule, BrokenLoss), datamodule=FakeData())
    state = torch.load(tmp_path / "kept.ckpt", weights_only=True)
    assert state["global_step"] == 2
    assert all(value.isfinite().all() for value in state["state_dict"].values())


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    last = LastCheckpoint(tmp_path, every_steps=1)
    trainer = make_trainer(tmp_path, max_steps=5, callbacks=[last])
    with pytest.raises(StageError, match=r"After optimiser step 3 weights are not finite.*last\.ckpt is from before\."):
        trainer.fit(make_module(TeacherModule, BrokenGradient), datamodule=FakeData())
    assert torch.load(last.path, weights_only=True)["global_step"] == 2


class Seen(Callback):
    """Notes the rows of each batch, the state of the scaler and the weights after it."""

    def __init__(self):
        self.rows, self.scales, self.weights = [], [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.rows.append(batch["rows"].tolist())
        self.scales.append(trainer.precision_plugin.scaler.get_scale())
        self.weights.append(module.task.linear.weight.detach().clone())


def train_scaled(folder, resume=None):
    """Train in float16 with a scale so large that the first steps overflow, and are skipped; keep the state of each."""
    seen, kept = Seen(), ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, backoff_factor=1 / 16, growth_interval=1000)
    # By its name Lightning would take bfloat16 on a CPU.
    precision = MixedPrecision("16-mixed", "cpu", scaler)
    callbacks = [seen, kept, WeightEMA(0.9)]
    trainer = make_trainer(folder, max_steps=6, plugins=[precision], callbacks=callbacks)
    module = make_module(StudentModule, FakeTask)
    trainer.fit(module, datamodule=FakeData(), ckpt_path=resume, weights_only=True)
    return seen, module.state_dict()


# As the scaler skips the first step.
@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step..` before")
def test_steps_that_the_scaler_skips_keep_the_order_of_the_batches(tmp_path):
    whole, weights = train_scaled(tmp_path)
    scales = [2.0**20, *whole.scales]
    assert 1 <= sum(later < earlier for earlier, later in pairwise(scales)) < 5
    assert torch.equal(whole.weights[0], make_module(StudentModule, FakeTask).task.linear.weight)
    assert not torch.equal(whole.weights[-1], whole.weights[0])
    rest, resumed = train_scaled(tmp_path, resume=tmp_path / "step=1.ckpt")
    assert len({str(rows) for rows in whole.rows}) == 6
    assert whole.rows[1:] == rest.rows
    assert whole.scales[1:] == rest.scales
    assert weights.keys() == resumed.keys()
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
