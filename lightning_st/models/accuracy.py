"""How often a classifier is right."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_st.types import ClassPrediction, ClassTarget


class Accuracy:
    """The part of images whose class is the most probable one, or among the five most probable.

    ``compute()`` returns "top1", "top5" where there are more than five classes, and "top1/<class>" for each class.
    Images of unknown class do not count.

    Args:
        classes: The names of the classes, in the order of the labels.
    """

    primary = "top1"

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._images: dict[int, NDArray[np.int64]] = {}  # row to (label, classes at least as probable as it)

    def update(
        self, rows: Sequence[int], predictions: Sequence[ClassPrediction], targets: Sequence[ClassTarget]
    ) -> None:
        """Add images.

        Args:
            rows: The images' rows in their index; an image that is added again replaces itself.
            predictions: The probabilities of the classes.
            targets: The human labels.
        """
        for row, prediction, target in zip(rows, predictions, targets, strict=True):
            label, probabilities = int(target["label"]), prediction["probabilities"]
            if label >= 0:
                # Not less, rather than more: a classifier that says the same, or NaN, of all classes knows none.
                before = int((~(probabilities < probabilities[label])).sum()) - 1
                self._images[int(row)] = np.array([label, before])

    def state(self) -> dict[int, NDArray[np.int64]]:
        """Return what was added, by row."""
        return dict(self._images)

    def merge(self, states: Iterable[dict[int, NDArray[np.int64]]]) -> None:
        """Replace what was added by the union of ``states``; an image in several of them counts once."""
        self._images = {row: image for state in states for row, image in state.items()}

    def reset(self) -> None:
        """Forget everything that was added."""
        self._images = {}

    def compute(self) -> dict[str, float]:
        """Return the numbers, 0-1; NaN where there is no image."""
        labels, before = np.array([*self._images.values()], np.int64).reshape(-1, 2).T
        numbers = {"top1": _part(before < 1)}
        if len(self.classes) > 5:
            numbers["top5"] = _part(before < 5)
        return numbers | {f"top1/{name}": _part(before[labels == i] < 1) for i, name in enumerate(self.classes)}


def _part(is_right: NDArray[np.bool_]) -> float:
    """Return the part of images that are right, NaN if there are none."""
    return float(is_right.mean()) if is_right.size else float("nan")
