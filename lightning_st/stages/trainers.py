"""How a stage's Lightning Trainer is made: the user's ``trainer`` section, and what a stage needs besides."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import Logger

from lightning_st.errors import ConfigError
from lightning_st.modules import WeightEMA
from lightning_st.stages.building import build
from lightning_st.stages.last_checkpoint import AtomicCheckpointIO, LastCheckpoint
from lightning_st.stages.loggers import make_loggers
from lightning_st.stages.metrics_csv import MetricsCsv
from lightning_st.stages.progress import ProgressLines
from lightning_st.stages.recipe import TrainSettings
from lightning_st.stages.stopping import StopAtSignal, StopTraining
from lightning_st.stages.titles import Title

_MACHINE_KEYS = (
    "accelerator",
    "strategy",
    "devices",
    "num_nodes",
    "precision",
    "plugins",
    "benchmark",
    "deterministic",
    "enable_progress_bar",
    "callbacks",
)
"""Arguments that say how to run rather than how to train: all that evaluation and labelling take over."""


def training_trainer(
    options: Mapping[str, Any], settings: TrainSettings, folder: Path, monitor: str | None, title: Title, run_id: str
) -> Trainer:
    """Return the Trainer of a stage that trains.

    It keeps ``checkpoints/last.ckpt``, written at every validation interval, and where there is something to monitor
    ``checkpoints/best.ckpt``; it logs to ``metrics.csv`` and to the user's loggers.

    Args:
        options: The recipe's ``trainer`` section.
        settings: The stage's.
        folder: The stage's folder.
        monitor: The metric that decides which checkpoint is best, such as "val/AP"; None without a val split.
        title: What its loggers call it.
        run_id: Of its W&B run.
    """
    with refusals_of_the_trainer():
        loggers = make_loggers(options.get("logger"), title, run_id)
        built = _build_given({key: value for key, value in options.items() if key != "logger"})
        return _training_trainer(built, settings, folder, monitor, loggers)


def _training_trainer(
    built: dict[str, Any], settings: TrainSettings, folder: Path, monitor: str | None, loggers: list[Logger]
) -> Trainer:
    callbacks = [*_as_list(built.pop("callbacks", None)), *_checkpoints(settings, folder, monitor)]
    if settings.ema_decay is not None:
        callbacks.append(WeightEMA(decay=settings.ema_decay))
    built.setdefault("log_every_n_steps", max(1, min(50, settings.max_steps // 100)))
    return Trainer(
        **_with_plugins(built),
        logger=[MetricsCsv(folder / "metrics.csv"), *loggers],
        callbacks=_with_progress(callbacks, built, folder),
        max_steps=settings.max_steps,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        val_check_interval=settings.validation_interval * built.get("accumulate_grad_batches", 1),
        default_root_dir=folder,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )


@contextmanager
def refusals_of_the_trainer() -> Iterator[None]:
    """Turn what Lightning says of the arguments of a Trainer, its loggers and callbacks into one sentence.

    Raises:
        ConfigError: With what Lightning says.
    """
    try:
        yield
    except (MisconfigurationException, ModuleNotFoundError, TypeError, ValueError) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error


def inference_trainer(options: Mapping[str, Any], folder: Path, extra: Callback | None = None) -> Trainer:
    """Return the Trainer of evaluation and labelling: ``options`` that name the machine, no logs, no checkpoints."""
    with refusals_of_the_trainer():
        return _inference_trainer(
            _build_given({key: value for key, value in options.items() if key in _MACHINE_KEYS}), folder, extra
        )


def _inference_trainer(built: dict[str, Any], folder: Path, extra: Callback | None) -> Trainer:
    bars = [callback for callback in _as_list(built.pop("callbacks", None)) if isinstance(callback, ProgressBar)]
    callbacks: list[Callback] = [*bars, *([extra] if extra else []), StopAtSignal()]
    return Trainer(
        **_with_plugins(built),
        logger=False,
        callbacks=_with_progress(callbacks, built, folder),
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _checkpoints(settings: TrainSettings, folder: Path, monitor: str | None) -> list[Callback]:
    checkpoints = folder / "checkpoints"
    last = LastCheckpoint(checkpoints, None if monitor is not None else settings.validation_interval)
    if monitor is None:
        return [last, StopTraining(last.save)]
    best = ModelCheckpoint(checkpoints, "best", monitor=monitor, mode="max", enable_version_counter=False)
    return [best, last, StopTraining(last.save)]  # in this order: the last holds what the best knows


def _build_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Build what ``options`` give; a command line names what it does not give as None."""
    return {key: build(value) for key, value in options.items() if value is not None}


def _with_plugins(built: dict[str, Any]) -> dict[str, Any]:
    return {**built, "plugins": [AtomicCheckpointIO(), *_as_list(built.get("plugins"))]}


def _with_progress(callbacks: list[Callback], built: Mapping[str, Any], folder: Path) -> list[Callback]:
    """Add progress in lines where standard error is a file, unless the user chose a bar or none."""
    chosen = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if chosen or built.get("enable_progress_bar") is False or sys.stderr.isatty():
        return callbacks
    return [*callbacks, ProgressLines(str(folder))]


def _as_list(value: Any) -> list[Any]:
    """Return what the Trainer accepts as one object, a list, a truth value or nothing, as a list."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
