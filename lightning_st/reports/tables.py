"""The tables of a report: the same cells for the HTML page and for Markdown."""

from dataclasses import dataclass

from lightning_st.reports.advice import labels_per_image
from lightning_st.reports.metrics import gain
from lightning_st.reports.run_folder import SPLITS, Labelling, Run, Training
from lightning_st.reports.text import (
    MISSING,
    count_text,
    difference_text,
    markdown_table,
    score_text,
    seconds_text,
)

_FIRST = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR", "mIoU", "mean_accuracy", "pixel_accuracy")
"""Metrics in the order in which everybody reads them; others follow by name."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: Its heading.
        header: The names of the columns.
        rows: The cells, as many in each row as in the header.
        text_columns: How many columns from the left hold text; the others hold numbers.
        emphasised: Numbers of the rows that matter most.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    text_columns: int = 1
    emphasised: frozenset[int] = frozenset()

    def markdown(self) -> str:
        """Return the table in Markdown, escaped, without its title."""
        return markdown_table(self.header, self.rows, self.text_columns)


def models(run: Run) -> list[tuple[str, Training]]:
    """Return every model that has scores, with the name that it has in the tables."""
    return [(name, training) for name, training in run.models if training.scores]


def scores_table(run: Run) -> Table | None:
    """Return all metrics but those of single classes, a row a split and model, and the student's gains."""
    found = {key for _, training in models(run) for scores in training.scores.values() for key in scores}
    keys = [key for key in _FIRST if key in found]
    keys += sorted(key for key in found if key not in _FIRST and "/" not in key)
    rows = []
    for split in _known_splits(run):
        for name, training in models(run):
            rows.append([split, name, *(score_text(training.score(split, key)) for key in keys)])
        for other, than in (("teacher", run.teacher), ("control", run.control)):
            if gain(run.student, than, split, run.primary) is not None:
                differences = [gain(run.student, than, split, key) for key in keys]
                rows.append([split, f"student - {other}", *map(difference_text, differences)])
    header = ["split", "model", *(key.replace("_", " ") for key in keys)]
    gains = frozenset(number for number, row in enumerate(rows) if row[1].startswith("student -"))
    return Table("Scores", header, rows, 2, gains) if rows else None


def class_tables(run: Run) -> list[Table]:
    """Return the primary metric of each class, teacher and student side by side: a table a split."""
    return [_class_table(run, split) for split in _known_splits(run)]


def _class_table(run: Run, split: str) -> Table:
    human = run.data.get("labeled", {}).get("labels_by_class", {})
    pseudo = run.labels.statistics.get("labels_by_class", {}) if run.labels else {}
    columns = models(run)
    both = run.student is not None and run.teacher is not None
    rows = []
    for name in run.classes:
        key = run.class_key(name)
        scores = [score_text(training.score(split, key)) for _, training in columns]
        gains = [difference_text(gain(run.student, run.teacher, split, key))] if both else []
        rows.append([name, count_text(human.get(name)), count_text(pseudo.get(name)), *scores, *gains])
    header = ["class", "human labels", "pseudo-labels", *(name for name, _ in columns)]
    title = f"{run.class_key('').rstrip('/')} by class on {split}"
    return Table(title, [*header, "student - teacher"] if both else header, rows)


def counts_table(run: Run) -> Table:
    """Return how many labels there are, human ones first, then a row a round."""
    human = run.data.get("labeled", {})
    with_label = _with_label(human.get("labels_per_image"))
    rows: list[list[str]] = []
    for round_ in run.rounds:
        if round_.labels is not None and round_.labels.statistics:
            counts = round_.labels.statistics
            each, human_each = labels_per_image(run, round_.labels)
            if not rows:
                row = _counts_row("human labels", human.get("images"), with_label, human.get("labels"), human_each)
                rows.append([*row, "", ""])
            name = run.numbered("pseudo-labels", round_.number)
            row = _counts_row(name, counts.get("images"), counts.get("images_with_labels"), counts.get("labels"), each)
            shown = round_.labels.shown
            ignored = count_text(counts.get("unsure")) if shown is None else f"{1 - shown:.0%}"
            rows.append([*row, ignored, score_text(counts.get("mean_score"))])
    unsure = "pixels ignored" if run.labels is not None and run.labels.holds_masks else "unsure, ignored"
    header = ["", "images", "with a label", "labels", "labels an image", unsure, "mean score"]
    note = " (a label is a class that an image shows)" if "pixels_by_class" in human else ""
    return Table(f"How many labels{note}", header, rows)


def _counts_row(
    name: str, images: int | None, with_label: int | None, labels: int | None, each: float | None
) -> list[str]:
    return [name, *map(count_text, (images, with_label, labels)), MISSING if each is None else f"{each:.1f}"]


def _with_label(histogram: list[int] | None) -> int | None:
    return None if histogram is None else sum(histogram[1:])


def label_classes_table(run: Run, labels: Labelling) -> Table:
    """Return labels or pixels, thresholds, and what those that are kept are worth on val, by class.

    A class whose share shrinks from human to pseudo-labels is one that the student is in danger of unlearning. ECE is
    the expected calibration error of all that was found of a class, kept or not.
    """
    counted = "pixels_by_class" if labels.holds_masks else "labels_by_class"
    human = run.data.get("labeled", {}).get(counted, {})
    pseudo = labels.statistics.get(counted, {})
    thresholds = labels.thresholds
    keep = [None] * len(labels.classes) if thresholds is None else thresholds.keep.tolist()
    ignore = [None] * len(labels.classes) if thresholds is None else thresholds.ignore.tolist()
    rows = [
        [
            name,
            count_text(human.get(name)),
            _share(human, name),
            count_text(pseudo.get(name)),
            _share(pseudo, name),
            _threshold(keep[label]),
            _threshold(ignore[label]) if ignore[label] != keep[label] else MISSING,
            score_text(labels.worth(name, "precision")),
            score_text(labels.worth(name, "recall")),
            score_text(labels.calibration_error(name)),
        ]
        for label, name in enumerate(labels.classes)
    ]
    what = ("human pixels", "pseudo-pixels") if labels.holds_masks else ("human labels", "pseudo-labels")
    header = ["class", what[0], "share", what[1], "share", "kept from", "ignored from"]
    header += ["precision on val", "recall on val", "ECE on val"]
    return Table("By class", header, rows)


def stages_table(run: Run) -> Table:
    """Return what ran, for how long, and which weights were evaluated."""
    rows = [
        [
            stage.name,
            str(stage.manifest.get("state", "")),
            str(stage.manifest.get("evaluated", "")),
            str(stage.manifest.get("weights", "")),
            count_text(stage.manifest.get("max_steps")),
            seconds_text(seconds) if (seconds := stage.manifest.get("seconds")) is not None else MISSING,
        ]
        for stage in run.stages
    ]
    return Table("Stages", ["stage", "state", "evaluated", "weights", "steps", "time"], rows, text_columns=4)


def _known_splits(run: Run) -> list[str]:
    return [split for split in SPLITS if any(split in training.scores for _, training in models(run))]


def _share(counts: dict[str, int], name: str) -> str:
    total = sum(counts.values())
    return f"{counts.get(name, 0) / total:.0%}" if total else MISSING


def _threshold(value: float | None) -> str:
    if value is None:
        return MISSING
    return "never" if value > 1 else f"{value:.2f}"
