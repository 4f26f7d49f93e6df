"""What a stage tells the user's loggers besides what Lightning logs: inputs, scores, pictures, files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from lightning_st.data import SelfTrainingDataModule
from lightning_st.modules import TaskModule, checkpoint_fingerprint
from lightning_st.selftrain import LABELS_FILE
from lightning_st.stages.loggers import is_one_run
from lightning_st.stages.manifest import FILE_NAME, plain, read_manifest
from lightning_st.stages.metrics_csv import MetricsCsv
from lightning_st.stages.picture_logs import log_drawn, log_table
from lightning_st.stages.pictures import Picture, pseudo_label_pictures, val_pictures
from lightning_st.stages.recipe import TrackingSettings
from lightning_st.stages.titles import Title


class TrackedRecipe(Protocol):
    """What is read of a recipe."""

    trainer: dict[str, Any]
    seed: int
    tracking: dict[str, Any]


class Tracking:
    """Speaks to the loggers of one stage from the first rank; every rank has to call it."""

    def __init__(
        self, trainer: Trainer, title: Title, data: SelfTrainingDataModule, recipe: TrackedRecipe, last_step: int
    ) -> None:
        """Speak to the loggers of ``trainer`` of the stage ``title``, which trains on ``data`` up to ``last_step``."""
        own = [logger for logger in trainer.loggers if not isinstance(logger, MetricsCsv)]
        self.is_first = trainer.is_global_zero
        self.loggers: list[Logger] = own if self.is_first else []
        self.title, self.data, self.recipe, self.last_step = title, data, recipe, last_step
        self.settings = TrackingSettings.read(recipe.tracking)
        shows = any(isinstance(logger, WandbLogger | TensorBoardLogger) for logger in own)
        self.picture_count = self.settings.pictures if shows and data.target in ("boxes", "masks") else 0

    def begin(self, inputs: Mapping[str, Any], store: Path | None) -> None:
        """Say what the stage is made from: W&B groups and filters runs by that.

        Args:
            inputs: As its manifest has them.
            store: Of the pseudo-labels that it learns from.
        """
        config = {self.title.place: plain(inputs)} if is_one_run() and self.title.place else plain(inputs)
        for logger in self._wandb():
            logger.log_hyperparams(config)
        if store is None or not self.is_first:
            return
        if self.picture_count:
            self._show("pseudo_labels", pseudo_label_pictures(self.data, self.picture_count, self.recipe.seed), step=0)
        if "pseudo_labels" in self.settings.artifacts:
            manifest = read_manifest(store) or {}
            facts = {key: manifest.get(key) for key in ("fingerprint", "teacher", "thresholds", "statistics")}
            self._keep("pseudo_labels", [store / LABELS_FILE, store / FILE_NAME], facts)

    def conclude(self, scores: Mapping[str, Mapping[str, float]], module: TaskModule, chosen: Path) -> None:
        """Log the scores of the chosen checkpoint as "best/<split>/<name>", and show what it predicts on val.

        Args:
            scores: By split and name.
            module: With its weights.
            chosen: The checkpoint.
        """
        if self.picture_count and self.data.has("val"):
            where = self.recipe.trainer, module, self.data, chosen.parent
            self._show("val_predictions", val_pictures(*where, self.picture_count, self.recipe.seed), self.last_step)
        named = {f"best/{split}/{name}": value for split, found in scores.items() for name, value in found.items()}
        for logger in self.loggers:
            logger.log_metrics(named, step=self.last_step)
            logger.finalize("success")  # else TensorBoard may keep them in memory
        if "checkpoints" in self.settings.artifacts:
            facts = {"fingerprint": checkpoint_fingerprint(chosen), "scores": scores, "classes": self.data.classes}
            self._keep("checkpoint", [chosen], facts)

    def _show(self, key: str, pictures: list[Picture], step: int) -> None:
        if not pictures:
            return
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                log_table(logger, key, pictures, self.data.classes, step)
            elif isinstance(logger, TensorBoardLogger):
                log_drawn(logger, key, pictures, self.data.classes, step)

    def _keep(self, kind: str, files: list[Path], facts: Mapping[str, Any]) -> None:
        """Give files to W&B as an artifact, named by the stage and of type ``kind``."""
        for logger in self._wandb():
            import wandb

            name = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{self.title.name}-{kind}")
            artifact = wandb.Artifact(name, kind, metadata=plain(facts))
            for file in files:
                artifact.add_file(str(file))
            logger.experiment.log_artifact(artifact)

    def _wandb(self) -> list[WandbLogger]:
        return [logger for logger in self.loggers if isinstance(logger, WandbLogger)]
