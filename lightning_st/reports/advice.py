"""What to try where self-training did not help: each line follows from a fact of the run.

The facts behind the lines: student runs in minutes on a CPU (small_recipe.md, "What it says").
"""

from collections.abc import Iterator
from itertools import chain

from lightning_st.reports.metrics import gain
from lightning_st.reports.run_folder import Labelling, Run, Training
from lightning_st.reports.text import listed, score_text
from lightning_st.reports.verdict import NOISE, Verdict

WEAK_CLASS = 0.05
"""A class at or below this score is one that the teacher hardly finds."""

LOW_PRECISION = 0.7
"""Kept boxes that are right less often do harm: at 0.79 and more students gained, at 0.50 one lost 1.5-3.9 AP."""


def advise(run: Run, verdict: Verdict) -> list[str]:
    """Return signs of a collapse, and what to try, most promising first, unless self-training helped or is not done."""
    return [*run.signs, *_tries(run, verdict)]


def _tries(run: Run, verdict: Verdict) -> list[str]:
    if verdict.split is None or verdict.judgement == "better":
        return []
    score = None if run.teacher is None else run.teacher.score(verdict.split, run.primary)
    if score is not None and score <= WEAK_CLASS:
        # The other advice is of use to a teacher that knows something.
        return [
            f"The teacher has hardly learnt anything ({run.primary} {score_text(score)} on {verdict.split}); nor will "
            "a student from its labels: train it longer (--teacher.max_steps), on more labelled images, or from "
            "pretrained weights (--model.pretrained)."
        ]
    found = (_train_longer(run, verdict.split), _labels(run), _recipe(run), _weak_classes(run))
    return [*chain.from_iterable(found), *_seeds(run)]


def labels_per_image(run: Run, labels: Labelling) -> tuple[float | None, float | None]:
    """Return pseudo-labels and human labels for each image, None where the counts are not there."""
    counts, human = labels.statistics, run.data.get("labeled", {})
    return _ratio(counts.get("labels"), counts.get("images")), _ratio(human.get("labels"), human.get("images"))


def weak_classes(run: Run) -> list[str]:
    """Return the classes that the first teacher hardly finds, on the split where most is known."""
    if run.teacher is None:
        return []
    for scores in (run.teacher.scores.get(split, {}) for split in ("test", "val")):
        known = {name: scores.get(run.class_key(name)) for name in run.classes}
        if any(value is not None for value in known.values()):
            return [name for name, value in known.items() if value is not None and value <= WEAK_CLASS]
    return []


def _train_longer(run: Run, split: str) -> Iterator[str]:
    over_control = gain(run.student, run.control, split, run.primary)
    by_length = gain(run.control, run.teacher, split, run.primary)
    is_as_good = over_control is not None and over_control < NOISE and by_length is not None and by_length > NOISE / 2
    rising = run.teacher is not None and _is_rising(run.teacher, f"val/{run.primary}")
    if rising or is_as_good:
        why = "was still improving when it stopped" if rising else "gains as much from training longer"
        yield (
            f"The teacher {why}: the run is bound by training, not by labels. Raise --teacher.max_steps until its "
            f"val {run.primary} no longer rises, and self-train from there."
        )


def _is_rising(training: Training, column: str) -> bool:
    """Say whether the last fifth of the training still brought more than half of what counts as noise."""
    curve = training.curve(column)
    if not curve:
        return False
    earlier = [value for step, value in curve if step <= 0.8 * curve[-1][0]]
    return bool(earlier) and max(value for _, value in curve) > max(earlier) + NOISE / 2


def _labels(run: Run) -> Iterator[str]:
    labels = run.labels
    if labels is None:
        return
    precisions = {name: labels.worth(name, "precision") for name in labels.classes}
    low = [f"{name} ({value:.2f})" for name, value in precisions.items() if value is not None and value < LOW_PRECISION]
    pseudo, human = labels_per_image(run, labels)
    counts = f"{pseudo or 0:.1f} pseudo-labels an image against {human or 0:.1f} human labels"
    are_few = pseudo is not None and human is not None and pseudo < human / 2 and not labels.holds_masks
    if low and are_few:
        # No threshold mends both.
        yield (
            "The teacher is too weak to label well: on val too few of the kept boxes are right, by class: "
            f"{listed(low)}; and only {counts}. Train it longer, or label more images."
        )
    elif low:
        yield (
            f"On val too few of the kept {labels.things} are right, by class: {listed(low)}. Raise the threshold, "
            "or the precision that a calibrated rule asks for."
        )
    elif are_few:
        yield (
            f"Only {counts}: objects without a label are learnt as background. Lower the threshold, or the precision "
            "that a calibrated rule asks for, or ignore more of the boxes below it."
        )
    elif pseudo is not None and human and pseudo > 1.5 * human and not labels.holds_masks:
        yield f"{counts[0].upper()}{counts[1:]}: many of them must be wrong. Raise the threshold."


def _recipe(run: Run) -> Iterator[str]:
    things = "boxes" if run.labels is None else run.labels.things
    labelling, student = run.config.get("pseudo_label", {}), run.config.get("student", {})
    if labelling.get("rule", "hard") == "hard" or labelling.get("score_threshold") is not None:
        yield (
            "One score for all classes is not one precision: --pseudo_label.rule calibrated measures on val which "
            f"score each class needs, and ignores the {things} below it."
        )
    if student.get("init", "random") == "random":
        yield "In short runs a student that starts from its teacher's weights does better: --student.init teacher."
    if not labelling.get("flip", False):
        yield "Labels averaged over the image and its mirror image are better ones: --pseudo_label.flip true."


def _weak_classes(run: Run) -> Iterator[str]:
    weak = weak_classes(run)
    if weak:
        yield (
            f"The teacher hardly finds {listed(weak)} ({run.primary} at most {WEAK_CLASS:g}), so their objects are "
            "learnt as background on the pseudo-labelled images: label more of them first."
        )


def _seeds(run: Run) -> Iterator[str]:
    other = "another seed" if run.seed is None else f"seeds other than {run.seed}"
    yield f"Before believing a small difference, run with {other} (--seed_everything): lightning_st report DIR DIR ..."


def _ratio(count: float | None, images: float | None) -> float | None:
    return None if count is None or not images else count / images
