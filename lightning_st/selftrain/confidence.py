"""Confidence rules: which of a teacher's boxes, or pixels, a student may learn from.

A rule is called with what the teacher's predictions on val were worth, and answers with thresholds for each class:

    rule(class_count, matched) -> ScoreThresholds

A fixed score is not a fixed operating point: at 0.5 one teacher's boxes are right in 93 of 100 cases and it finds a
fifth of the objects, another's in 79 and it finds two thirds (facts: small_recipe.md). `CalibratedThresholds` asks val
instead.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lightning_st.errors import ConfigError
from lightning_st.selftrain.matching import Matched
from lightning_st.types import ScoreThresholds

NEVER = 2.0
"""A threshold that no score reaches: the class is not trusted at all."""


class ConfidenceRule(Protocol):
    """What a rule of one's own has to look like."""

    needs_validation: bool
    """True where ``matched`` may not be None."""

    def __call__(self, class_count: int, matched: Matched | None = None) -> ScoreThresholds:
        """Return the thresholds of ``class_count`` classes."""


@dataclass(frozen=True)
class HardThreshold:
    """The paper's rule: keep a box with ``score >= 0.5``, drop every other (paper.md, section 1).

    Attributes:
        score: The threshold, above 0 and at most 1.
    """

    score: float = 0.5
    needs_validation = False

    def __post_init__(self) -> None:
        """Refuse a score that is no probability."""
        _check_fraction("score", self.score)

    def __call__(self, class_count: int, matched: Matched | None = None) -> ScoreThresholds:
        """Return the same threshold for each of ``class_count`` classes; ``matched`` is not needed.

        Example:
            >>> HardThreshold(0.5)(2).keep
            array([0.5, 0.5], dtype=float32)
        """
        return ScoreThresholds.uniform(class_count, self.score)


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
    needs_validation = True

    def __post_init__(self) -> None:
        """Refuse shares that are no shares."""
        _check_fraction("precision", self.precision)
        _check_fraction("ignore_from", self.ignore_from)
        if self.min_count < 1:
            raise ConfigError.expected("min_count", "at least 1", self.min_count)

    def __call__(self, class_count: int, matched: Matched | None = None) -> ScoreThresholds:
        """Return the thresholds of ``class_count`` classes.

        Args:
            class_count: Number of classes.
            matched: The teacher's boxes on val, with whether each is right.

        Raises:
            ConfigError: If ``matched`` is None.
        """
        if matched is None:
            raise ConfigError(
                "Calibrated thresholds need labelled val images to measure precision on. Give data.val.images and "
                "data.val.annotations, or use the rule 'hard'."
            )
        keep = np.full(class_count, NEVER, np.float32)
        for label in range(class_count):
            keep[label] = self._lowest_score(matched.rows_of(label))
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


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ConfigError.expected(name, "above 0 and at most 1", value)
