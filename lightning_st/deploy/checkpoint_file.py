"""A checkpoint as a model: exactly what ``lightning_st predict`` computes."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_st.deploy.card import Card
from lightning_st.stages.trained_model import TrainedModel


class CheckpointModel:
    """The task of a checkpoint; a ``deploy.model.Model``.

    Args:
        path: The checkpoint.
        device: Where to compute.

    Raises:
        CheckpointError: If it cannot be read, or does not say what its model is.
        ConfigError: If it is neither a detector nor a segmenter.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        trained = TrainedModel.describe(path)
        task: Any = trained.build()
        self.card = Card.of(task, trained.image_size)
        self._task, self._device = task.to(device), device

    def predict(self, images: Tensor) -> list[Any]:
        """Return what the task predicts."""
        predictions: list[Any] = self._task.predict(images.to(self._device))
        return predictions
