"""What a stage tells the user's loggers besides what Lightning logs: its inputs, and the scores of what it leaves."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

from lightning_st.stages.loggers import is_one_run, wandb_loggers
from lightning_st.stages.manifest import plain
from lightning_st.stages.metrics_csv import MetricsCsv
from lightning_st.stages.titles import Title


class Tracking:
    """Speaks to the loggers of one stage; on other ranks than the first it does nothing."""

    def __init__(self, trainer: Trainer, title: Title, last_step: int) -> None:
        """Speak to the loggers of ``trainer`` of the stage ``title``, which ends at ``last_step``."""
        loggers = trainer.loggers if trainer.is_global_zero else []
        self.loggers: list[Logger] = [logger for logger in loggers if not isinstance(logger, MetricsCsv)]
        self.title = title
        self.last_step = last_step

    def begin(self, inputs: Mapping[str, Any]) -> None:
        """Give W&B as its config what the stage is made from, so that runs can be grouped and filtered by it."""
        place = self.title.place if is_one_run() else ""
        for logger in wandb_loggers(self.loggers):
            logger.log_hyperparams({place: plain(inputs)} if place else plain(inputs))

    def conclude(self, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Log the scores of the chosen checkpoint as "best/<split>/<name>".

        Args:
            scores: By split and name.
        """
        named = {f"best/{split}/{name}": value for split, found in scores.items() for name, value in found.items()}
        for logger in self.loggers:
            logger.log_metrics(named, step=self.last_step)
            logger.finalize("success")  # else TensorBoard may keep them in memory
