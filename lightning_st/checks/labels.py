"""What is odd about labels, from the columns of the index alone: no image is read."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lightning_st.checks.findings import EXAMPLE_COUNT, Finding, Severity, counted, part_of
from lightning_st.data import Split
from lightning_st.data.split import is_too_many
from lightning_st.index import AnnotationIndex

_LEAST_PIXELS = 2
"""Sides of a box at data.image_size below which no detector sees it: an eighth of its finest cell."""

_WHOLE = 0.99
"""A box is taken for one around the whole image from this part of its area on."""

_MANY_IGNORED = 0.5
_USED = {"clipped": "partly outside of their image: the part inside is used"}
_LEFT_OUT = {
    "no_area": "without area",
    "outside": "outside of their image",
    "not_finite": "with coordinates that are no numbers",
    "unreadable_mask": "that cannot be read",
}


def label_findings(split: Split, image_size: tuple[int, int], max_bad_fraction: float) -> Iterator[Finding]:
    """Yield what is odd about the labels of a set.

    Args:
        split: The set; of one without labels nothing is said.
        image_size: (height, width) of a batch.
        max_bad_fraction: Of boxes, or masks, that cannot be used, beyond which a training is refused.
    """
    if not split.index.is_labeled:
        return
    yield from _images_without(split)
    yield from left_out(split, max_bad_fraction)
    if split.target == "masks":
        yield from _ignored_pixels(split)
    elif split.target == "boxes":  # a whole image's class has none
        yield from _odd_boxes(split, image_size)


def ignored_part(split: Split) -> float:
    """Return the part (0-1) of the pixels of the masks of a set that nothing is said of."""
    index = split.index
    total = (index.widths.astype(np.int64) * index.heights)[split.rows].sum()
    said = index.areas[boxes_of(split)].astype(np.float64).sum()
    return float(1 - said / total) if total else 0.0


def class_counts(split: Split) -> NDArray[np.int64]:
    """Return the number of labels of each class, int64 [C]; of masks the number of images that show it."""
    labels = split.index.labels[boxes_of(split) & ~split.index.crowd]
    return np.bincount(labels, minlength=len(split.index.classes))


def boxes_of(split: Split) -> NDArray[np.bool_]:
    """Return which boxes of its index belong to a set, bool [M]."""
    in_set = np.zeros(len(split.index), bool)
    in_set[split.rows] = True
    return np.repeat(in_set, np.diff(split.index.box_offsets))


def _images_without(split: Split) -> Iterator[Finding]:
    counts = split.label_counts()[split.rows]
    without = split.rows[counts == 0]
    if not len(without):
        return
    severity: Severity = "warning" if len(without) > len(split) / 2 else "info"
    advice = "They are learnt as background: check that nothing was forgotten."
    if len(without) == len(split):
        severity, advice = "error", "Give the annotations of these images: nothing can be learnt, or judged."
    text = f"{counted(len(without), 'image')} ({part_of(len(without), len(split))}) without a label."
    yield _about(split, severity, "images_without_labels", without, len(split), text, advice)


def left_out(split: Split, max_bad_fraction: float) -> Iterator[Finding]:
    """Yield which labels of a set cannot be used, or only in part; see ``label_findings``."""
    index, thing = split.index, "mask" if split.target == "masks" else "box"
    too_many = is_too_many(index.bad_box_count, index.box_count_read, max_bad_fraction)
    for kind, problem in index.problems.items():
        is_used = kind in _USED
        what = _USED.get(kind) or f"{_LEFT_OUT.get(kind, kind.replace('_', ' '))}: left out"
        advice = "" if is_used else "Mend them in the annotations."
        if too_many and not is_used:
            advice = f"Mend them: a training is refused at more than data.max_bad_fraction={max_bad_fraction:g}."
        yield Finding(
            "info" if is_used else "error" if too_many else "warning",
            f"{kind}_{thing}es" if thing == "box" else kind,
            split.name,
            problem["count"],
            index.box_count_read,
            f"{counted(problem['count'], thing)} {what}.",
            problem["examples"][:EXAMPLE_COUNT],
            advice,
        )


def _ignored_pixels(split: Split) -> Iterator[Finding]:
    part = ignored_part(split)
    if part > _MANY_IGNORED:
        text = f"{part:.0%} of the pixels of the masks of data.{split.name} are ignored."
        advice = "Check data.*.ignore_index, and that the value of a class is not 255."
        yield Finding("warning", "ignored_pixels", split.name, len(split), len(split), text, advice=advice)


def _odd_boxes(split: Split, image_size: tuple[int, int]) -> Iterator[Finding]:
    index, in_set = split.index, boxes_of(split)
    rows = np.repeat(np.arange(len(index)), np.diff(index.box_offsets))
    height, width = (side[rows].astype(np.float32) for side in (index.heights, index.widths))
    box_width, box_height = (index.boxes[:, 2] - index.boxes[:, 0]), (index.boxes[:, 3] - index.boxes[:, 1])
    known = in_set & (height > 0) & (width > 0)
    scale = np.minimum(image_size[0] / height.clip(min=1), image_size[1] / width.clip(min=1))
    tiny = known & (np.minimum(box_width, box_height) * scale < _LEAST_PIXELS)
    whole = known & (box_width * box_height >= _WHOLE * width * height) & ~index.crowd
    double = _doubles(index, rows, in_set)
    total = int(in_set.sum())
    small = f"narrower than {_LEAST_PIXELS} pixels at data.image_size {image_size[0]} x {image_size[1]}"
    twice = "drawn twice: the same box of the same class in the same image"
    rules: list[tuple[NDArray[np.bool_], Severity, str, str, str]] = [
        (tiny, "warning", "tiny_boxes", small, "Choose a larger data.image_size, cut images into tiles, or drop them."),
        (double, "warning", "double_boxes", twice, "Remove the copies: each object counts as two."),
        (whole, "info", "whole_image_boxes", "around the whole image", "Check that they are no defaults of a tool."),
    ]
    for odd, severity, kind, what, advice in rules:
        boxes = np.flatnonzero(odd)
        if len(boxes):
            text = f"{counted(len(boxes), 'box')} ({part_of(len(boxes), total)}) {what}."
            examples = [_box_line(index, int(rows[box]), int(box)) for box in boxes[:EXAMPLE_COUNT]]
            yield Finding(severity, kind, split.name, len(boxes), total, text, examples, advice)


def _doubles(index: AnnotationIndex, rows: NDArray[np.int64], in_set: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which boxes repeat an earlier one of their image, bool [M]: the last of several copies are meant.

    A box is mixed to 64 bits with its class and image, since sorting millions of rows of six columns takes minutes.
    """
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + index.labels.astype(np.uint64)
    for corner in range(4):
        bits = np.ascontiguousarray(index.boxes[:, corner]).view(np.uint32).astype(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) + bits
    order = np.argsort(mixed, kind="stable")
    repeats = np.zeros(len(mixed), bool)
    repeats[order[1:]] = mixed[order[1:]] == mixed[order[:-1]]
    return repeats & in_set


def _box_line(index: AnnotationIndex, row: int, box: int) -> str:
    left, top, right, bottom = index.boxes[box].tolist()
    name = index.classes[index.labels[box]]
    return f"{index.name(row)}: {name} at ({left:g}, {top:g}), {right - left:g} x {bottom - top:g} pixels"


def _about(
    split: Split, severity: Severity, kind: str, rows: NDArray[np.int64], total: int, text: str, advice: str
) -> Finding:
    examples = [split.index.name(int(row)) for row in rows[:EXAMPLE_COUNT]]
    return Finding(severity, kind, split.name, len(rows), total, text, examples, advice)
