"""Where a run stands, and which part of it is this process: what the batches ask of the Trainer."""

from typing import Any

from lightning.pytorch import Trainer

from lightning_st.errors import ConfigError


def place_of(trainer: Trainer | None) -> tuple[int, int]:
    """Return the rank of this process and the number of processes; (0, 1) without a Trainer."""
    return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def next_batch(trainer: Trainer | None) -> int:
    """Return the number of the next global batch of the run; 0 without a Trainer.

    Of Lightning's counters "processed" is right at every checkpoint: "ready" already counts a batch that an
    exception cut short, "completed" not yet the batch at whose end the checkpoint was written.

    Raises:
        ConfigError: If the Trainer is told to see the same batches again and again.
    """
    if trainer is None:
        return 0
    overfit: Any = trainer.overfit_batches  # type: ignore[attr-defined]  # set by a function, where mypy does not look
    if overfit:
        advice = "Take fewer images instead: data.labeled.fraction or data.labeled.list."
        raise ConfigError.expected("trainer.overfit_batches", "0", overfit, advice)
    total: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    return int(total.processed)
