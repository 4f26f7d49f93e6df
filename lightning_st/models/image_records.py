"""What metrics of detections hold: predictions and labels by image, so that ranks can exchange them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_st.types import Prediction, Target

ImageState = dict[str, NDArray[Any]]
"""What a metric holds of one image: the fields of its ``Prediction``, and of its ``Target`` as "true_<field>"."""


class ImageRecords:
    """Collects predictions and targets by the image's row: the part of a ``Metric`` that does not compute."""

    def __init__(self) -> None:
        self._images: dict[int, ImageState] = {}

    def update(self, rows: Sequence[int], predictions: Sequence[Prediction], targets: Sequence[Target]) -> None:
        """Add images. Images without predictions or without objects count, too.

        Args:
            rows: The images' rows in their index; an image that is added again replaces itself.
            predictions: In pixels of the original images.
            targets: The human labels, in pixels of the original images.
        """
        for row, prediction, target in zip(rows, predictions, targets, strict=True):
            fields: dict[str, Any] = {**prediction, **{f"true_{name}": value for name, value in target.items()}}
            self._images[int(row)] = {name: _to_numpy(value) for name, value in fields.items()}

    def state(self) -> dict[int, ImageState]:
        """Return what was added, by row."""
        return dict(self._images)

    def merge(self, states: Iterable[dict[int, ImageState]]) -> None:
        """Replace what was added by the union of ``states``; an image in several of them counts once."""
        self._images = {row: image for state in states for row, image in state.items()}

    def reset(self) -> None:
        """Forget everything that was added."""
        self._images = {}


def _to_numpy(value: Tensor) -> NDArray[Any]:
    """Return a tensor's values on the host, floating ones as float32 at least."""
    return np.asarray((value.float() if value.is_floating_point() and value.itemsize < 4 else value).detach().cpu())
