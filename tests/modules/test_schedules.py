"""Learning rates against the numbers of paper.md, section 8."""

import math
from functools import partial

import pytest
from fake_task import CLASSES, LIGHTNING_WARNINGS, FakeData, FakeTask, make_trainer
from lightning.pytorch import Callback

from lightning_st.errors import ConfigError
from lightning_st.modules import Schedule, TeacherModule

pytestmark = LIGHTNING_WARNINGS

SPINENET_49 = Schedule(0.28, 231_500, "step", 2000, 0.0067, (0.94, 0.98), 0.1)
PASCAL_B7 = Schedule(0.08, 20_000, "cosine", 500, 0.001)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0067),
        (1000, 0.14335),
        (2000, 0.28),
        (217_609, 0.28),
        (217_610, 0.028),
        (226_869, 0.028),
        (226_870, 0.0028),
    ],
)
def test_spinenet_49(step, expected):
    assert SPINENET_49.learning_rate(step) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.001), (500, 0.08), (10_250, 0.04), (20_000, 0.0), (30_000, 0.0)])
def test_pascal_b7(step, expected):
    assert PASCAL_B7.learning_rate(step) == pytest.approx(expected, abs=1e-12)


def test_constant_after_the_warmup_and_without_an_end():
    schedule = Schedule(0.5, math.inf, "constant", warmup_steps=2, warmup_lr=0.1)
    assert [schedule.learning_rate(step) for step in (0, 1, 2, 10**9)] == pytest.approx([0.1, 0.3, 0.5, 0.5])


@pytest.mark.parametrize("name", ["cosine", "step"])
def test_a_schedule_without_an_end_is_refused(name):
    with pytest.raises(ConfigError, match=r"trainer\.max_steps"):
        Schedule(0.1, math.inf, name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": "cosin"}, "Unknown schedule 'cosin'.* Did you mean 'cosine'"),
        ({"optimizer": "adam"}, "Unknown optimizer 'adam'.* Did you mean 'adamw'"),
        ({"lr": 0.0}, "lr to be above 0"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"warmup_lr": -0.1}, "warmup_lr"),
        ({"milestones": [15_000, 20_000]}, "fractions of the run"),
    ],
)
def test_wrong_values_are_refused_when_the_module_is_made(arguments, message):
    with pytest.raises(ConfigError, match=message):
        TeacherModule(FakeTask, CLASSES, **arguments)


class LearningRates(Callback):
    """Notes the rate that each optimiser step uses."""

    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append([group["lr"] for group in optimizer.param_groups])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_follows_the_schedule_step_by_step(tmp_path, accumulate):
    seen = LearningRates()
    module = TeacherModule(FakeTask, CLASSES, lr=0.1, warmup_steps=3, warmup_lr=0.01)
    trainer = make_trainer(tmp_path, max_steps=8, callbacks=[seen], accumulate_grad_batches=accumulate)
    trainer.fit(module, datamodule=FakeData(epoch_batches=30))
    schedule = Schedule(0.1, 8, "cosine", 3, 0.01)
    assert seen.rates == [[schedule.learning_rate(step)] * 2 for step in range(8)]


def test_the_total_follows_from_epochs_where_steps_are_not_given(tmp_path):
    seen = LearningRates()
    trainer = make_trainer(tmp_path, max_epochs=2, callbacks=[seen])
    trainer.fit(TeacherModule(FakeTask, CLASSES, lr=0.1, warmup_steps=0), datamodule=FakeData(epoch_batches=4))
    schedule = Schedule(0.1, 8)
    assert [rates[0] for rates in seen.rates] == [schedule.learning_rate(step) for step in range(8)]


def test_defaults_of_the_two_optimizers():
    sgd = TeacherModule(FakeTask, CLASSES).make_schedule(10_000)
    assert (sgd.peak, sgd.warmup_lr, sgd.warmup_steps) == (0.08, 0.0067, 500)
    adamw = TeacherModule(FakeTask, CLASSES, optimizer="adamw").make_schedule(10_000)
    assert (adamw.peak, adamw.warmup_lr) == (1e-3, 1e-4)


def test_a_short_run_is_not_all_warmup():
    assert TeacherModule(partial(FakeTask), CLASSES, warmup_steps=500).make_schedule(100).warmup_steps == 50
    assert TeacherModule(partial(FakeTask), CLASSES, warmup_steps=500).make_schedule(1).warmup_steps == 0
