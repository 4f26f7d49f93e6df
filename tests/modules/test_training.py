"""Teacher and student train: on any mix of images and boxes, repeatably, and exactly on after an interruption."""

from functools import partial

import pytest
import torch
from fake_task import CLASSES, LIGHTNING_WARNINGS, FakeData, FakeTask, make_batch, make_trainer
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint

from lightning_st.errors import CheckpointError, ConfigError, StageError
from lightning_st.modules import StudentModule, TeacherModule, WeightEMA

pytestmark = LIGHTNING_WARNINGS

NOISY = partial(FakeTask, dropout=0.3, norm=True)


def make_module(kind, task=FakeTask, seed=1, **options):
    torch.manual_seed(seed)
    return kind(task, CLASSES, **{"lr": 0.1, "warmup_steps": 4, **options})


class Values(Callback):
    """Notes what each step logs."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, *args):
        self.steps.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def train(folder, module, steps=5, data=None, **options):
    values = Values()
    trainer = make_trainer(folder, max_steps=steps, **{**options, "callbacks": [values, *options.get("callbacks", [])]})
    trainer.fit(module, datamodule=data or FakeData())
    return values.steps


def assert_equal_states(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_the_teacher_learns_from_human_labels_alone(tmp_path):
    # Batches of one size: convolutions of other sizes may round otherwise.
    first, second = make_module(TeacherModule), make_module(TeacherModule)
    logged = train(tmp_path, first, 10)
    train(tmp_path, second, 10, FakeData(pseudo_seed=10**6))
    assert_equal_states(first.state_dict(), second.state_dict())
    assert logged[-1]["train/loss"] < 0.9 * logged[0]["train/loss"]
    assert logged[0].keys() == {"train/loss", "train/class", "train/count", "train/lr"}


def test_a_student_without_weight_on_pseudo_labels_is_a_continued_teacher(tmp_path):
    teacher = make_module(TeacherModule)
    trainer = make_trainer(tmp_path, max_steps=6)
    trainer.fit(teacher, datamodule=FakeData())
    trainer.save_checkpoint(tmp_path / "teacher.ckpt")
    student = make_module(StudentModule, seed=2, alpha=0.0, init=str(tmp_path / "teacher.ckpt"))
    train(tmp_path, student, 8)
    train(tmp_path, teacher, 8)
    assert_equal_states(student.task.state_dict(), teacher.task.state_dict())


def test_the_students_step_is_the_joint_loss_of_the_paper(tmp_path):
    student = make_module(StudentModule, alpha=0.5, average_warmup=False, momentum=0.0)
    expected = FakeTask(CLASSES)
    expected.load_state_dict(student.task.state_dict())
    logged = train(tmp_path, student, 3)
    human_average = pseudo_average = None
    for step in range(3):
        batch = make_batch(step)
        losses, _ = expected.losses(batch)
        human, pseudo = losses[~batch["pseudo"]].mean(), losses[batch["pseudo"]].mean()
        if human_average is None:
            human_average, pseudo_average = human.item(), pseudo.item()
        else:
            human_average = 0.9997 * human_average + 0.0003 * human.item()
            pseudo_average = 0.9997 * pseudo_average + 0.0003 * pseudo.item()
        loss = (human + 0.5 * human_average / pseudo_average * pseudo) / 1.5
        assert logged[step]["train/loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert logged[step]["train/human_loss"] == pytest.approx(human.item(), rel=1e-5)
        assert logged[step]["train/pseudo_loss"] == pytest.approx(pseudo.item(), rel=1e-5)
        assert logged[step]["train/loss_ratio"] == pytest.approx(human_average / pseudo_average, rel=1e-5)
        gradients = torch.autograd.grad(loss, list(expected.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(expected.parameters(), gradients, strict=True):
                decay = 1e-4 * parameter if parameter.ndim > 1 else 0.0
                parameter -= student.make_schedule(3).learning_rate(step) * (gradient + decay)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(student.task.state_dict()[name], value)


@pytest.mark.parametrize(
    "data",
    [
        {"boxes": False},
        {"pseudo": ()},
        {"pseudo": range(6)},
        {"pseudo": range(6), "boxes": False},
        {"max_boxes": 0, "boxes": False},
    ],
    ids=["no boxes", "no pseudo images", "pseudo images only", "pseudo images only, no boxes", "no columns"],
)
@pytest.mark.parametrize("kind", [TeacherModule, StudentModule])
def test_batches_that_lack_something_train(tmp_path, kind, data):
    module = make_module(kind, NOISY)
    train(tmp_path, module, 4, FakeData(**data))
    assert all(value.isfinite().all() for value in module.state_dict().values())


def test_a_batch_without_pseudo_images_has_the_loss_on_human_labels(tmp_path):
    logged = train(
        tmp_path, make_module(StudentModule), 2, FakeData(shares=lambda p: [range(6) if p == 0 else range(4)])
    )
    assert logged[1]["train/loss"] == logged[1]["train/human_loss"]
    assert logged[1]["train/loss_ratio"] == logged[0]["train/loss_ratio"]


class BrokenTask(FakeTask):
    """Has a loss that is not finite for image 25, the last of the third batch."""

    def losses(self, batch):
        losses, parts = super().losses(batch)
        return torch.where(batch["rows"] == 25, torch.inf, losses), parts


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_hurt(tmp_path):
    module = make_module(StudentModule, BrokenTask)
    sound = make_module(StudentModule)
    with pytest.raises(StageError, match=r"step 2 .*data\.pseudo_labels rows \[25\] \(1 of 6 images\)"):
        train(tmp_path, module, 5)
    train(tmp_path, sound, 5, FakeData(), callbacks=[StopAfter(2)])
    assert_equal_states(module.task.state_dict(), sound.task.state_dict())


class StopAfter(Callback):
    """Ends the training after some optimiser steps, with the schedule of a longer one."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop = trainer.global_step >= self.steps


def test_random_numbers_follow_from_seed_and_step(tmp_path):
    first, again, other = (make_module(TeacherModule, NOISY) for _ in range(3))
    train(tmp_path, first)
    torch.rand(17)
    train(tmp_path, again)
    assert_equal_states(first.state_dict(), again.state_dict())
    trainer = make_trainer(tmp_path, max_steps=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PL_GLOBAL_SEED", "4")
        trainer.fit(other, datamodule=FakeData())
    assert not torch.equal(first.task.conv.weight, other.task.conv.weight)


class DrawingTask(FakeTask):
    """Draws a random number in every step."""

    def losses(self, batch):
        self.draws = [*getattr(self, "draws", []), torch.rand(()).item()]
        return super().losses(batch)


def test_every_step_and_every_rank_draws_anew(tmp_path):
    first, other = make_module(TeacherModule, DrawingTask), make_module(TeacherModule, DrawingTask)
    train(tmp_path, first, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TeacherModule, "global_rank", 1)
        train(tmp_path, other, 6)
    assert len({*first.task.draws, *other.task.draws}) == 12


class SaveAt(Checkpoint):
    """Saves a checkpoint after one batch, as a run that is killed afterwards leaves it."""

    def __init__(self, batch, path):
        self.batch, self.path = batch, path

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.fit_loop.epoch_loop.total_batch_idx + 1 == self.batch:
            trainer.save_checkpoint(self.path, weights_only=False)


@pytest.mark.parametrize(
    ("optimizer", "accumulate", "ema"), [("sgd", 1, True), ("adamw", 2, True), ("sgd", 2, False), ("adamw", 1, False)]
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, optimizer, accumulate, ema):
    def run(seed, **fit):
        callbacks = [SaveAt(12 * accumulate, tmp_path / "12.ckpt")] if not fit else []
        values, module = Values(), make_module(StudentModule, NOISY, seed, optimizer=optimizer, lr=0.01)
        callbacks += [values, *([WeightEMA(0.9)] if ema else [])]
        trainer = make_trainer(tmp_path, max_steps=20, callbacks=callbacks, accumulate_grad_batches=accumulate,
                               val_check_interval=4, check_val_every_n_epoch=None)  # fmt: skip
        # Epochs of 16 batches: step 12 lies in the middle of one.
        trainer.fit(module, datamodule=FakeData(epoch_batches=16), **fit)
        return module.state_dict(), values.steps

    straight, logged = run(seed=1)
    resumed, logged_again = run(seed=2, ckpt_path=tmp_path / "12.ckpt", weights_only=True)
    assert_equal_states(straight, resumed)
    assert len(logged_again) == 8 * accumulate
    assert [step["train/loss"] for step in logged_again] == [step["train/loss"] for step in logged[12 * accumulate :]]
    assert straight["balance.updates"] == 20 * accumulate


def test_resuming_needs_no_file_to_start_from(tmp_path):
    teacher = make_module(TeacherModule)
    trainer = make_trainer(tmp_path, max_steps=1)
    trainer.fit(teacher, datamodule=FakeData())
    trainer.save_checkpoint(tmp_path / "teacher.ckpt")
    student = make_module(StudentModule, init=str(tmp_path / "teacher.ckpt"))
    train(tmp_path, student, 6, callbacks=[SaveAt(3, tmp_path / "3.ckpt")])
    (tmp_path / "teacher.ckpt").unlink()
    again = make_module(StudentModule, init=str(tmp_path / "teacher.ckpt"))
    make_trainer(tmp_path, max_steps=6).fit(again, datamodule=FakeData(), ckpt_path=tmp_path / "3.ckpt")
    assert_equal_states(student.state_dict(), again.state_dict())
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        train(tmp_path, make_module(StudentModule, init=str(tmp_path / "teacher.ckpt")), 1)


def test_gradients_are_clipped_where_the_trainer_is_told_to(tmp_path):
    module = make_module(TeacherModule, lr=1.0, warmup_steps=0, schedule="constant", momentum=0.0, weight_decay=0.0)
    before = torch.cat([p.detach().clone().flatten() for p in module.parameters()])
    train(tmp_path, module, 1, gradient_clip_val=1e-3)
    after = torch.cat([p.detach().flatten() for p in module.parameters()])
    assert (after - before).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (lambda classes: torch.nn.Linear(1, 1), "got a Linear without losses, predict"),
        (lambda c: object(), "an? object"),
    ],
)
def test_a_task_that_is_none_is_refused(task, message):
    with pytest.raises(ConfigError, match=message):
        TeacherModule(task, CLASSES)


def test_no_classes_are_refused():
    with pytest.raises(ConfigError, match="no classes"):
        TeacherModule(FakeTask, [])
