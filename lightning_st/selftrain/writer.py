"""Writing pseudo-labels shard by shard, so that a labelling run that is cut loses one shard and no more.

    <folder>/shards/00000.index ...     while the run lasts; each appears at once, when it is finished
    <folder>/labels.index               all of them in the order of the images; then the shards are gone
    <folder>/manifest.json              written last, by the stage

Every file carries the fingerprint of the job that it belongs to: the teacher, the list of images, the settings. One of
another job, or one that cannot be read, counts as missing and is made anew.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import ConfigError, IndexFileError, StageError
from lightning_st.index import (
    AnnotationIndex,
    IndexWriter,
    encode_mask,
    merge_indexes,
    pixel_histogram,
    segments_of,
    to_hundredths,
)

LABELS_FILE = "labels.index"
PIXELS = "pixels"
"""What ``AnnotationIndex.source`` calls the pixels of each class at each confidence, in a store of masks."""

UNREADABLE = "unreadable_image"
"""Under which kind ``AnnotationIndex.problems`` counts the images that have no labels because they cannot be read."""


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """What the teacher found in one image, whatever its scores.

    Attributes:
        row: The image's row in the index of unlabelled images.
        width: Of the original image, pixels.
        height: Likewise.
        boxes: float32 [N, 4], xyxy in pixels of the original image.
        labels: int [N], class indices.
        scores: float32 [N], 0-1.
    """

    row: int
    width: int
    height: int
    boxes: NDArray[np.float32]
    labels: NDArray[Any]
    scores: NDArray[np.float32]

    def added(self) -> dict[str, Any]:
        """Return what ``IndexWriter.add`` takes besides where the image lies."""
        return {"boxes": self.boxes, "labels": self.labels, "scores": self.scores}


@dataclass(frozen=True, slots=True)
class MaskLabels:
    """What the teacher believes of every pixel of one image, compressed: a shard of bare masks would fill the memory.

    Attributes:
        row: The image's row in the index of unlabelled images.
        width: Of the original image, pixels.
        height: Likewise.
        mask: What ``index.encode_mask`` made of the mask and its confidence.
        segments: What ``index.segments_of`` says of them.
        pixels: int64 [C, 101], see ``pixel_histogram``.
    """

    row: int
    width: int
    height: int
    mask: bytes
    segments: Mapping[str, Any]
    pixels: NDArray[np.int64]

    @classmethod
    def of(cls, row: int, mask: NDArray[np.uint8], confidence: NDArray[np.floating], class_count: int) -> "MaskLabels":
        """Compress what a teacher believes: uint8 [H, W] class indices, and probabilities [H, W], 0-1."""
        steps = to_hundredths(confidence)
        pixels = pixel_histogram(mask, steps, class_count)
        encoded = encode_mask(mask, steps)
        return cls(row, mask.shape[1], mask.shape[0], encoded, segments_of(mask, steps), pixels)

    def added(self) -> dict[str, Any]:
        """Return what ``IndexWriter.add`` takes besides where the image lies."""
        return {"mask": self.mask, **self.segments}


def job_fingerprint(**inputs: Any) -> str:
    """Return the sha256 of all that pseudo-labels follow from, as plain values.

    Example:
        >>> job_fingerprint(teacher="ab12", images="cd34", flip=False)[:8]
        '54cde339'
    """
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


class PseudoLabelWriter:
    """Writes a store; any number of processes may write different shards of it at the same time.

    Attributes:
        folder: The store's folder.
        shard_count: How many shards the images make.
    """

    def __init__(
        self,
        folder: Path | str,
        images: AnnotationIndex,
        classes: Sequence[str],
        job: str,
        shard_size: int = 1024,
        rows: NDArray[Any] | None = None,
        class_ids: Sequence[int] | None = None,
    ) -> None:
        """Begin a store, or go on with one that was cut.

        Args:
            folder: The store's folder; made if it is not there.
            images: The images to label.
            classes: The teacher's classes.
            job: See ``job_fingerprint``.
            shard_size: Images in a shard.
            rows: int [N], which images of ``images``, in that order; None for all of them.
            class_ids: The ids that the labelled data give the classes, for an export.

        Raises:
            ConfigError: If ``shard_size`` is below 1.
        """
        if shard_size < 1:
            raise ConfigError.expected("shard_size", "at least 1", shard_size)
        self.folder = Path(folder)
        self._images = images
        self._classes = tuple(classes)
        self._class_ids = class_ids
        self._rows = np.arange(len(images)) if rows is None else np.asarray(rows, np.int64)
        self._shard_size = shard_size
        self._source = {"format": "pseudo", "root": images.root, "job": job}
        self.shard_count = -(-len(self._rows) // shard_size)

    def shard_rows(self, number: int) -> NDArray[np.int64]:
        """Return which images shard ``number`` holds, int64 [at most shard_size], rows of the index of images."""
        return self._rows[number * self._shard_size : (number + 1) * self._shard_size]

    def missing_shards(self, rank: int = 0, world_size: int = 1) -> list[int]:
        """Return the numbers of the shards that ``rank`` of ``world_size`` processes still has to write.

        Each shard belongs to one rank whatever the others have finished, so processes need not wait for each other.
        """
        if self._belongs(self.folder / LABELS_FILE):
            return []
        own = range(rank, self.shard_count, world_size)
        return [number for number in own if not self._belongs(self._shard_path(number))]

    def write_shard(
        self, number: int, found: Iterable[ImageLabels | MaskLabels], unreadable: Sequence[str] = ()
    ) -> None:
        """Write one shard; it appears when all of it is on the disk.

        Args:
            number: Of the shard.
            found: The labels of its images; an image that cannot be read is left out.
            unreadable: One line for each image that was left out.
        """
        pixels: list[NDArray[np.int64]] = []
        with IndexWriter(self._shard_path(number), self._classes, self._class_ids, self._source) as writer:
            for labels in found:
                image = self._images.image(labels.row)
                writer.add(
                    image.name,
                    labels.width,
                    labels.height,
                    image_id=image.image_id,
                    path=image.path,
                    offset=image.offset,
                    length=image.length,
                    **labels.added(),
                )
                if isinstance(labels, MaskLabels):
                    pixels = [labels.pixels + sum(pixels)]
            writer.source |= _pixels_said(pixels)
            if unreadable:
                writer.problems[UNREADABLE] = {"count": len(unreadable), "examples": list(unreadable[:10])}

    def merge(self) -> AnnotationIndex:
        """Join all shards into one index and remove them; one process does that, when all have written theirs.

        Raises:
            StageError: If a shard is missing, or there is no image at all.
        """
        if not self.shard_count:
            raise StageError(f"{self.folder}: there is no image to label. Check data.unlabeled.images.")
        missing = self.missing_shards()
        if missing:
            raise StageError(f"{self.folder}: {len(missing)} of {self.shard_count} shards are missing: {missing[:10]}.")
        labels = self.folder / LABELS_FILE
        if not self._belongs(labels):
            shards = [self._shard_path(number) for number in range(self.shard_count)]
            pixels = [np.array(source[PIXELS]) for source in map(_source_of, shards) if PIXELS in source]
            merge_indexes(shards, labels, self._source | _pixels_said(pixels))
        shutil.rmtree(self.folder / "shards", ignore_errors=True)
        return AnnotationIndex.open(labels)

    def _shard_path(self, number: int) -> Path:
        return self.folder / "shards" / f"{number:05d}.index"

    def _belongs(self, path: Path) -> bool:
        """Say whether ``path`` is a finished file of this job."""
        try:
            return _source_of(path).get("job") == self._source["job"]
        except IndexFileError:
            return False


def _source_of(path: Path) -> Mapping[str, Any]:
    return AnnotationIndex.open(path).source


def _pixels_said(histograms: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    """Return the sum of some histograms, [C, 101] each, as a source says it; nothing where there is none."""
    return {PIXELS: np.sum(histograms, axis=0).tolist()} if histograms else {}
