"""Images that stand twice: the same bytes, or the same picture saved again, in one set or in two."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightning_st.checks.hamming import close_pairs
from lightning_st.checks.perceptual import LEAST_CORRELATION, LEAST_SPREAD, RADIUS, correlation, spread
from lightning_st.checks.scan import Scan
from lightning_st.data import Split

_CHUNK = 1 << 14  # thumbnails that are compared at once


@dataclass(frozen=True)
class Twins:
    """The images of one set that stand in another too, or earlier in their own.

    Attributes:
        first: The one set.
        second: The other; the same where a set is compared with itself.
        rows: int64 [N], rows of the index of ``first``, ascending.
        twins: int64 [N], the row of each one's twin in the index of ``second``.
        exact: bool [N], whether the two have the same bytes; else they only look alike.
        total: The images of ``first`` that were compared.
    """

    first: Split
    second: Split
    rows: NDArray[np.int64]
    twins: NDArray[np.int64]
    exact: NDArray[np.bool_]
    total: int

    def of_kind(self, exact: bool) -> "Twins":
        """Return those with the same bytes, or those that only look alike."""
        chosen = self.exact == exact
        return replace(self, rows=self.rows[chosen], twins=self.twins[chosen], exact=self.exact[chosen])

    def line(self, number: int) -> str:
        """Return the names of one pair."""
        image, twin = self.first.index.name(int(self.rows[number])), self.second.index.name(int(self.twins[number]))
        return f"{image} = {twin} of {self.second.name}"


class Copies:
    """Finds the images of one scanned set in others; what it needs of a set is worked out once."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self._content = scan.column("content")
        self._readable = scan.readable()
        # The first image with each content stands for all of them: a thousand copies of one are compared once.
        values, first, self._group = np.unique(self._content, return_index=True, return_inverse=True)
        self._sorted, self._first_of_group = values, first
        is_first = np.zeros(len(scan), bool)
        is_first[first] = True
        self._textured = np.flatnonzero(is_first & self._readable)
        self._textured = self._textured[self._spreads(self._textured) >= LEAST_SPREAD]
        self._hashes = scan.column("hash")[self._textured]

    def find(self, other: "Copies", advance: Callable[[], None] = lambda: None) -> Twins:
        """Return which images of this set have a twin in ``other``; in itself, an earlier one.

        Images that cannot be read have none that only looks alike.

        Args:
            other: The set to search, or this one.
            advance: Called now and then while it searches.
        """
        twins = self._same_bytes(other)
        exact = twins >= 0
        alike = self._look_alike(other, exact, advance)
        twins = np.where(exact, twins, alike)
        images = np.flatnonzero(twins >= 0)
        first, second = self.scan, other.scan
        found = second.rows[twins[images]]
        return Twins(first.split, second.split, first.rows[images], found, exact[images], len(first))

    def _spreads(self, images: NDArray[np.int64]) -> NDArray[np.float32]:
        parts = [spread(self.scan.thumbs_of(images[start : start + _CHUNK])) for start in range(0, len(images), _CHUNK)]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def _same_bytes(self, other: "Copies") -> NDArray[np.int64]:
        """Return for each image the first of ``other`` with the same bytes, -1 where there is none, int64 [N]."""
        if other is self:
            first = self._first_of_group[self._group]
            return np.where((first < np.arange(len(first))) & (self._content != 0), first, -1)
        places = np.searchsorted(other._sorted, self._content).clip(max=max(0, len(other._sorted) - 1))
        if not len(other._sorted):
            return np.full(len(self._content), -1)
        found = (other._sorted[places] == self._content) & (self._content != 0)  # 0: a file that is not there
        return np.where(found, other._first_of_group[places], -1)

    def _look_alike(self, other: "Copies", exact: NDArray[np.bool_], advance: Callable[[], None]) -> NDArray[np.int64]:
        """Return for each image the one of ``other`` that looks most like it, -1 where none does, int64 [N]."""
        best = np.full(len(self.scan), -1)
        likeness = np.full(len(self.scan), np.float32(LEAST_CORRELATION))
        asked = self._textured if other is self else self._textured[~exact[self._textured]]
        hashes = self._hashes if other is self else self._hashes[~exact[self._textured]]
        for pairs in close_pairs(hashes, other._hashes, RADIUS):
            images, twins = asked[pairs.queries], other._textured[pairs.found]
            if other is self:
                images, twins = images[twins < images], twins[twins < images]
            for start in range(0, len(images), _CHUNK):
                part = slice(start, start + _CHUNK)
                self._keep_best(other, images[part], twins[part], best, likeness)
            advance()
        stands_for = self._first_of_group[self._group]
        copies: NDArray[np.int64] = best[stands_for]  # what looks like the first of a content looks like all of it
        return copies

    def _keep_best(
        self,
        other: "Copies",
        images: NDArray[np.int64],
        twins: NDArray[np.int64],
        best: NDArray[np.int64],
        likeness: NDArray[np.float32],
    ) -> None:
        """Take each pair whose thumbnails agree, and more than those of an earlier pair of the same image."""
        found = correlation(self.scan.thumbs_of(images), other.scan.thumbs_of(twins))
        order = np.lexsort((-twins, found))  # of several the best comes last, and of equals the first image
        images, twins, found = images[order], twins[order], found[order]
        better = found > likeness[images]
        best[images[better]], likeness[images[better]] = twins[better], found[better]
