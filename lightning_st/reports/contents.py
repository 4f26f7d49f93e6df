"""What stands in a report, as text, tables, charts and pictures; the HTML page and the Markdown show the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import yaml

from lightning_st.reports.advice import advise
from lightning_st.reports.charts import Chart
from lightning_st.reports.data_check import FILE_NAME as CHECK_NAME
from lightning_st.reports.data_check import DataCheck, data_check
from lightning_st.reports.metrics import gain
from lightning_st.reports.outlines import class_colour
from lightning_st.reports.overlays import BACKGROUND
from lightning_st.reports.pictures import BANDS, Gallery, Picture, band_of
from lightning_st.reports.plots import label_charts, learning_curves, reliability_charts
from lightning_st.reports.run_folder import SPLITS, Run, read_json
from lightning_st.reports.shapes import CHECK
from lightning_st.reports.tables import (
    Table,
    class_tables,
    counts_table,
    label_classes_table,
    scores_table,
    stages_table,
)
from lightning_st.reports.text import count_text, counted, difference_text, score_text, seconds_text
from lightning_st.reports.verdict import Verdict, judge

_MOST_LEGEND = 10
_MOST_LINES = 50


@dataclass(frozen=True)
class Skipped:
    """Data that a stage could not use: what, how many, and the first lines that say why."""

    title: str
    count: int
    lines: list[str]


@dataclass(frozen=True)
class Band:
    """The pictures whose scores lie between two bounds."""

    title: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Contents:
    """A whole report, nothing escaped yet.

    Attributes:
        name: The run folder's name.
        verdict: The first sentences.
        advice: What to try, where it did not help.
        missing: Sentences on what is not there.
        figures: (what, number) of the few that matter most.
        scores: All metrics by split and model; None without an evaluation.
        classes: The primary metric by class, a table a split.
        curves: Learning curves.
        counts: How many labels; None without pseudo-labels. Likewise the three after it.
        label_classes: Labels and thresholds by class.
        label_charts: Histograms of scores and of labels per image.
        reliability: Precision and recall by class, where measured.
        bands: Pictures by falling score.
        shows_masks: Whether the pictures show masks.
        legend: (class, colour) for the pictures; empty where there are too many classes to tell apart.
        data_check: What was seen of the data before the run; None where nothing was.
        skipped: What could not be used.
        stages: What ran, and for how long.
        facts: (name, value): seed, versions, fingerprints.
        config: The recipe in YAML.
        files: (text, relative link).
    """

    name: str
    verdict: Verdict
    advice: list[str]
    missing: list[str]
    figures: list[tuple[str, str]]
    scores: Table | None
    classes: list[Table]
    curves: list[Chart]
    counts: Table | None
    label_classes: Table | None
    label_charts: list[Chart]
    reliability: list[Chart]
    bands: list[Band]
    shows_masks: bool
    legend: list[tuple[str, str]]
    data_check: DataCheck | None
    skipped: list[Skipped]
    stages: Table
    facts: list[tuple[str, str]]
    config: str
    files: list[tuple[str, str]]


def gather(run: Run, gallery: Gallery, notes: list[str]) -> Contents:
    """Return the contents of a run's report.

    Args:
        run: The run.
        gallery: Its pictures.
        notes: Sentences on what could not be shown, beside what `missing` finds.
    """
    verdict, labels = judge(run), run.labels
    colours = [
        (name, class_colour(label))
        for label, name in enumerate(labels.classes if labels else [])
        if labels and not (labels.holds_masks and name in BACKGROUND)
    ]
    return Contents(
        name=run.folder.resolve().name,
        verdict=verdict,
        advice=advise(run, verdict),
        missing=[*missing(run), *notes],
        figures=list(_figures(run, verdict)),
        scores=scores_table(run),
        classes=class_tables(run),
        curves=learning_curves(run),
        counts=counts_table(run) if labels else None,
        label_classes=label_classes_table(run, labels) if labels else None,
        label_charts=label_charts(run, labels) if labels else [],
        reliability=reliability_charts(labels) if labels else [],
        bands=_bands(gallery),
        shows_masks=labels is not None and labels.holds_masks,
        legend=colours if gallery.pictures and len(colours) <= _MOST_LEGEND else [],
        data_check=data_check(read_json(run.folder / CHECK_NAME, CHECK)),
        skipped=[*_skipped(run), *_unreadable(gallery)],
        stages=stages_table(run),
        facts=list(_facts(run)),
        config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        files=list(_files(run)),
    )


def missing(run: Run) -> list[str]:
    """Return a sentence for each part of a whole report that is not there."""
    return [*_missing_splits(run), *_missing_stages(run)]


def _missing_splits(run: Run) -> Iterator[str]:
    if "val" not in run.data:
        yield "There is no val split (data.val): no curve of scores, and the last checkpoint stands for each model."
    if "test" not in run.data:
        yield "There is no test split (data.test)."


def _missing_stages(run: Run) -> Iterator[str]:
    for stage in run.stages:
        if stage.manifest.get("state") != "complete":
            yield f"{stage.name} is not complete: it is running, or was cut. The same command goes on with it."
    if run.teacher is None:
        yield "There is no teacher yet."
    for round_ in run.rounds:
        if round_.labels is None:
            yield f"Round {round_.number} has no pseudo-labels yet."
        if round_.student is None:
            yield f"Round {round_.number} has no student yet."
    wanted = run.config.get("rounds", 1)
    if len(run.rounds) < wanted and not run.patience.get("stopped"):
        yield f"{len(run.rounds)} of {wanted} rounds have begun."
    if run.config.get("control") and run.control is None:
        yield "There is no control arm yet."


def _figures(run: Run, verdict: Verdict) -> Iterator[tuple[str, str]]:
    if verdict.split is not None and run.student is not None:
        key = run.primary
        yield f"student, {key} on {verdict.split}", score_text(run.student.score(verdict.split, key))
        yield (
            "over its teacher" if len(run.rounds) == 1 else "over the first teacher",
            difference_text(gain(run.student, run.teacher, verdict.split, key)),
        )
        if run.control is not None:
            yield "over the control", difference_text(gain(run.student, run.control, verdict.split, key))
    if run.labels is not None:
        counts = run.labels.statistics
        if run.labels.shown is not None:
            yield "pixels that are kept", f"{run.labels.shown:.0%}"
        else:
            yield "pseudo-labels", count_text(counts.get("labels"))
        yield "images with one", f"{count_text(counts.get('images_with_labels'))} of {count_text(counts.get('images'))}"
    total = sum(stage.manifest.get("seconds") or 0 for stage in run.stages)
    yield "all stages took", seconds_text(total)


def _bands(gallery: Gallery) -> list[Band]:
    """Return the bands that have pictures, best scores first."""
    bands = []
    for number, (low, high) in reversed(list(enumerate(pairwise(BANDS)))):
        inside = [picture for picture in gallery.pictures if band_of(picture.score) == number]
        if inside:
            bands.append(Band(f"Scores {low:.2f} to {high:.2f}", inside))
    return bands


def _skipped(run: Run) -> Iterator[Skipped]:
    by_source = dict(run.manifest.get("bad_images", {}))
    by_source |= {stage.name: stage.manifest.get("bad_images") or [] for stage in run.stages}
    seen: set[str] = set()
    for source, lines in by_source.items():
        new = [line for line in dict.fromkeys(lines) if line not in seen]
        seen.update(new)
        if new:
            yield Skipped(f"{source}: {counted(len(new), 'image')} could not be read", len(new), new[:_MOST_LINES])
    for split, counts in run.data.items():
        for kind, problem in counts.get("problems", {}).items():
            title = f"data.{split}, labels that are not as they should be: {kind.replace('_', ' ')}: {problem['count']}"
            yield Skipped(title, problem["count"], problem["examples"])


def _unreadable(gallery: Gallery) -> Iterator[Skipped]:
    if gallery.unreadable:
        count = len(gallery.unreadable)
        yield Skipped(f"pictures: {counted(count, 'image')} could not be drawn", count, gallery.unreadable)


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    if run.seed is not None:
        yield "seed", str(run.seed)
    for split in ("labeled", "unlabeled", *SPLITS):
        counts = run.data.get(split, {})
        if counts:
            labels = f", {counted(counts['labels'], 'label')}" if "labels" in counts else ""
            yield f"data.{split}", counted(counts["images"], "image") + labels
    believed = None if run.labels is None else run.labels.thresholds
    if believed is not None and believed.weight_power:
        yield "weight of a pseudo-label", f"its score to the power of {believed.weight_power:g}"
    if run.labels is not None and believed is not None and believed.unknown is not None:
        names = (name for name, is_unknown in zip(run.labels.classes, believed.unknown, strict=True) if is_unknown)
        yield "no negatives on pseudo-labelled images", ", ".join(names)
    yield from (
        (f"fingerprint of {split}", str(value)) for split, value in run.manifest.get("fingerprints", {}).items()
    )
    yield from ((f"version of {name}", str(value)) for name, value in run.manifest.get("versions", {}).items())


def _files(run: Run) -> Iterator[tuple[str, str]]:
    yield "metrics.json", "metrics.json"
    yield "report.md", "report.md"
    yield "manifest.json", "../manifest.json"
    if (run.folder / CHECK_NAME).exists():
        yield CHECK_NAME, f"../{CHECK_NAME}"
    for stage in run.stages:
        for name in ("manifest.json", "evaluation.json", "metrics.csv"):
            if (stage.folder / name).exists():
                yield f"{stage.name}/{name}", f"../{stage.name}/{name}"
