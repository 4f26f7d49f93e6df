"""The newest state of a training: written so often that whatever ends the process costs little, and changes nothing."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from lightning_st.errors import CheckpointError, StageError
from lightning_st.modules import read_checkpoint
from lightning_st.stages.announce import announce

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
"""The newest state of a training, and the one before."""

_TRAINING = "epoch_loop.batch_progress"
_VALIDATION = "epoch_loop.val_loop.batch_progress"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: a kill while writing leaves the one before.

    Of the newest state the one before stays in any case: a disk may lose what it said that it had written.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Save ``checkpoint`` to ``path``."""
        path = Path(path)
        beside = path.with_name(f"{path.name}.new")
        super().save_checkpoint(checkpoint, beside, storage_options)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        if path.name == LAST and path.exists():
            keep_as(path, path.with_name(PREVIOUS))
        os.replace(beside, path)


def rest_before_step(checkpoint: dict[str, Any]) -> None:
    """Let a state that is taken when a step is about to begin be that after the step before.

    The batch that Lightning has fetched, and counts as ready, is fetched again by the training that resumes. A state
    that is taken elsewhere, as other callbacks do, stays as it is.
    """
    for counts in (checkpoint["loops"]["fit_loop"][_TRAINING][kind] for kind in ("total", "current")):
        if counts["started"] == counts["completed"]:
            counts["ready"] = counts["completed"]


def rest_before_validation(checkpoint: dict[str, Any]) -> None:
    """Let the training that resumes from a state begin with a validation, whose batches are all still to come.

    Lightning makes up for a validation that was in its midst.
    """
    begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    loop = {"total": begun, "current": dict.fromkeys(begun, 0), "is_last_batch": False}
    checkpoint["loops"]["fit_loop"][_VALIDATION] |= loop


def rest_after_validation(checkpoint: dict[str, Any]) -> None:
    """Let a state say that no validation is in its midst; one that was made up for leaves counts that say so."""
    counts = checkpoint["loops"]["fit_loop"][_VALIDATION]["total"]
    counts["ready"] = counts["started"] = counts["processed"] = counts["completed"]


def keep_as(path: Path, other: Path) -> None:
    """Let a file have a second name, whatever had that before; ``path`` is there at every moment."""
    beside = other.with_name(f"{other.name}.new")
    beside.unlink(missing_ok=True)
    try:
        os.link(path, beside)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, beside)
    os.replace(beside, other)


class LastCheckpoint(Checkpoint):
    """Keeps the newest state of a training in ``last.ckpt``.

    It is written between steps: on demand (``save``), before and after each validation, before and after the last step.
    So a validation that is cut costs no more than itself. The training that goes on makes up for it, since it may
    decide which checkpoint is the best.

    Args:
        folder: Where ``last.ckpt`` is kept.
        every_steps: Optimiser steps between two states where there is no validation; None where there is.
    """

    def __init__(self, folder: Path, every_steps: int | None = None) -> None:
        super().__init__()
        self.path = folder / LAST
        self._every_steps = every_steps
        self._saved_step = 0
        self._is_before_validation = False

    @property
    def last_model_path(self) -> str:
        """The file, as Lightning's own callback calls it; empty where it has not been written yet."""
        return str(self.path) if self.path.exists() else ""

    def save(self, trainer: Trainer) -> None:
        """Write the state between two steps, unless that is done."""
        if trainer.global_step != self._saved_step and not _is_last(trainer):
            self._write(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the state that a resumed training goes on from: it is on the disk."""
        self._saved_step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save at the end of an interval, and before the last step: the validation after that one may take long.

        Not at the end of the step before: its numbers would not be in the log yet, and never come there.
        """
        step = trainer.global_step
        is_due = step == trainer.max_steps - 1 or (self._every_steps is not None and step % self._every_steps == 0)
        if is_due and step > 0 and batch_idx % trainer.accumulate_grad_batches == 0:
            self.save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save before a validation; not before that of the last step, after which Lightning would not go on."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and not _is_last(trainer):
            self._is_before_validation = True
            self._write(trainer)
            self._is_before_validation = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the training."""
        self._write(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the state of Lightning's loops say where a training that resumes from it goes on."""
        rest_before_step(checkpoint)
        (rest_before_validation if self._is_before_validation else rest_after_validation)(checkpoint)

    def _write(self, trainer: Trainer) -> None:
        _require_finite(trainer.lightning_module, trainer.global_step, self.last_model_path)
        for logger in trainer.loggers:
            logger.save()  # else the numbers up to here would be lost with the process, and not come again
        trainer.save_checkpoint(self.path)
        self._saved_step = trainer.global_step


def _require_finite(module: LightningModule, step: int, saved: str) -> None:
    """Refuse to save weights that nothing can go on from: a gradient may overflow where the loss did not.

    Raises:
        StageError: If a weight is not finite.
    """
    if torch.stack([parameter.detach().isfinite().all() for parameter in module.parameters()]).all():
        return
    kept = f"{saved} is from before." if saved else "Nothing has been saved yet."
    raise StageError(
        f"After optimiser step {step} weights are not finite, though the loss was. Clip gradients "
        f"(trainer.gradient_clip_val=10), lower the learning rate, or train with trainer.precision=bf16-mixed. {kept}"
    )


def newest_state(folder: Path) -> Path | None:
    """Return the newest state in a folder of checkpoints that can be read; None where there is none yet.

    Raises:
        StageError: If there are some and none can be read.
    """
    problems = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            problems.append(str(error))
        else:
            if problems:
                announce(f"{problems[0]} The training goes on from {path.name}, the state before.")
            return path
    if problems:
        raise StageError(f"{' '.join(problems)} Nothing is left to go on from: begin this stage anew with --restart.")
    return None


def _is_last(trainer: Trainer) -> bool:
    return trainer.global_step == trainer.max_steps
