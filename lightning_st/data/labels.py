"""What an index says of one image, as a batch of training or of evaluation holds it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_st.data.image_file import ImageFile
from lightning_st.data.sampling import Stream
from lightning_st.index import CONFIDENCE_STEPS, AnnotationIndex, ignore_unsure
from lightning_st.types import IGNORE_INDEX, BoxKind, Sample, ScoreThresholds, TargetName


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The images of one stream, with their labels.

    Attributes:
        stream: In which order they come.
        index: Where they are.
        thresholds: Which of their labels are shown, where these are pseudo-labels; None for human labels.
        target: What is learnt of them.
        image_labels: int64 [images of the index], the class of each image as a whole, -1 where it is not known; None
            where no such classes are learnt.
    """

    stream: Stream
    index: AnnotationIndex
    thresholds: ScoreThresholds | None = None
    target: TargetName = "boxes"
    image_labels: NDArray[np.int64] | None = None

    def sample(self, row: int, file: ImageFile, reduction: int) -> Sample:
        """Return an image, decoded up to ``reduction`` times smaller, with its labels in pixels of it."""
        image = file.decode(reduction)
        if self.target != "boxes":
            nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.uint8)
            mask, mask_weights = self.mask_of(row, file.size) if self.target == "masks" else (None, None)
            sample = Sample(image, *nothing, mask=mask, mask_weights=mask_weights)
            return sample.move_masks(lambda mask: file.mask_in(image, mask, reduction))
        boxes, labels, kinds, weights = self.labels_of(row)
        return Sample(image, file.boxes_in(image, boxes, reduction), labels, kinds, weights=weights)

    @property
    def views(self) -> int:
        """How many augmentations of an image a batch holds."""
        return 2 if self.target == "views" else 1

    def image_label(self, row: int) -> int:
        """Return the class of an image as a whole, -1 where it is not known."""
        return -1 if self.image_labels is None else int(self.image_labels[row])

    def labels_of(
        self, row: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.uint8], NDArray[np.float32] | None]:
        """Return the boxes of an image.

        Returns:
            float32 [N, 4], pixels of the original image; their labels, int64 [N]; their kinds, uint8 [N]; and how much
            each counts, float32 [N], None for in full.
        """
        found = self.index.annotations(row)
        kinds = np.where(found.crowd, BoxKind.CROWD, BoxKind.OBJECT).astype(np.uint8)
        if self.thresholds is None:
            return found.boxes, found.labels.astype(np.int64), kinds, None
        kinds = self.thresholds.kinds(found.labels, found.scores)
        shown = kinds != BoxKind.PADDING
        weights = self.thresholds.weights(found.scores[shown])
        return found.boxes[shown], found.labels[shown].astype(np.int64), kinds[shown], weights

    def mask_of(self, row: int, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Return the mask, uint8 of ``size`` (height, width), and how much each of its pixels counts.

        Pixels below the threshold of their class are ignored. Weights are uint8 of the same size, in 255ths; None for
        in full.
        """
        mask = self.index.mask(row)
        if mask is None:
            return np.full(size, IGNORE_INDEX, np.uint8), None
        confidence = self.index.confidence(row)
        if self.thresholds is None or confidence is None:
            return mask, None
        by_step = self.thresholds.weights(np.arange(CONFIDENCE_STEPS + 1) / CONFIDENCE_STEPS)
        weights = None if by_step is None else np.rint(by_step * 255).astype(np.uint8)[confidence]
        return ignore_unsure(mask, confidence, self.thresholds.keep), weights


def whole_image_labels(index: AnnotationIndex) -> NDArray[np.int64]:
    """Return the class of each image of an index of the format "classes", int64 [N]."""
    first = index.box_offsets[:-1]
    has_label = first < index.box_offsets[1:]
    labels = np.full(len(index), -1, np.int64)
    labels[has_label] = index.labels[first[has_label]]
    return labels


@dataclass(frozen=True, slots=True)
class EvaluationLabels:
    """The labels of an index as targets of evaluation.

    Attributes:
        index: The labels.
        class_map: int64 [C], what each class of the index is among those of the model; None for the same.
        target: What is judged.
    """

    index: AnnotationIndex
    class_map: NDArray[np.int64] | None = None
    target: TargetName = "boxes"

    def of(self, row: int) -> Any:
        """Return what ``EvalBatch`` has for an image as target; empty, without a look, where there can be none."""
        is_known = row >= 0 and self.index.is_labeled
        if self.target in ("classes", "views"):
            labels = self.index.annotations(row).labels.astype(np.int64) if is_known else np.zeros(0, np.int64)
            mapped = labels if self.class_map is None else self.class_map[labels]
            return {"label": torch.tensor(int(mapped[0]) if len(mapped) else -1)}
        if self.target == "masks":
            mask = self.index.mask(row) if is_known else None
            return {"mask": torch.zeros(0, 0, dtype=torch.uint8) if mask is None else self._mapped(mask)}
        if not is_known:
            return {
                "boxes": torch.zeros(0, 4),
                "labels": torch.zeros(0, dtype=torch.int64),
                "crowd": torch.zeros(0, dtype=torch.bool),
                "areas": torch.zeros(0),
            }
        found = self.index.annotations(row)
        labels = found.labels.astype(np.int64)
        return {
            "boxes": torch.from_numpy(found.boxes.copy()),
            "labels": torch.from_numpy(labels if self.class_map is None else self.class_map[labels]),
            "crowd": torch.from_numpy(found.crowd.copy()),
            "areas": torch.from_numpy(found.areas.copy()),
        }

    def _mapped(self, mask: NDArray[np.uint8]) -> torch.Tensor:
        if self.class_map is None:
            return torch.from_numpy(mask.copy())
        table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint8)
        table[: len(self.class_map)] = self.class_map
        return torch.from_numpy(table[mask])
