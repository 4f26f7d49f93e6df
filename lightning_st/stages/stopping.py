"""Signals that ask a stage to stop: what it has done by then is kept, and the same command goes on from there.

Schedulers send SIGTERM before they kill, SLURM what ``sbatch --signal=USR1@120`` asks for, a person Ctrl-C. A training
ends between two optimiser steps, with ``last.ckpt`` written; labelling and evaluation end after a batch, and lose no
shard that is finished.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, tensor

from lightning_st.errors import StoppedBySignal
from lightning_st.stages.announce import announce

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""What asks to stop: schedulers, SLURM before a time limit, a person."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let a signal raise where it arrives: for work that waits for processes of its own, which have to end with it.

    Raises:
        StoppedBySignal: When one of ``SIGNALS`` but Ctrl-C arrives, which Python raises by itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedBySignal(number)

    before = {each: signal.signal(each, stop) for each in SIGNALS if each != signal.SIGINT}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class StopAtSignal(Callback):
    """Ends an evaluation, or a labelling, after the batch in which a signal arrives; each process ends by itself.

    Attributes:
        advice: What the user may do then.
    """

    advice = "the same command goes on from here"

    def __init__(self) -> None:
        """Have received nothing yet."""
        super().__init__()
        self._received: int | None = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen."""
        self._listen(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen."""
        self._listen(trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen."""
        self._listen(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Stop: an evaluation is made anew."""
        self._stop(trainer, self._received)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Stop: an evaluation is made anew."""
        self._stop(trainer, self._received)

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Stop: of the shards those that are finished stay."""
        self._stop(trainer, self._received)

    def _stop(self, trainer: Trainer, number: int | None) -> None:
        """Stop if there is a number of a signal."""
        if number is None:
            return
        where = f" after step {trainer.global_step}" if trainer.state.fn == TrainerFn.FITTING else ""
        announce(f"Stopped by {signal.Signals(number).name}{where}; {self.advice}.")
        if number == signal.SIGUSR1:
            requeue()
        raise StoppedBySignal(number)

    def _listen(self, trainer: Trainer) -> None:
        """Take the place of Lightning's handlers, which its Trainer has just installed and takes back at its end.

        Its handler of SIGTERM exchanges tensors wherever the signal finds it, which may never end, and its loop of
        predictions goes on; the one for SLURM saves in the middle of a step.
        """
        if threading.current_thread() is threading.main_thread():
            for each in SIGNALS:
                signal.signal(each, lambda number, frame: self._receive(trainer, number))

    def _receive(self, trainer: Trainer, number: int) -> None:
        self._received = number
        if number == signal.SIGINT:  # a terminal sends it to all processes, so it need not be passed on
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _tell_at_once("Stopping after this step; Ctrl-C again stops at once.")
            return
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(number)  # to the processes that this one has started


class StopTraining(StopAtSignal, Checkpoint):
    """Ends a training between two optimiser steps, and saves its state.

    All processes stop before the same step, whichever of them got the signal: they exchange a number a step, on the
    host and while the step is computed, so the one in which a signal arrives may have one more after it. In the middle
    of a validation each ends by itself: the state before it is saved.

    It is a ``Checkpoint`` so that Lightning calls it last, when the others have seen the step.
    """

    def __init__(self, save: Callable[[Trainer], None]) -> None:
        """Let ``save`` write the state of the training."""
        super().__init__()
        self._save = save
        self._agreed: int | None = None
        """The signal that stops all processes before the next step."""
        self._vote: _Vote | None = None

    @property
    def is_stopping(self) -> bool:
        """Whether no further step will be taken."""
        return self._agreed is not None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen, and open the channel on which the processes agree."""
        self._listen(trainer)
        self._vote = _Vote() if trainer.world_size > 1 else None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop before the first batch of an optimiser step; else ask the others while this one is computed."""
        if self.is_stopping and batch_idx % trainer.accumulate_grad_batches == 0:
            self._save(trainer)
            self._stop(trainer, self._agreed)
        if self._vote is not None:
            self._vote.begin(self._received)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Learn whether any process was asked to stop."""
        self._agreed = self._received if self._vote is None else self._vote.end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before a validation."""
        if self.is_stopping:
            self._save(trainer)
        self._stop(trainer, self._agreed)
        super().on_validation_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the last step."""
        self._stop(trainer, self._agreed)


class _Vote:
    """Tells every process of a training the signal that any of them received, without waiting for a device."""

    def __init__(self) -> None:
        self._group: Any = dist.new_group(backend="gloo")
        self._number: Tensor | None = None
        self._work: Any = None

    def begin(self, received: int | None) -> None:
        """Say what this process received."""
        self._number = tensor([received or 0])
        self._work = dist.all_reduce(self._number, dist.ReduceOp.MAX, self._group, async_op=True)

    def end(self) -> int | None:
        """Return what any process received, None for nothing."""
        assert self._number is not None
        self._work.wait()
        return int(self._number) or None


@rank_zero_only
def requeue() -> None:
    """Ask SLURM to start this job again, in which nothing is lost; outside of a SLURM job do nothing."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        announce(f"scontrol requeue {job}: {error}. Submit the job again: it goes on from here.")


@rank_zero_only
def _tell_at_once(text: str) -> None:
    """Write a line to standard error from within a signal handler, where a logger may be in the middle of another."""
    os.write(2, f"\n{text}\n".encode())
