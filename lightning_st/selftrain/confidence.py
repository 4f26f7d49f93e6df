"""Confidence rules: which of a teacher's boxes, or pixels, a student may learn from, and how far.

A rule is asked once, when the teacher has labelled, with all that is known then, and answers for each class:

    rule(evidence) -> ScoreThresholds

A fixed score is not a fixed operating point: at 0.5 one teacher's boxes are right in 93 of 100 cases and it finds a
fifth of the objects, another's in 79 and it finds two thirds (facts: small_recipe.md). `CalibratedThresholds` asks val
instead, `MatchedCounts` the labelled images. What goes with any rule stands in `doubt.py`.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from lightning_st.errors import ConfigError
from lightning_st.selftrain.evidence import Evidence, Need
from lightning_st.selftrain.matching import Matched
from lightning_st.types import ScoreThresholds

NEVER = 2.0
"""A threshold that no score reaches: the class is not trusted at all."""


class ConfidenceRule(Protocol):
    """What a rule of one's own has to look like; a manifest holds its class and its attributes."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """The labelled sets that it cannot do without: "val", "labeled"."""

    def __call__(self, evidence: Evidence) -> ScoreThresholds:
        """Return how far the labels of each class are believed."""


@dataclass(frozen=True)
class HardThreshold:
    """The paper's rule: keep a box with ``score >= 0.5``, drop every other (paper.md, section 1).

    Attributes:
        score: The threshold, above 0 and at most 1.
    """

    score: float = 0.5
    needs: ClassVar[tuple[Need, ...]] = ()

    def __post_init__(self) -> None:
        """Refuse a score that is no probability."""
        _check_fraction("score", self.score)

    def __call__(self, evidence: Evidence) -> ScoreThresholds:
        """Return the same threshold for every class."""
        return ScoreThresholds.uniform(len(evidence.classes), self.score)


@dataclass(frozen=True)
class CalibratedThresholds:
    """Keep, class by class, what reaches a wanted precision on val; ignore the boxes below, down to a floor.

    The threshold of a class is the lowest score at which the teacher's boxes on val with that score or a higher one are
    right in at least ``precision`` of the cases. Boxes between it and ``ignore_from`` are neither positive nor negative
    for the student: an object that the teacher is not sure of is not learnt as background. A class that never reaches
    the precision gives no positives at all, only ignored boxes.

    Where the labels of val miss objects, the measured precision is too low and the thresholds too high: ask for less.

    Attributes:
        precision: Wanted share of right boxes, above 0 and at most 1. What made small runs gain (small_recipe.md):
            0.85.
        ignore_from: Boxes with a lower score are dropped, above 0 and at most 1; 1 for no ignore band.
        min_count: Boxes, or pixels, of a class on val that a threshold must rest on, so that one lucky box does not
            decide.
    """

    precision: float = 0.85
    ignore_from: float = 0.1
    min_count: int = 5
    needs: ClassVar[tuple[Need, ...]] = ("val",)

    def __post_init__(self) -> None:
        """Refuse shares that are no shares."""
        _check_fraction("precision", self.precision)
        _check_fraction("ignore_from", self.ignore_from)
        if self.min_count < 1:
            raise ConfigError.expected("min_count", "at least 1", self.min_count)

    def __call__(self, evidence: Evidence) -> ScoreThresholds:
        """Return the thresholds of each class, from ``evidence.matched``.

        Raises:
            ConfigError: If there is no val.
        """
        matched = evidence.of_val()
        lowest = [self._lowest_score(matched.rows_of(label)) for label in range(len(evidence.classes))]
        keep = np.array(lowest, np.float32)
        return ScoreThresholds(keep, np.minimum(np.float32(self.ignore_from), keep))

    def _lowest_score(self, found: Matched) -> float:
        """Return the lowest score at which the precision of all of a class from there up is reached, or ``NEVER``."""
        assert found.counts is not None
        order = np.argsort(-found.scores, kind="stable")
        ranked, counts = found.scores[order].astype(np.float64), found.counts[order]
        total = np.cumsum(counts)
        # A threshold lets all of one score in together: only the last of equal scores is a place to cut.
        is_last = np.append(ranked[1:] < ranked[:-1], True)[: len(ranked)]
        reached = np.cumsum(counts * found.is_correct[order]) >= self.precision * total
        cuts = np.flatnonzero(reached & is_last & (total >= self.min_count))
        if len(cuts) == 0:
            return NEVER
        return float(ranked[cuts[-1]])


@dataclass(frozen=True)
class MatchedCounts:
    """Keep of each class as many boxes an image as people label: the rest of the store is as the labelled images are.

    The threshold of a class is the score that as many of the teacher's boxes reach on the unlabelled images as people's
    labels would be there, at the rate of the labelled images; of masks, as many pixels. So a class that the teacher is
    shy of is not starved, and needs no val (Chen et al., Label Matching Semi-Supervised Object Detection, CVPR 2022,
    arXiv 2206.06608). Boxes from there down to ``ignore_from`` are ignored, as with ``CalibratedThresholds``.

    It believes that both sets show the same things equally often. Where the unlabelled images are others, it keeps what
    is not there.

    Attributes:
        ratio: Boxes, or pixels, that are kept for each that people would label, above 0: below 1 for the surer ones
            among them alone.
        ignore_from: Boxes, or pixels, with a lower score are dropped, however few there are; above 0 and at most 1.
    """

    ratio: float = 1.0
    ignore_from: float = 0.1
    needs: ClassVar[tuple[Need, ...]] = ("labeled",)

    def __post_init__(self) -> None:
        """Refuse what keeps nothing."""
        if self.ratio <= 0:
            raise ConfigError.expected("ratio", "above 0", self.ratio)
        _check_fraction("ignore_from", self.ignore_from)

    def __call__(self, evidence: Evidence) -> ScoreThresholds:
        """Return the thresholds of each class, from ``evidence.labeled_rates`` and ``evidence.found``.

        Raises:
            ConfigError: If there are no labelled images.
        """
        found = evidence.found
        wanted = self.ratio * evidence.of_labeled() * found.total  # [C]
        kept = np.pad(found.from_level_up(), ((0, 0), (0, 1)))  # [C, L + 1]: from NEVER up there is none
        distance = np.abs(kept - wanted[:, None])
        nearest = distance.shape[1] - 1 - distance[:, ::-1].argmin(axis=1)  # of equal ones the highest score
        keep = np.maximum(np.append(found.levels, np.float32(NEVER))[nearest], np.float32(self.ignore_from))
        return ScoreThresholds(keep, np.full_like(keep, self.ignore_from))


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ConfigError.expected(name, "above 0 and at most 1", value)
