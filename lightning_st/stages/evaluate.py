"""Evaluation of a checkpoint on val and test: the numbers that a report shows."""

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from lightning_st.data import SelfTrainingDataModule
from lightning_st.modules import TaskModule, load_weights
from lightning_st.stages.manifest import SCHEMA, write_json


def evaluate(
    trainer: Trainer, module: TaskModule, data: SelfTrainingDataModule, checkpoint: Path, destination: Path
) -> dict[str, dict[str, float]]:
    """Evaluate ``checkpoint`` on every split that ``data`` has, and write the numbers to ``destination`` on rank 0.

    Returns:
        The numbers by split ("val", "test"), each by name ("AP", "AP50", "AP/<class>" ...), 0-1, NaN where undefined.
    """
    load_weights(module, checkpoint)
    runs = {"val": trainer.validate, "test": trainer.test}
    splits, images = {}, {}
    for split, run in runs.items():
        if data.has(split):
            run(module, datamodule=data, verbose=False, weights_only=True)
            splits[split] = dict(module.evaluation)
            images[split] = data.image_count(split)
    if trainer.is_global_zero:
        record = {
            "schema": SCHEMA,
            "primary": module.primary_metric,
            "checkpoint": f"{checkpoint.parent.name}/{checkpoint.name}",
            "splits": splits,
            "images": images,
        }
        write_json(destination, record)
    trainer.strategy.barrier()
    return splits


def is_better(candidate: float, best: Any) -> bool:
    """Say whether a score beats the best so far; NaN beats nothing, anything else beats None."""
    return not math.isnan(candidate) and (best is None or candidate > float(best))
