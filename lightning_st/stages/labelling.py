"""A model's predictions on all images of a split, in shards: what is finished stays when the rest is cut off."""

from collections import deque
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError
from lightning_st.modules import TaskModule, TeacherModule
from lightning_st.selftrain import ImageLabels, MaskLabels, PseudoLabelWriter
from lightning_st.stages.announce import announce
from lightning_st.stages.recipe import PseudoLabelSettings, Recipe
from lightning_st.stages.trainers import inference_trainer
from lightning_st.types import EvalBatch

VAL_FOLDER = "val"
"""Where a store keeps the teacher's predictions on the val images."""


def predict_as(settings: PseudoLabelSettings, module: TaskModule) -> None:
    """Let a module predict as ``settings`` ask.

    Raises:
        ConfigError: If its task cannot.
    """
    if settings.soft_nms is not None and "soft_nms" not in signature(module.task.predict).parameters:
        advice = f"{type(module.task).__name__} has no choice of that kind."
        raise ConfigError.expected("pseudo_label.soft_nms", "left out", settings.soft_nms, advice)
    module.flip_when_predicting, module.scales_when_predicting = settings.flip, tuple(settings.scales)
    module.soft_nms_when_predicting = settings.soft_nms


def label_split(
    recipe: Recipe,
    module: TeacherModule,
    data: SelfTrainingDataModule,
    split: str,
    store: Path,
    job: str,
) -> None:
    """Predict all images of ``split`` that no finished shard holds yet, on every rank its own shards, and merge."""
    size = recipe.labelling().shard_size
    writer = PseudoLabelWriter(store, data.index(split), module.classes, f"{job}-{split}", size, data.rows(split))
    machine = inference_trainer(recipe.trainer, store)
    missing = writer.missing_shards(machine.global_rank, machine.world_size)
    shards = [writer.shard_rows(number) for number in missing]
    announce(f"{store}: {sum(map(len, shards))} {split} images to label in {len(missing)} shards.")
    if writer.missing_shards():  # on any rank: all of them take part, or none
        data.predict_on(split, shards)
        trainer = inference_trainer(recipe.trainer, store, ShardWriting(writer, missing))
        trainer.predict(module, datamodule=data, return_predictions=False, weights_only=True)
    machine.strategy.barrier()
    if machine.is_global_zero:
        writer.merge()
    machine.strategy.barrier()


class ShardWriting(Callback):
    """Writes each shard as soon as the last of its images is predicted; memory stays that of one shard."""

    def __init__(self, writer: PseudoLabelWriter, numbers: Sequence[int]) -> None:
        """Expect the images of shards ``numbers``, one after the other."""
        self.writer = writer
        self._expected = deque((number, len(writer.shard_rows(number))) for number in numbers)
        self._seen = 0
        self._found: list[Any] = []
        self._unreadable: list[str] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: EvalBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the predictions of a batch."""
        self._unreadable += batch["bad_images"]
        sizes = batch["sizes"].tolist()
        for row, prediction, (height, width) in zip(batch["rows"].tolist(), outputs, sizes, strict=True):
            if prediction is not None:
                self._found.append(_as_labels(row, height, width, prediction, len(pl_module.classes)))
            self._seen += 1
            if self._seen == self._expected[0][1]:
                self._write()

    def _write(self) -> None:
        number, _ = self._expected.popleft()
        self.writer.write_shard(number, self._found, self._unreadable)
        self._seen, self._found, self._unreadable = 0, [], []


def _as_labels(
    row: int, height: int, width: int, prediction: Mapping[str, Any], class_count: int
) -> ImageLabels | MaskLabels:
    """Return a ``MaskPrediction``, or a ``Prediction`` of boxes, as a store holds it."""
    if "mask" in prediction:
        mask, confidence = prediction["mask"].cpu().numpy(), prediction["confidence"].float().cpu().numpy()
        return MaskLabels.of(row, mask, confidence, class_count)
    boxes, labels, scores = (prediction[key].float().cpu().numpy() for key in ("boxes", "labels", "scores"))
    return ImageLabels(row, width, height, boxes, labels.astype(np.int64), scores)
