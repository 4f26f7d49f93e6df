"""What is found where a source points: one opened set of images, and what can be said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.data.source import Source
from lightning_st.errors import ConfigError, DataError, TooManyBadError
from lightning_st.index import (
    AnnotationIndex,
    build_index,
    common_images,
    excluded_rows,
    fold_rows,
    nested_subset,
    same_image_rows,
    says_labels,
)
from lightning_st.types import BoxKind, ScoreThresholds, TargetName

_MOST_LABELS = 50
"""The last bin of the histogram of labels for each image: this many and more."""


@dataclass(frozen=True)
class Split:
    """One set of images, opened.

    Attributes:
        name: "labeled", "unlabeled", "val", "test", "joint" or "pseudo".
        index: The images.
        rows: int64 [N], which of them belong to the set, ascending.
        thresholds: Which boxes, or pixels, are shown, for pseudo-labels.
        target: What is learnt of the images.
    """

    name: str
    index: AnnotationIndex
    rows: NDArray[np.int64]
    thresholds: ScoreThresholds | None = None
    target: TargetName = "boxes"

    @classmethod
    def open(
        cls,
        name: str,
        source: Source,
        seed: int = 0,
        cache_folder: str | Path | None = None,
        max_bad_fraction: float = 0.01,
        target: TargetName = "boxes",
    ) -> "Split":
        """Open a source, its index built if the cache does not have it.

        Args:
            name: See ``Split``.
            source: Where the images are.
            seed: Of the subset, where the source asks for a fraction.
            cache_folder: Where indexes are kept; in the user's cache folder where missing.
            max_bad_fraction: Of the boxes, or masks, that cannot be used, 0-1.
            target: Which labels are read.

        Raises:
            ConfigError: If labels are missing, or given for unlabelled images.
            DataError: If it has no image, or something in it is wrong.
            TooManyBadError: If too many boxes cannot be used.
        """
        assert source.images is not None
        is_labeled = name != "unlabeled"
        annotations, format_name = _labels_of(source, name, target)
        index = build_index(
            source.images,
            annotations,
            format_name,
            source.list,
            cache_folder,
            labeled=is_labeled,
            options=source.options(name),
        )
        rows = _chosen_rows(index, source, seed)
        if source.exclude is not None and not source.is_the_rest(name):
            rows = np.setdiff1d(rows, excluded_rows(index, source.exclude))
        if not len(rows):
            raise DataError(f"{source.images}: there is no image (data.{name}).")
        refuse_too_many(index, target, max_bad_fraction)
        return cls(name, index, rows, target=target)

    def without(self, other: "Split") -> "Split":
        """Return this set without the images of another.

        Raises:
            DataError: If none is left.
        """
        found = same_image_rows(self.index, other.index)[self.rows]
        rows = self.rows[~np.isin(found, other.rows)]
        if not len(rows):
            raise DataError(f"{self.index.root}: every image of data.{self.name} is one of data.{other.name}.")
        return replace(self, rows=rows)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def fingerprint(self) -> str:
        """Return the sha256 of what the set says: its images, labels and thresholds, not where they lie."""
        digest = sha256(self.index.fingerprint.encode())
        digest.update(np.ascontiguousarray(self.rows, "<i8").tobytes())
        if self.thresholds is not None:
            digest.update(repr(self.thresholds.to_json()).encode())
        return digest.hexdigest()

    def label_counts(self) -> NDArray[np.int64]:
        """Return the number of objects in each image of the index, int64 [number of images]."""
        running = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._is_object())])
        return np.diff(running[self.index.box_offsets])

    def statistics(self) -> dict[str, Any]:
        """Count images and labels.

        Returns:
            "images"; and where there can be labels "labels", "labels_by_class" (by name), "labels_per_image": how many
            images have 0, 1 ... 49, 50 and more labels, and "problems": see ``AnnotationIndex``. Crowd regions and
            boxes in the ignore band are no labels. Of masks a label is a class that an image shows, and there are
            "pixels_by_class" (by name) besides.
        """
        if not self.index.is_labeled:
            return {"images": len(self)}
        counts = self.label_counts()[self.rows]
        in_set = np.zeros(len(self.index), bool)
        in_set[self.rows] = True
        counted = self._is_object() & np.repeat(in_set, np.diff(self.index.box_offsets))
        by_class = np.bincount(self.index.labels[counted], minlength=len(self.index.classes))
        statistics: dict[str, Any] = {
            "images": len(self),
            "labels": int(counts.sum()),
            "labels_by_class": dict(zip(self.index.classes, by_class.tolist(), strict=True)),
            "labels_per_image": np.bincount(counts.clip(max=_MOST_LABELS), minlength=_MOST_LABELS + 1).tolist(),
            "problems": self.index.problems,
        }
        if self.target == "masks":
            areas = self.index.areas[counted].astype(np.float64)  # float32 counts to 2**24 only
            pixels = np.bincount(self.index.labels[counted], areas, minlength=len(self.index.classes))
            statistics["pixels_by_class"] = dict(zip(self.index.classes, pixels.astype(int).tolist(), strict=True))
        return statistics

    def class_map(self, classes: Sequence[str]) -> NDArray[np.int64] | None:
        """Return what each class of this set is among ``classes``, int64 [C]; None where both lists are the same.

        Raises:
            DataError: If this set has a class that ``classes`` has not.
        """
        own = self.index.classes
        if own == tuple(classes) or not self.index.is_labeled:
            return None
        unknown = [name for name in own if name not in classes]
        if unknown:
            raise DataError(
                f"data.{self.name} has classes that data.labeled does not have: {', '.join(unknown)}. "
                f"data.labeled has: {', '.join(classes)}."
            )
        return np.array([list(classes).index(name) for name in own], np.int64)

    def _is_object(self) -> NDArray[np.bool_]:
        """Return which boxes of the index are learnt as objects, bool [M]."""
        is_object = ~self.index.crowd
        if self.thresholds is not None:
            is_object &= self.thresholds.kinds(self.index.labels, self.index.scores) == BoxKind.OBJECT
        return is_object


def _chosen_rows(index: AnnotationIndex, source: Source, seed: int) -> NDArray[np.int64]:
    """Return the rows of the images that a source's fraction, or fold, leaves; int64, ascending."""
    if source.split_file is None:
        return nested_subset(index, source.fraction, seed)
    assert source.annotations is not None
    fold = seed if source.fold is None else source.fold
    return fold_rows(index, Path(source.annotations), Path(source.split_file), source.fraction, fold)


def _labels_of(source: Source, name: str, target: TargetName) -> tuple[str | None, str | None]:
    """Return where the labels are, and their format; None each where that is for what lies there to say.

    Raises:
        ConfigError: If they are missing, or given where they have no place.
    """
    assert source.images is not None
    keys = {f"data.{name}.annotations": source.annotations, f"data.{name}.masks": source.masks}
    annotations_key, masks_key = keys
    if name == "unlabeled":
        for key, value in keys.items():
            if value is not None:
                raise ConfigError.expected(key, "left out: an unlabelled image has none", value)
        return None, source.format
    if target == "boxes":
        if source.masks is not None:
            advice = "A model of boxes is learnt; SemanticSegmenter learns masks."
            raise ConfigError.expected(masks_key, "left out", source.masks, advice)
        if source.annotations is None and not says_labels(source.images, source.format):
            raise ConfigError.expected(annotations_key, "the file of the labels", None)
        return source.annotations, source.format
    return _masks_of(source, name) if target == "masks" else _classes_of(source, name)


def _masks_of(source: Source, name: str) -> tuple[str | None, str]:
    """Return where the masks are, and the format that reads them; see ``_labels_of``."""
    masks_key, annotations_key = f"data.{name}.masks", f"data.{name}.annotations"
    if source.annotations is not None:
        advice = f"Masks are learnt: {masks_key}. data.{name}.list chooses images, also by a COCO JSON."
        raise ConfigError.expected(annotations_key, "left out", source.annotations, advice)
    if source.format not in (None, "voc"):
        raise ConfigError.expected(f"data.{name}.format", "left out, as masks are learnt", source.format)
    assert source.images is not None
    if source.masks is None and not says_labels(source.images, "masks"):
        raise ConfigError.expected(masks_key, "a folder of masks named as the images", None)
    return source.masks, "masks"


def _classes_of(source: Source, name: str) -> tuple[None, str]:
    """Return the format that reads the classes of whole images, which lie nowhere else; see ``_labels_of``."""
    advice = "The classes of whole images are learnt: the folders that the images lie in."
    for key in ("annotations", "masks", "format"):
        if getattr(source, key) is not None:
            raise ConfigError.expected(f"data.{name}.{key}", "left out", getattr(source, key), advice)
    return None, "classes"


def is_too_many(bad: int, count: int, max_bad_fraction: float) -> bool:
    """Say whether ``bad`` of ``count`` things are more than the user allows.

    A single one is always allowed, unless the fraction is 0: one bad image among 22 shall not end a run.
    """
    return bad > (max(1, int(max_bad_fraction * count)) if max_bad_fraction > 0 else 0)


def refuse_too_many(index: AnnotationIndex, target: TargetName, max_bad_fraction: float) -> None:
    """Stop if more boxes, or masks, of an index cannot be used than the user allows.

    Raises:
        TooManyBadError: With the first of them.
    """
    bad, total = index.bad_box_count, index.box_count_read
    if is_too_many(bad, total, max_bad_fraction):
        lines = [line for problem in index.problems.values() for line in problem["examples"]]
        raise TooManyBadError(target, lines, bad, total, max_bad_fraction)


def refuse_leaks(splits: Mapping[str, Split]) -> None:
    """Stop if images that judge a model also train it.

    Raises:
        DataError: With the number of images and the first of them.
    """
    for judge in (splits[name] for name in ("val", "test") if name in splits):
        for trained in (splits[name] for name in ("labeled", "unlabeled", "pseudo", "joint") if name in splits):
            _, shared = common_images(judge.index, trained.index)
            shared = np.intersect1d(shared, trained.rows)
            if len(shared):
                raise DataError(
                    f"{len(shared)} images of data.{trained.name} are also in data.{judge.name}, such as "
                    f"{trained.index.name(int(shared[0]))}. A score on images that were trained on says nothing: "
                    f"leave them out, with data.{trained.name}.list or data.{judge.name}.list, or with the file that "
                    f"`lightning_st check --exclude FILE` writes as data.{trained.name}.exclude."
                )


def class_source(splits: Mapping[str, Split]) -> Split:
    """Return the set whose classes count: the labelled one, else val or test.

    Raises:
        ConfigError: If there is none of these.
    """
    for name in ("labeled", "val", "test"):
        if name in splits:
            return splits[name]
    advice = "The names of the classes come from there."
    raise ConfigError.expected("data.labeled.images (or val, or test)", "given", None, advice)
