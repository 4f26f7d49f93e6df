"""Signs that a teacher has collapsed, or sees other things than it learnt: told before a student learns from it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

FEW, MANY = 0.2, 3.0
"""Pseudo-labels an image, as a multiple of people's labels an image: outside of these something is wrong. In the 18
runs of six rules on blood cells, none of which went wrong, it lay between 0.55 and 1.02 (docs/results.md)."""

SHIFT = 0.4
"""A class whose share grows by this from people's labels to pseudo-labels is seen where it is not: on 300 photographs
of other things a blood cell's grew from 8 to 78 %, its score on val notwithstanding (docs/results.md)."""

HARDLY = 0.05
"""A teacher at or below this score on val finds hardly anything."""

FALL = 0.25
"""A teacher of a later round that has lost this share of the first one's score on val gets worse by what it teaches."""


def signs_of_collapse(
    labels: Mapping[str, Any],
    human: Mapping[str, Any],
    metric: str,
    score: float = math.nan,
    first_score: float = math.nan,
) -> list[str]:
    """Return a sentence for each sign, with what it may mean; nothing where all looks well.

    Args:
        labels: Of the pseudo-labels, see ``PseudoLabels.statistics``.
        human: Of the labelled images: "images", "labels", "labels_by_class", for masks "pixels_by_class".
        metric: What the score is called.
        score: The teacher's on val, 0-1; NaN where it is unknown.
        first_score: That of the first teacher, likewise.
    """
    return [*_score(metric, score, first_score), *_counts(labels, human), *_shares(labels, human)]


def _score(metric: str, score: float, first_score: float) -> Iterator[str]:
    if score <= HARDLY:
        yield f"The teacher's {metric} on val is {score:.3f}: it has hardly learnt anything, and nor will a student."
    elif score < (1 - FALL) * first_score:
        yield (
            f"The teacher's {metric} on val fell from the first teacher's {first_score:.3f} to {score:.3f}: the rounds "
            "make it worse. Fewer of them (--patience 1), or a rule that keeps less, may not."
        )


def _counts(labels: Mapping[str, Any], human: Mapping[str, Any]) -> Iterator[str]:
    if "pixels" in labels or not labels["images"] or not human.get("labels"):
        return
    pseudo, wanted = labels["labels"] / labels["images"], human["labels"] / human["images"]
    counts = f"{pseudo:.2g} pseudo-labels an image against {wanted:.2g} labels of people"
    if pseudo < FEW * wanted:
        yield f"Only {counts}: objects without a label are learnt as background. A rule that keeps more would help."
    elif pseudo > MANY * wanted:
        yield f"As many as {counts}: most of them must be wrong. A rule that keeps less would help."


def _shares(labels: Mapping[str, Any], human: Mapping[str, Any]) -> Iterator[str]:
    key = "pixels_by_class" if "pixels" in labels else "labels_by_class"
    pseudo, people = labels[key], human.get(key, {})
    totals = sum(pseudo.values()), sum(people.values())
    if not all(totals):
        return
    for name, count in pseudo.items():
        now, before = count / totals[0], people.get(name, 0) / totals[1]
        if now - before >= SHIFT:
            yield (
                f"Of the pseudo-labels {now:.0%} are {name}, of people's labels {before:.0%}: the unlabelled images "
                "seem to show other things than the labelled ones, and a threshold that is right on val is not right "
                "there. Look at the pictures; take images of the kind that was labelled, or a higher "
                "--pseudo_label.score_threshold."
            )
