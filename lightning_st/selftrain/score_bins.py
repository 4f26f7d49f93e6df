"""Whether a teacher is as sure as it is right: a reliability diagram, and its one number."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_st.selftrain.matching import Matched

BIN_COUNT = 10
"""Bins of the scores, each a tenth wide."""


@dataclass(frozen=True)
class ScoreBins:
    """What the labels of val with scores from one tenth to the next are worth.

    Attributes:
        counts: int64 [B], boxes, or pixels, in each bin.
        mean_scores: float64 [B], their mean score; NaN where there is none.
        shares_right: float64 [B], the share of them that is right; NaN where there is none.
    """

    counts: NDArray[np.int64]
    mean_scores: NDArray[np.float64]
    shares_right: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error, 0-1: the mean distance of score and share over all labels; NaN of none.

        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv 1706.04599, section 2.
        """
        if not self.counts.any():
            return float("nan")
        distances = np.nan_to_num(np.abs(self.mean_scores - self.shares_right))
        return float(np.average(distances, weights=self.counts))


def bin_scores(matched: Matched, label: int | None = None) -> ScoreBins:
    """Return the bins of one class, or of all together.

    Example:
        >>> matched = Matched(np.zeros(2, int), np.float32([0.75, 0.8]), np.array([True, False]), np.array([1]))
        >>> [bin_scores(matched).counts[7:9].tolist(), round(bin_scores(matched).error, 3)]
        [[1, 1], 0.525]
    """
    is_counted = np.ones(len(matched.labels), bool) if label is None else matched.labels == label
    scores, is_right = matched.scores[is_counted].astype(np.float64), matched.is_correct[is_counted]
    weights = np.ones(len(scores)) if matched.counts is None else matched.counts[is_counted].astype(np.float64)
    # In float32, as scores are: 0.3 and 0.7 are stored as a little more and a little less.
    edges = (np.arange(1, BIN_COUNT) / BIN_COUNT).astype(np.float32)
    bins = np.searchsorted(edges, matched.scores[is_counted], side="right")
    counts, sums, right = (
        np.bincount(bins, values, BIN_COUNT) for values in (weights, weights * scores, weights * is_right)
    )
    with np.errstate(invalid="ignore"):
        return ScoreBins(counts.astype(np.int64), sums / counts, right / counts)
