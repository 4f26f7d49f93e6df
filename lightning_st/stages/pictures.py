"""Pictures for the user's loggers: images as a model sees them, and over each, in layers, what is said of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from lightning.pytorch import Callback, Trainer
from numpy.typing import NDArray

from lightning_st.data import SelfTrainingDataModule
from lightning_st.index import ignore_unsure
from lightning_st.modules import TaskModule
from lightning_st.stages.trainers import inference_trainer
from lightning_st.types import BoxKind, EvalBatch

_SIDE = 640
"""The most pixels along a picture's longer side."""

_MOST_BOXES = 50
"""Of one prediction, the best first: a detector gives a hundred, most of them at scores that nobody looks at."""


@dataclass(frozen=True)
class Layer:
    """What one source says of a picture: boxes, or a mask.

    Attributes:
        boxes: float32 [N, 4], xyxy in pixels of the picture.
        labels: int64 [N], class indices.
        scores: float32 [N], 0-1; None for labels of people.
        mask: uint8 [H, W], class indices and ``IGNORE_INDEX``; None where there are boxes.
    """

    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    scores: NDArray[np.float32] | None = None
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Picture:
    """An image, uint8 [H, W, 3], its name in its index, and its layers by name."""

    name: str
    image: NDArray[np.uint8]
    layers: dict[str, Layer]


def pseudo_label_pictures(data: SelfTrainingDataModule, count: int, seed: int) -> list[Picture]:
    """Return images that a student is shown, with its teacher's labels: layers "kept" and "ignored"; of masks "kept".

    Args:
        data: The student's.
        count: How many, at most; an image that cannot be read is left out.
        seed: Which ones.
    """
    split = data.split("pseudo")
    assert split.thresholds is not None
    loader = data.evaluation_dataloader("pseudo", _choose(split.rows, count, seed))
    pictures = []
    for view in (view for batch in loader for view in _views(batch)):
        mask = split.index.mask(view.row)
        if mask is not None:
            shown = ignore_unsure(mask, split.index.confidence(view.row), split.thresholds.keep)
            layers = {"kept": view.layer({"mask": shown})}
        else:
            found = split.index.annotations(view.row)
            kinds = split.thresholds.kinds(found.labels, found.scores)
            columns = {"boxes": found.boxes, "labels": found.labels, "scores": found.scores}
            layers = {
                name: view.layer({key: column[kinds == kind] for key, column in columns.items()})
                for name, kind in (("kept", BoxKind.OBJECT), ("ignored", BoxKind.UNSURE))
            }
        pictures.append(Picture(split.index.image(view.row).name, view.image, layers))
    loader.close()
    return pictures


def val_pictures(
    options: Mapping[str, Any], module: TaskModule, data: SelfTrainingDataModule, folder: Path, count: int, seed: int
) -> list[Picture]:
    """Return val images with a model's predictions: layers "truth" and "predicted".

    On every rank: each predicts the same images.

    Args:
        options: The recipe's ``trainer`` section.
        module: The model.
        data: Of its stage.
        folder: Of its stage.
        count: How many, at most.
        seed: Which ones: the same for every model of a run.
    """
    data.predict_on("val", [_choose(data.rows("val"), count, seed)])
    collected = _Predictions(data)
    trainer = inference_trainer(options, folder, collected)
    trainer.predict(module, datamodule=data, return_predictions=False, weights_only=True)
    return collected.pictures


class _Predictions(Callback):
    def __init__(self, data: SelfTrainingDataModule) -> None:
        self.data = data
        self.pictures: list[Picture] = []

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: EvalBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        for view in _views(batch):
            said = {
                "truth": view.layer(_arrays(batch["targets"][view.place])),
                "predicted": view.layer(_arrays(outputs[view.place])),
            }
            self.pictures.append(Picture(self.data.index("val").image(view.row).name, view.image, said))


@dataclass(frozen=True)
class _View:
    """One image of a batch without its canvas, made small.

    Attributes:
        place: In the batch.
        row: In the image's index.
        image: uint8 [H, W, 3].
        scale: float32 [2], (x, y): pixels of ``image`` for each of the original.
    """

    place: int
    row: int
    image: NDArray[np.uint8]
    scale: NDArray[np.float32]

    def layer(self, said: Mapping[str, NDArray[Any]]) -> Layer:
        """Return what is said in pixels of the original image as a layer on this one."""
        height, width = self.image.shape[:2]
        if "mask" in said:
            mask = cv2.resize(said["mask"], (width, height), interpolation=cv2.INTER_NEAREST)
            return Layer(mask=mask.astype(np.uint8))
        boxes = np.float32(said["boxes"][:_MOST_BOXES]) * np.tile(self.scale, 2)
        scores = np.float32(said["scores"][:_MOST_BOXES]) if "scores" in said else None
        return Layer(boxes, said["labels"][:_MOST_BOXES].astype(np.int64), scores)


def _views(batch: EvalBatch) -> Iterator[_View]:
    """Yield the images of a batch that can be read."""
    scales, sizes = batch["scales"].float().cpu().numpy(), batch["sizes"].cpu().numpy()
    for place, row in enumerate(batch["rows"].tolist()):
        if row < 0:
            continue
        height, width = np.rint(sizes[place] * scales[place][::-1]).astype(int).clip(1).tolist()
        image = batch["images"][place, :, :height, :width].permute(1, 2, 0).cpu().numpy()
        smaller = min(1.0, _SIDE / max(image.shape[:2]))
        if smaller < 1:
            image = cv2.resize(image, None, fx=smaller, fy=smaller, interpolation=cv2.INTER_AREA)
        yield _View(place, row, np.ascontiguousarray(image), np.float32(scales[place] * smaller))


def _arrays(said: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    return {key: tensor.cpu().numpy() for key, tensor in said.items()}


def _choose(rows: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])
