"""What a confidence rule is told: what the teacher's labels on val were worth, and how many it made of what scores."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import ConfigError
from lightning_st.index import CONFIDENCE_STEPS, AnnotationIndex
from lightning_st.selftrain.matching import Matched
from lightning_st.selftrain.writer import PIXELS

Need = Literal["val", "labeled"]
"""A set of images that people labelled, which a rule goes by."""

NEEDED: dict[Need, str] = {
    "val": "The confidence rule measures precision on labelled val images. Give data.val.images and their labels, or a "
    "rule that does without: --pseudo_label.score_threshold, with --pseudo_label.min_recall 0.",
    "labeled": "The confidence rule counts what people labelled. Give data.labeled.images and their labels, or a rule "
    "that does without: --pseudo_label.score_threshold.",
}
"""What to say where it is missing."""

# Boxes are counted by the first bits of their scores as they lie in memory: float32 above 0 are ordered as their bits
# are. So levels are 1/512 apart below 1, 1/1024 below 1/2, and so on: as fine for a teacher that is never sure.
_DROPPED_BITS = 14
_LOWEST_BITS = int(np.float32(2**-12).view(np.uint32)) >> _DROPPED_BITS
_HIGHEST_BITS = int(np.float32(1).view(np.uint32)) >> _DROPPED_BITS
_BOX_LEVELS = np.append(
    np.float32(0), (np.arange(_LOWEST_BITS, _HIGHEST_BITS + 1, dtype=np.uint32) << _DROPPED_BITS).view(np.float32)
)
_BOXES_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class ScoreCounts:
    """How many labels a teacher made of each class and score: all of a store in some megabytes, however large it is.

    Attributes:
        levels: float32 [L], scores, ascending from 0.
        counts: int64 [C, L], boxes, or pixels, with a score from a level up to the next.
        total: What a rate is of: the images; of masks their pixels.
    """

    levels: NDArray[np.float32]
    counts: NDArray[np.int64]
    total: int

    def from_level_up(self) -> NDArray[np.int64]:
        """Return how many of each class have at least the score of each level, int64 [C, L]."""
        return self.counts[:, ::-1].cumsum(axis=1)[:, ::-1]


@dataclass(frozen=True)
class Evidence:
    """All that is known when a teacher has labelled and nothing is chosen yet.

    Attributes:
        classes: Their names, in the order of the labels.
        found: What the teacher found on the unlabelled images, at all scores.
        matched: Its labels on val, each right or wrong; None without val.
        labeled_rates: float64 [C], objects of each class that people labelled in an image, on average; of masks the
            share of pixels. None without labelled images.
    """

    classes: tuple[str, ...]
    found: ScoreCounts
    matched: Matched | None = None
    labeled_rates: NDArray[np.float64] | None = None

    def of_val(self) -> Matched:
        """Return ``matched``.

        Raises:
            ConfigError: If there is no val.
        """
        if self.matched is None:
            raise ConfigError(NEEDED["val"])
        return self.matched

    def of_labeled(self) -> NDArray[np.float64]:
        """Return ``labeled_rates``.

        Raises:
            ConfigError: If there are no labelled images.
        """
        if self.labeled_rates is None:
            raise ConfigError(NEEDED["labeled"])
        return self.labeled_rates


def count_scores(index: AnnotationIndex) -> ScoreCounts:
    """Count the labels of a store by class and score, a part of it at a time.

    Args:
        index: Of a store. One of masks has counted its pixels already, in hundredths.
    """
    if PIXELS in index.source:
        pixels = np.array(index.source[PIXELS], np.int64)
        levels = np.arange(CONFIDENCE_STEPS + 1, dtype=np.float32) / np.float32(CONFIDENCE_STEPS)
        return ScoreCounts(levels, pixels, int(pixels.sum()))
    counts = np.zeros(len(index.classes) * len(_BOX_LEVELS), np.int64)
    for start in range(0, len(index.scores), _BOXES_AT_ONCE):
        part = slice(start, start + _BOXES_AT_ONCE)
        cells = index.labels[part].astype(np.int64) * len(_BOX_LEVELS) + level_of(index.scores[part])
        counts += np.bincount(cells, minlength=len(counts))
    return ScoreCounts(_BOX_LEVELS, counts.reshape(len(index.classes), -1), len(index))


def level_of(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the number of the highest level that each score (0-1) of a box reaches, int64.

    Example:
        >>> _BOX_LEVELS[level_of(np.array([0.0, 0.5, 0.7501, 1.0], np.float32))].tolist()
        [0.0, 0.5, 0.75, 1.0]
    """
    bits = np.ascontiguousarray(scores, np.float32).view(np.uint32) >> _DROPPED_BITS
    return (bits.astype(np.int64) - (_LOWEST_BITS - 1)).clip(min=0)
