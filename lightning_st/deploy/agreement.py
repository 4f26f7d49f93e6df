"""How far two models that ought to be the same agree on the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lightning_st.types import MaskPrediction, Prediction

BOX_TOLERANCE = 0.1
"""In pixels."""

SCORE_TOLERANCE = 1e-4

FARTHEST_PAIR = 1.0
"""In pixels: two boxes further apart are not taken for the same."""

BOXES_BY_CHANCE, PIXELS_BY_CHANCE = 0.01, 0.001
"""The part of them that may be decided otherwise: where two scores are equal but for their rounding, or an overlap is
just as large as it may be, the last bit of a sum decides."""


class Agreement(Protocol):
    """What was compared, and how far apart it is."""

    @property
    def count(self) -> int:
        """Of how many boxes, or pixels."""

    @property
    def is_close(self) -> bool:
        """Whether it is close enough."""

    def __str__(self) -> str:
        """Say how far, without a full stop."""


@dataclass(frozen=True)
class BoxAgreement:
    """Of detections.

    Attributes:
        count: Pairs of detections of one class.
        boxes: The largest difference of a coordinate, pixels.
        scores: The largest difference of a score.
        on_edge: Detections that only one of the two has, with a score that is just enough to be kept.
        unpaired: Others that only one of the two has.
    """

    count: int = 0
    boxes: float = 0.0
    scores: float = 0.0
    on_edge: int = 0
    unpaired: int = 0

    @property
    def is_close(self) -> bool:
        """Whether it is close enough."""
        is_same = self.unpaired <= BOXES_BY_CHANCE * self.count
        return is_same and self.boxes <= BOX_TOLERANCE and self.scores <= SCORE_TOLERANCE

    def __str__(self) -> str:
        """Say how far."""
        others = {"on the edge of what is kept": self.on_edge, "that only one of the two finds": self.unpaired}
        more = "".join(f", {number} {what}" for what, number in others.items() if number)
        counted = "1 box" if self.count == 1 else f"{self.count} boxes"
        return f"{counted} within {self.boxes:.1g} px, scores within {self.scores:.1g}{more}"


@dataclass(frozen=True)
class MaskAgreement:
    """Of masks.

    Attributes:
        count: Pixels.
        differing: Those whose class differs.
        scores: The largest difference of a confidence.
    """

    count: int
    differing: int
    scores: float

    @property
    def is_close(self) -> bool:
        """Whether it is close enough."""
        return self.differing <= PIXELS_BY_CHANCE * self.count and self.scores <= SCORE_TOLERANCE

    def __str__(self) -> str:
        """Say how far."""
        return f"the class of {self.differing} of {self.count} pixels differs, confidences within {self.scores:.1g}"


def compare_boxes(
    found: Sequence[Prediction], expected: Sequence[Prediction], score_threshold: float, max_detections: int
) -> BoxAgreement:
    """Pair the detections of two models, and measure how far apart they are.

    Args:
        found: For each image.
        expected: Likewise.
        score_threshold: From which score on both were predicted.
        max_detections: The most that both predict for an image.
    """
    total = BoxAgreement()
    for one, other in zip(found, expected, strict=True):
        rows, other_rows = _pairs(one, other)
        box_gaps = (one["boxes"][rows] - other["boxes"][other_rows]).abs().flatten().tolist()
        score_gaps = (one["scores"][rows] - other["scores"][other_rows]).abs().tolist()
        alone, on_edge = 0, 0
        for prediction, paired in ((one, rows), (other, other_rows)):
            scores = prediction["scores"]
            lowest = float(scores.min()) if len(scores) == max_detections else score_threshold
            unpaired = torch.ones_like(scores, dtype=torch.bool).index_fill(0, paired, False)
            alone += int(unpaired.sum())
            on_edge += int((scores[unpaired] <= lowest + SCORE_TOLERANCE).sum())
        total = BoxAgreement(
            total.count + len(rows),
            max(total.boxes, *box_gaps, 0.0),
            max(total.scores, *score_gaps, 0.0),
            total.on_edge + on_edge,
            total.unpaired + alone - on_edge,
        )
    return total


def _pairs(one: Prediction, other: Prediction) -> tuple[Tensor, Tensor]:
    """Return which rows of the two belong together, int64 [P] each: the nearest boxes of one class.

    Their order says nothing: where scores are equal but for their rounding, it is chance.
    """
    gaps = torch.cdist(one["boxes"], other["boxes"], p=torch.inf)
    gaps = gaps.masked_fill(one["labels"].unsqueeze(1) != other["labels"], torch.inf)
    pairs = []
    for column in range(gaps.shape[1] if len(gaps) else 0):
        nearest = int(gaps[:, column].argmin())
        if gaps[nearest, column] <= FARTHEST_PAIR:
            pairs.append((nearest, column))
            gaps[nearest] = torch.inf  # a detection has one partner
    rows = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def compare_masks(found: Sequence[MaskPrediction], expected: Sequence[MaskPrediction]) -> MaskAgreement:
    """Compare masks of the same images pixel by pixel."""
    pairs = list(zip(found, expected, strict=True))
    differing = sum(int((one["mask"] != other["mask"]).sum()) for one, other in pairs)
    gaps = [float((one["confidence"] - other["confidence"]).abs().max()) for one, other in pairs]
    return MaskAgreement(sum(one["mask"].numel() for one, _ in pairs), differing, max(gaps, default=0.0))


def masks_of(outputs: Mapping[str, Tensor]) -> list[MaskPrediction]:
    """Return the masks that a deployed segmenter returns, see ``DeployedSegmenter``, as predictions."""
    pairs = zip(outputs["masks"], outputs["confidences"], strict=True)
    return [MaskPrediction(mask=mask, confidence=confidence) for mask, confidence in pairs]
