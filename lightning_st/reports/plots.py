"""Which charts a report has: learning curves, scores, labels per image, reliability."""

from collections.abc import Mapping, Sequence

from lightning_st.reports.charts import Chart, Series, bar_chart, line_chart
from lightning_st.reports.run_folder import Labelling, Run
from lightning_st.reports.text import count_text

_MOST_MARKS = 8
_MOST_CLASSES = 12


def learning_curves(run: Run) -> list[Chart]:
    """Return the training loss and the primary metric on val over the steps, all models in one chart each."""
    loss = _curves(run, "train/loss")
    score = _curves(run, f"val/{run.primary}")
    charts = []
    if loss:
        svg = line_chart(loss, ("step", "loss"), _curves_alt("Training loss", loss))
        note = "A student's loss joins human and pseudo-labels: its height is not comparable with its teacher's."
        charts.append(Chart("Training loss", svg, _legend(loss), note))
    if score:
        svg = line_chart(score, ("step", run.primary), _curves_alt(f"{run.primary} on val", score))
        note = "A curve that still rises at its end says that the training was too short."
        charts.append(Chart(f"{run.primary} on val", svg, _legend(score), note))
    return charts


def label_charts(run: Run, labels: Labelling) -> list[Chart]:
    """Return the histogram of scores, and that of labels per image against the human labels'."""
    counts, charts = labels.statistics, []
    if any(counts.get("score_histogram", [])):
        charts.append(_score_chart(counts["score_histogram"], labels))
    pseudo = counts.get("labels_per_image", [])
    human = run.data.get("labeled", {}).get("labels_per_image", [])
    if sum(pseudo):
        charts.append(_per_image_chart(pseudo, human))
    return charts


def reliability_charts(labels: Labelling) -> list[Chart]:
    """Return what the teacher's labels on val were worth; empty where it was not measured.

    First how sure it was against how often it was right, then precision and recall, a chart a class.
    """
    if labels.thresholds is None:
        return []
    charts = [
        _precision_recall_chart(name, labels.calibration[name], float(keep), labels.things)
        for name, keep in zip(labels.classes, labels.thresholds.keep, strict=True)
        if name in labels.calibration
    ]
    first = [_reliability_diagram(labels)] if any(labels.reliability.get("all", {}).get("counts", [])) else []
    return [*first, *[chart for chart in charts if chart is not None][:_MOST_CLASSES]]


def _curves(run: Run, column: str) -> list[Series]:
    lines = [Series(name, _style(name), training.curve(column)) for name, training in run.models]
    return [line for line in lines if line.points]


def _style(name: str) -> str:
    """Return the classes in the style sheet: a later round's student is paler."""
    kind, _, number = name.partition(" of round ")
    return f"{kind} round-{min(int(number), 3)}" if number else kind


def _curves_alt(what: str, lines: Sequence[Series]) -> str:
    ends = [f"{line.name} from {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}" for line in lines]
    return f"{what} over the steps: {', '.join(ends)}."


def _legend(lines: Sequence[Series]) -> list[tuple[str, str]]:
    return [(line.name, line.style) for line in lines]


def _score_chart(histogram: Sequence[int], labels: Labelling) -> Chart:
    keep = set() if labels.thresholds is None else {round(x, 6) for x in labels.thresholds.keep.tolist() if x <= 1}
    marks = sorted(keep) if len(keep) <= _MOST_MARKS else []
    width = 1 / len(histogram)
    things = labels.things
    alt = f"Histogram of the scores of {count_text(sum(histogram))} {things} in bins of {width:g}."
    svg = bar_chart([("student", histogram)], (0.0, width), ("score", f"{things}, log scale"), alt, marks, log=True)
    note = f"All {things} in the store."
    if marks:
        note += f" Dashed: {'the score' if len(marks) == 1 else 'the scores, a class each,'} from which they are kept."
    return Chart("Scores", svg, [(f"all {things} in the store", "student")], note)


def _per_image_chart(pseudo: Sequence[int], human: Sequence[int]) -> Chart:
    longest = max(
        number for counts in (pseudo, human) for number, count in enumerate(counts, 1) if count or number == 1
    )
    named = [("human labels", "teacher", human), ("pseudo-labels", "student", pseudo)]
    shown = [(name, style, _percent(counts[:longest])) for name, style, counts in named if sum(counts)]
    alt = "Histogram of labels an image. " + " ".join(
        f"{name}: {shares[0]:.0f} % of the images have none." for name, _, shares in shown
    )
    svg = bar_chart(
        [(style, shares) for _, style, shares in shown], (-0.5, 1.0), ("labels in an image", "% of images"), alt
    )
    note = f"The last bar is {len(pseudo) - 1} or more." if longest == len(pseudo) else ""
    return Chart("Labels per image", svg, [(name, style) for name, style, _ in shown], note)


def _percent(counts: Sequence[int]) -> list[float]:
    return [100 * count / sum(counts) for count in counts]


def _reliability_diagram(labels: Labelling) -> Chart:
    measured, things = labels.reliability["all"], labels.things
    bins = list(zip(measured["mean_scores"], measured["shares_right"], measured["counts"], strict=True))
    line = Series("share right", "student", [(score, share) for score, share, count in bins if count])
    alt = f"Share of the {things} on val that is right over their mean score, for each tenth of the scores."
    axes = (f"mean score of the {things}", "share that is right")
    svg = line_chart([line], axes, alt, (0.0, 1.0), (0.0, 1.0), diagonal=True)
    note = (
        "A point for each tenth of the scores. Dashed: as sure as right; below it the teacher claims too much. On "
        f"average score and share are {measured['error']:.2f} apart (expected calibration error)."
    )
    return Chart("Score and truth, all classes", svg, _legend([line]), note)


def _precision_recall_chart(
    name: str, measured: Mapping[str, Sequence[float | None]], keep: float, things: str
) -> Chart | None:
    lines = []
    for what, style in (("precision", "student"), ("recall", "teacher")):
        pairs = zip(measured["thresholds"], measured[what], strict=True)
        lines.append(Series(what, style, [(x, y) for x, y in pairs if x is not None and y is not None]))
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    alt = f"Precision and recall of {name} on val over the score threshold."
    marks = [keep] if keep <= 1 else []
    svg = line_chart(lines, ("score threshold", "share"), alt, (0.0, 1.0), (0.0, 1.0), marks)
    note = f"Dashed: from here on its {things} are kept." if marks else f"Its {things} are never kept."
    return Chart(name, svg, _legend(lines), note)
