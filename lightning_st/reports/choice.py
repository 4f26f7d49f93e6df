"""Which images of an index a contact sheet shows, and in which order."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import ConfigError
from lightning_st.index import AnnotationIndex
from lightning_st.reports.overlays import BACKGROUND
from lightning_st.reports.pictures import BANDS, band_of, candidates

ORDERS = ("random", "class", "most", "fewest")
"""Of labels: a fixed shuffle; the classes in turn, so that rare ones show; most labels, or labelled pixels, first;
fewest first."""

STORE_ORDERS = ("bands", *ORDERS)
"""Of pseudo-labels: besides, by falling score band, as in the report."""


class Chosen(NamedTuple):
    """An image to show.

    Attributes:
        row: Its row in the index.
        box: The box that it was chosen for, counted from its image's first; None where it was not for one.
        group: The title above it; empty for none.
    """

    row: int
    box: int | None = None
    group: str = ""


def choose(
    index: AnnotationIndex,
    rows: NDArray[np.int64],
    is_shown: NDArray[np.bool_],
    order: str,
    count: int,
    class_name: str | None = None,
) -> list[Chosen]:
    """Choose images.

    Args:
        index: The images.
        rows: int64 [N], which of them may be chosen.
        is_shown: bool [M], which boxes count as labels.
        order: One of ``STORE_ORDERS``.
        count: How many at most.
        class_name: Only images with such a label, and only labels of this class are counted.

    Raises:
        ConfigError: If there is no such class.
    """
    counted = is_shown & _of_class(index, class_name)
    weights = counted * index.areas.astype(np.float64) if index.has_masks else counted.astype(np.float64)
    ends = np.concatenate([np.zeros(1), np.cumsum(weights)])
    counts = np.diff(ends[index.box_offsets])
    if order in ("bands", "class"):
        return _by_box(index, rows, counted if order == "class" else _of_class(index, class_name), order, count)
    if class_name is not None:
        rows = rows[counts[rows] > 0]
    if order == "random":
        rows = np.random.default_rng(0).permutation(rows)
    else:
        keys = counts[rows] if order == "fewest" else -counts[rows]
        rows = rows[np.argsort(keys, kind="stable")]
    return [Chosen(row) for row in rows[:count].tolist()]


def class_label(index: AnnotationIndex, name: str) -> int:
    """Return the label of a class.

    Raises:
        ConfigError: If there is no such class.
    """
    if name not in index.classes:
        raise ConfigError.unknown_choice("class", name, index.classes)
    return index.classes.index(name)


def _of_class(index: AnnotationIndex, name: str | None) -> NDArray[np.bool_]:
    """Return which boxes are of a class; of any but a mask's background where none is named."""
    if name is not None:
        return np.equal(index.labels, class_label(index, name))
    left_out = [label for label, known in enumerate(index.classes) if index.has_masks and known in BACKGROUND]
    return ~np.isin(index.labels, left_out)


def _by_box(
    index: AnnotationIndex, rows: NDArray[np.int64], counted: NDArray[np.bool_], order: str, count: int
) -> list[Chosen]:
    """Choose images for one of their counted boxes: bands and classes take turns, an image comes once."""
    places = np.flatnonzero(counted)
    offsets = np.searchsorted(places, index.box_offsets)
    # Where the order is by class, all boxes stand in one band.
    scores = index.scores[places] if order == "bands" else np.ones(len(places), np.float32)
    allowed = np.zeros(len(index), bool)
    allowed[rows] = True
    found: Iterator[tuple[int, int]] = (
        (row, int(places[box])) for row, box in candidates(scores, index.labels[places], offsets) if allowed[row]
    )
    chosen = [pair for pair, _ in zip(found, range(count), strict=False)]
    first = index.box_offsets
    if order == "class":
        return [Chosen(row, box - int(first[row])) for row, box in chosen]
    chosen.sort(key=lambda pair: (-index.scores[pair[1]], pair[1]))
    return [Chosen(row, box - int(first[row]), _band_title(float(index.scores[box]))) for row, box in chosen]


def _band_title(score: float) -> str:
    band = int(band_of(score))
    return f"Scores {BANDS[band]:.2f} to {BANDS[band + 1]:.2f}"
