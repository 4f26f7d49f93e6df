"""How far a stage is, in lines: for logs, where a bar that redraws itself becomes one line without end."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from lightning_st.stages.announce import announce

LINES = 20
"""How many lines the training of a stage makes, and its labelling."""

PATIENCE = 60.0
"""Seconds after which an evaluation, which is short as a rule, says how far it is."""


class ProgressLines(ProgressBar):
    """Says every twentieth of the way how far the work is, how long the rest will take, and the newest numbers."""

    def __init__(self, name: str) -> None:
        """Call the work ``name`` in every line."""
        super().__init__()
        self._name = name
        self._is_enabled = True
        self._work = _Clock(0)
        self._evaluation = _Clock(0)

    def disable(self) -> None:
        """Say nothing: Lightning asks that of all ranks but the first."""
        self._is_enabled = False

    def enable(self) -> None:
        """Speak again."""
        self._is_enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, at the step that a resumed training goes on from."""
        self._work = _Clock(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say how far the training is."""
        done, total = trainer.global_step, trainer.max_steps
        is_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if is_step and _is_milestone(done, total):
            self._say("step", done, total, self._work, trainer.progress_bar_metrics)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._work = _Clock(0)

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Say how far the labelling is."""
        done, total = batch[2] + 1, int(trainer.num_predict_batches[0])
        if _is_milestone(done, total):
            self._say("batch", done, total, self._work)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._evaluation = _Clock(0)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Say now and then how far a long validation is."""
        self._say_at_times("val", batch[2] + 1, int(trainer.num_val_batches[0]))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._evaluation = _Clock(0)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Say now and then how far a long test is."""
        self._say_at_times("test", batch[2] + 1, int(trainer.num_test_batches[0]))

    def _say_at_times(self, split: str, done: int, total: int) -> None:
        if self._evaluation.seconds_of_silence() >= PATIENCE:
            self._say(f"{split} batch", done, total, self._evaluation)

    def _say(self, unit: str, done: int, total: int, clock: "_Clock", numbers: dict[str, Any] | None = None) -> None:
        if self._is_enabled:
            shown = "".join(f", {name} {value:.3g}" for name, value in (numbers or {}).items() if name != "v_num")
            rest = duration(clock.seconds_left(done, total))
            announce(f"{self._name}: {unit} {done} of {total}, {rest} left{shown}")


class _Clock:
    """Since when the work goes on, and since when nothing was said of it."""

    def __init__(self, first: int) -> None:
        """Start where ``first`` units are done already."""
        self._first = first
        self._began = self._spoke = time.monotonic()

    def seconds_left(self, done: int, total: int) -> float:
        """Return how long the rest will take, and count as having spoken."""
        self._spoke = time.monotonic()
        return (self._spoke - self._began) / max(1, done - self._first) * (total - done)

    def seconds_of_silence(self) -> float:
        """Return the time since anything was said."""
        return time.monotonic() - self._spoke


def _is_milestone(done: int, total: int) -> bool:
    return done == total or done % max(1, total // LINES) == 0


def duration(seconds: float) -> str:
    """Return a length of time as a person reads it.

    Example:
        >>> [duration(seconds) for seconds in (9.6, 119, 3725)]
        ['10 s', '1 min 59 s', '1 h 2 min']
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
