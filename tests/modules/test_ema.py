"""The moving average of the weights: what is averaged, what is evaluated, what a checkpoint holds."""

import pytest
import torch
from fake_task import CLASSES, LIGHTNING_WARNINGS, FakeData, FakeTask, make_trainer
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint

from lightning_st.errors import ConfigError
from lightning_st.modules import StudentModule, TeacherModule, WeightEMA, read_checkpoint

pytestmark = LIGHTNING_WARNINGS


def norm_task(classes):
    return FakeTask(classes, norm=True)


def make_module(kind=StudentModule, task=norm_task):
    torch.manual_seed(0)
    return kind(task, CLASSES, lr=0.1, warmup_steps=0)


class States(Callback):
    """Notes the weights after every optimiser step, and those that are evaluated."""

    def __init__(self):
        self.steps, self.evaluated = [], []

    def on_train_batch_end(self, trainer, module, *args):
        self.steps.append({name: value.clone() for name, value in module.state_dict().items()})

    def on_validation_batch_end(self, trainer, module, *args):
        self.evaluated.append({name: value.clone() for name, value in module.state_dict().items()})


def expected_average(steps, decay, name):
    """The average by its definition: the first value, then a weighted mean of old and new."""
    average = steps[0][name].double()
    for count, step in enumerate(steps[1:], 1):
        share = min(decay, (1 + count) / (10 + count))
        average = share * average + (1 - share) * step[name].double()
    return average.float()


@pytest.fixture
def trained(tmp_path):
    """A finished training of 12 steps, the states on the way, and what was saved at its last step."""
    states, saved = States(), tmp_path / "last.ckpt"

    class SaveLast(Checkpoint):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 12:
                trainer.save_checkpoint(saved, weights_only=False)

    trainer = make_trainer(tmp_path, max_steps=12, callbacks=[WeightEMA(0.4), states, SaveLast()], val_check_interval=6,
                           check_val_every_n_epoch=None)  # fmt: skip
    module = make_module()
    trainer.fit(module, datamodule=FakeData(epoch_batches=12))
    return trainer, module, states, saved


AVERAGED = [
    "task.conv.weight",
    "task.linear.bias",
    "task.norm.weight",
    "task.norm.running_mean",
    "task.norm.running_var",
]
COPIED = ["task.norm.num_batches_tracked", "balance.human_average", "balance.pseudo_average", "balance.updates"]


def test_weights_and_batch_statistics_are_averaged_and_all_else_copied(trained):
    _, module, states, _ = trained
    final = module.state_dict()
    assert final["task.norm.num_batches_tracked"] == final["balance.updates"] == 12
    for name in AVERAGED:
        torch.testing.assert_close(final[name], expected_average(states.steps, 0.4, name))
        assert not torch.equal(final[name], states.steps[-1][name])
    for name in COPIED:
        assert torch.equal(final[name], states.steps[-1][name])


def test_a_checkpoint_holds_both_and_says_which_is_which(trained):
    _, module, states, saved = trained
    checkpoint = read_checkpoint(saved)
    assert checkpoint["lightning_st"]["weights"] == "ema"
    assert module.weights_kind == "ema"
    for name in AVERAGED + COPIED:
        assert torch.equal(checkpoint["state_dict"][name], module.state_dict()[name])
        assert torch.equal(checkpoint["current_model_state"][name], states.steps[-1][name])


def test_the_average_is_what_is_evaluated(trained):
    _, _, states, _ = trained
    for number, step in ((0, 6), (-1, 12)):
        expected = expected_average(states.steps[:step], 0.4, "task.conv.weight")
        torch.testing.assert_close(states.evaluated[number]["task.conv.weight"], expected)


@pytest.mark.parametrize("run", ["validate", "test"])
def test_after_training_the_same_trainer_evaluates_the_average_of_a_checkpoint(trained, run):
    trainer, module, states, saved = trained
    final = module.state_dict()["task.conv.weight"].clone()
    seen = []
    setattr(states, f"on_{run if run == 'test' else 'validation'}_batch_end",
            lambda trainer, module, *args: seen.append(module.task.conv.weight.detach().clone()))  # fmt: skip
    with torch.no_grad():
        module.task.conv.weight.zero_()
    getattr(trainer, run)(module, datamodule=FakeData(), ckpt_path=saved, verbose=False, weights_only=True)
    assert all(torch.equal(weight, final) for weight in seen)
    assert seen


class FailingTask(FakeTask):
    def predict(self, images, flip=False):
        raise RuntimeError("the disk is full")


def test_an_error_in_a_validation_leaves_the_weights_in_their_places(tmp_path):
    states = States()

    class SaveOnError(Checkpoint):
        def on_exception(self, trainer, *args):
            trainer.save_checkpoint(tmp_path / "error.ckpt", weights_only=False)

    trainer = make_trainer(tmp_path, max_steps=12, callbacks=[WeightEMA(0.4), states, SaveOnError()])
    with pytest.raises(RuntimeError, match="disk is full"):
        trainer.fit(make_module(task=FailingTask), datamodule=FakeData(epoch_batches=6))
    checkpoint = read_checkpoint(tmp_path / "error.ckpt")
    name = "task.conv.weight"
    assert torch.equal(checkpoint["current_model_state"][name], states.steps[-1][name])
    torch.testing.assert_close(checkpoint["state_dict"][name], expected_average(states.steps, 0.4, name))


def test_without_the_callback_a_checkpoint_holds_the_weights_of_the_last_step(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=2)
    trainer.fit(make_module(TeacherModule), datamodule=FakeData())
    trainer.save_checkpoint(tmp_path / "raw.ckpt")
    checkpoint = read_checkpoint(tmp_path / "raw.ckpt")
    assert checkpoint["lightning_st"]["weights"] == "raw"
    assert "current_model_state" not in checkpoint


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ConfigError, match="decay"):
        WeightEMA(decay)


def test_the_decay_grows_only_where_asked():
    assert WeightEMA(0.99).decay_after(1) == pytest.approx(2 / 11)
    assert WeightEMA(0.99, warmup=False).decay_after(1) == 0.99
