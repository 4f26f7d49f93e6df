"""What the JSON files of a run have to look like, so that one that was edited is refused and not believed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from lightning_st.errors import quoted

_BEYOND = 1e30  # no number of a run is as large


@dataclass(frozen=True)
class Leaf:
    """A single value: what is accepted, and how to say that."""

    accepts: Callable[[Any], bool]
    expected: str


@dataclass(frozen=True)
class ListOf:
    """A list of values of one shape."""

    shape: "Shape"


@dataclass(frozen=True)
class Each:
    """A group of keys of any name, such as those of classes, with values of one shape."""

    shape: "Shape"


@dataclass(frozen=True)
class Record:
    """A group of keys that are known; others may be there too, and all but the required ones may be missing.

    Lists that are aligned have the same length.
    """

    fields: Mapping[str, "Shape"]
    required: tuple[str, ...] = ()
    aligned: tuple[str, ...] = ()


Shape: TypeAlias = Leaf | ListOf | Each | Record


def misfit(value: Any, shape: Shape, where: str = "") -> str | None:
    """Return what is wrong with a value of a JSON file, None where nothing is.

    Example:
        >>> misfit({"splits": {"val": {"AP": "high"}}}, EVALUATION)
        "splits.val.AP: expected a number or null, got 'high'"
    """
    if isinstance(shape, Leaf):
        return None if shape.accepts(value) else _said(where, shape.expected, value)
    inner: list[tuple[str, Any, Shape]]
    if isinstance(shape, ListOf):
        if not isinstance(value, list):
            return _said(where, "a list", value)
        inner = [(f"{where}[{place}]", each, shape.shape) for place, each in enumerate(value)]
    else:
        if not isinstance(value, dict):
            return _said(where, "a group of keys", value)
        prefix = f"{where}." if where else ""
        if isinstance(shape, Record):
            missing = [key for key in shape.required if key not in value]
            if missing:
                return f"{prefix}{missing[0]} is missing"
            inner = [(prefix + key, value[key], inside) for key, inside in shape.fields.items() if key in value]
        else:
            inner = [(prefix + key, each, shape.shape) for key, each in value.items()]
    found = next((found for name, each, inside in inner if (found := misfit(each, inside, name))), None)
    if (
        found is None
        and isinstance(shape, Record)
        and len({len(value[key]) for key in shape.aligned if key in value}) > 1
    ):
        return f"{where}: expected {', '.join(shape.aligned)} to be as long as each other"
    return found


def _said(where: str, expected: str, value: Any) -> str:
    return f"{where or 'the file'}: expected {expected}, got {quoted(value)}"


def _is_number(value: Any) -> bool:
    # Not NaN or infinite, which JSON does not have, though Python reads 1e999 as such.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _BEYOND


TEXT = Leaf(lambda value: isinstance(value, str), "a text")
NUMBER = Leaf(_is_number, "a number")
COUNT = Leaf(lambda value: _is_number(value) and value >= 0, "a number from 0 on")
MAYBE = Leaf(lambda value: value is None or _is_number(value), "a number or null")
"""What cannot be computed is null, such as the AP of a class that no image shows."""

MAYBE_COUNT = Leaf(lambda value: value is None or (_is_number(value) and value >= 0), "a number from 0 on, or null")
MAYBE_TEXT = Leaf(lambda value: value is None or isinstance(value, str), "a text or null")
GROUP = Each(Leaf(lambda value: True, "anything"))
_SET = Record(
    {
        "images": COUNT,
        "labels": COUNT,
        "labels_by_class": Each(COUNT),
        "labels_per_image": ListOf(COUNT),
        "pixels_by_class": Each(COUNT),
        "problems": Each(Record({"count": COUNT, "examples": ListOf(TEXT)}, ("count", "examples"))),
    },
    ("images",),
)
_CURVE = Record(
    {"thresholds": ListOf(NUMBER), "precision": ListOf(MAYBE), "recall": ListOf(MAYBE)},
    ("thresholds", "precision", "recall"),
    ("thresholds", "precision", "recall"),
)
_WORTH = Record(
    {"counts": ListOf(COUNT), "mean_scores": ListOf(MAYBE), "shares_right": ListOf(MAYBE), "error": MAYBE},
    ("counts", "mean_scores", "shares_right", "error"),
    ("counts", "mean_scores", "shares_right"),
)
_COMMON: dict[str, Shape] = {
    "schema": NUMBER,
    "stage": TEXT,
    "state": TEXT,
    "versions": Each(TEXT),
    "seconds": MAYBE_COUNT,
    "max_steps": MAYBE_COUNT,
}

RUN = Record(
    {
        **_COMMON,
        "config": Record({"pseudo_label": GROUP, "student": GROUP, "data": GROUP, "rounds": COUNT}),
        "classes": ListOf(TEXT),
        "fingerprints": GROUP,
        "data": Each(_SET),
        "bad_images": Each(ListOf(TEXT)),
        "signs": ListOf(TEXT),
        "patience": Record({"best_round": MAYBE_COUNT, "stopped": MAYBE_TEXT}),
    }
)
"""The manifest of a whole run."""

TRAINING = Record({**_COMMON, "bad_images": ListOf(TEXT)})
"""The manifest of a stage that trains."""

LABELLING = Record(
    {
        **TRAINING.fields,
        "classes": ListOf(TEXT),
        "thresholds": Record({"keep": ListOf(NUMBER), "ignore": ListOf(NUMBER)}, ("keep", "ignore")),
        "statistics": Record(
            {
                "images": COUNT,
                "images_with_labels": COUNT,
                "labels": COUNT,
                "unsure": COUNT,
                "mean_score": MAYBE,
                "labels_by_class": Each(COUNT),
                "labels_per_image": ListOf(COUNT),
                "score_histogram": ListOf(COUNT),
                "pixels": COUNT,
                "pixels_by_class": Each(COUNT),
            },
            ("images", "images_with_labels", "labels", "mean_score", "labels_by_class", "score_histogram"),
        ),
        "calibration": Each(_CURVE),
        "reliability": Record({"all": _WORTH, "by_class": Each(_WORTH)}),
    }
)
"""The manifest of a store of pseudo-labels."""

EVALUATION = Record({"primary": MAYBE_TEXT, "splits": Each(Each(MAYBE)), "images": Each(MAYBE_COUNT)})
"""The numbers of a model."""

CHECK = Record(
    {
        "splits": Each(
            Record(
                {
                    "images": COUNT,
                    "looked_at": COUNT,
                    "sizes": Record({"median": ListOf(COUNT)}, ("median",)),
                    "labels": MAYBE_COUNT,
                    "images_without_labels": MAYBE_COUNT,
                },
                ("images", "looked_at"),
            )
        ),
        "findings": ListOf(
            Record(
                {
                    "severity": TEXT,
                    "split": TEXT,
                    "text": TEXT,
                    "advice": TEXT,
                    "count": COUNT,
                    "examples": ListOf(TEXT),
                },
                ("severity", "split", "text", "advice", "count", "examples"),
            )
        ),
    },
    ("splits", "findings"),
)
"""What was seen of the data before the run."""
