"""Predictions for images of any size, in three lines of Python."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lightning_st.data.decoding import decode, read_bytes, to_rgb
from lightning_st.deploy.model import open_model
from lightning_st.errors import ConfigError
from lightning_st.models import restore_detections
from lightning_st.models.masks import restore_masks
from lightning_st.stages.predict_folder import DEFAULT_THRESHOLD
from lightning_st.transforms import fit
from lightning_st.types import IGNORE_INDEX, MaskPrediction, Prediction

AnyImage = NDArray[np.uint8] | Tensor | Image.Image | Path | str
"""uint8 [H, W, 3] in numpy, uint8 [3, H, W] in torch, both RGB; Pillow's image, as it stands; or the path of a file,
which is turned upright as EXIF says."""


class Predictor:
    """A trained model as a function of images.

    It computes what ``lightning_st predict`` computes: images are resized to fit the size that the model was trained
    on, their aspect ratio kept, and predictions come back in pixels of the images themselves.

    Args:
        model: A checkpoint (``*.ckpt``), or what ``lightning_st export`` made of one (``*.onnx``, ``*.pt2``).
        score_threshold: Boxes, or pixels, from this score (0-1) on. None for 0.3 of boxes, and every pixel; 0 for all
            boxes down to the model's own floor.
        batch_size: Images that are computed at once.
        device: Such as "cpu" or "cuda:1"; None for a GPU where there is one.

    Attributes:
        classes: The names of the classes, in the order of the labels.
        image_size: (height, width) in pixels of what the model sees.

    Raises:
        CheckpointError: If the file cannot be read.
        ConfigError: If an argument is out of range, or a package is missing that reads such a file.
    """

    def __init__(
        self,
        model: Path | str,
        *,
        score_threshold: float | None = None,
        batch_size: int = 8,
        device: str | None = None,
    ) -> None:
        if score_threshold is not None and not 0 <= score_threshold <= 1:
            raise ConfigError.expected("score_threshold", "from 0 to 1", score_threshold)
        if batch_size < 1:
            raise ConfigError.expected("batch_size", "at least 1", batch_size)
        self._model = open_model(model, device)
        self._batch_size = batch_size
        self.classes = self._model.card.classes
        self.image_size = self._model.card.image_size
        self._has_masks = self._model.card.target == "masks"
        threshold = 0 if self._has_masks else DEFAULT_THRESHOLD
        self.score_threshold = threshold if score_threshold is None else score_threshold

    def __call__(self, images: Iterable[AnyImage]) -> list[Prediction] | list[MaskPrediction]:
        """Return a prediction for each image, in their order; on the CPU.

        Args:
            images: Of any sizes; see ``AnyImage``. Files are read a batch at a time.

        Returns:
            Of a detector, as torchvision's: "boxes", float32 [N, 4], xyxy in pixels of the image; "labels", int64 [N];
            "scores", float32 [N], best first. Of a segmenter: "mask", uint8 [H, W], class indices, 255 where the
            confidence is below the threshold; "confidence", float32 [H, W].

        Raises:
            ConfigError: If something is no image of these kinds.
            ImageError: If a file cannot be read.
        """
        if isinstance(images, np.ndarray | Tensor | Image.Image | Path | str):
            raise ConfigError(f"Expected images to be a list of images, got one {type(images).__name__}.")
        return [found for batch in _batches(images, self._batch_size) for found in self._predict(batch)]

    @torch.no_grad()
    def _predict(self, images: Sequence[AnyImage]) -> Iterator[Any]:
        pixels = [as_rgb(image) for image in images]
        fitted = [fit(image, self.image_size) for image in pixels]
        batch = torch.from_numpy(np.stack([image for image, _ in fitted])).permute(0, 3, 1, 2)
        scales = torch.tensor([scale for _, scale in fitted], dtype=torch.float32)
        sizes = torch.tensor([image.shape[:2] for image in pixels])
        restore: Any = restore_masks if self._has_masks else restore_detections
        for found in restore(self._model.predict(batch), scales, sizes):
            yield self._trusted({name: value.cpu() for name, value in found.items()})

    def _trusted(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what reaches the threshold."""
        if self._has_masks:
            unsure = found["confidence"] < self.score_threshold
            return {**found, "mask": found["mask"].masked_fill(unsure, IGNORE_INDEX)}
        kept = found["scores"] >= self.score_threshold
        return {name: found[name][kept] for name in ("boxes", "labels", "scores")}


def as_rgb(image: AnyImage) -> NDArray[np.uint8]:
    """Return an image as uint8 [H, W, 3].

    Raises:
        ConfigError: If it is no image of these kinds.
        ImageError: If a file cannot be read.
    """
    if isinstance(image, Path | str):
        return decode(read_bytes(image), image)
    if isinstance(image, Image.Image):
        return to_rgb(image, getattr(image, "filename", "") or "image")
    if isinstance(image, Tensor):
        array, has_shape = image.cpu().numpy(), image.ndim == 3 and image.shape[0] == 3
        array = array.transpose(1, 2, 0) if has_shape else array
    elif isinstance(image, np.ndarray):
        array, has_shape = image, image.ndim == 3 and image.shape[2] == 3
    else:
        raise ConfigError.expected(
            "an image", "an array, a tensor, an image of Pillow's or a path", type(image).__name__
        )
    if not has_shape or array.dtype != np.uint8 or 0 in array.shape:
        allowed = "uint8 [3, H, W]" if isinstance(image, Tensor) else "uint8 [H, W, 3]"
        raise ConfigError.expected("an image", allowed, f"{array.dtype} {list(image.shape)}")
    return np.ascontiguousarray(array)


def _batches(images: Iterable[AnyImage], size: int) -> Iterator[list[AnyImage]]:
    remaining = iter(images)
    while batch := list(islice(remaining, size)):
        yield batch
