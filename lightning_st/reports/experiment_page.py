"""The report of an experiment: ``report/index.html``, ``report.md``, ``experiment.json`` beside its arms."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_st.reports.claims import Claim, claims
from lightning_st.reports.estimates import Estimate
from lightning_st.reports.experiment_folder import METHODS, Experiment, read_experiment
from lightning_st.reports.experiment_tables import cells_table, effect_tables, methods_table, scores_chart
from lightning_st.reports.render import environment
from lightning_st.reports.tables import Table
from lightning_st.reports.text import counted, markdown, write_record, write_text
from lightning_st.reports.write import swapped_in

BUDGETS = {
    "steps": "The supervised model is the teacher: it trained for its own steps alone.",
    "epochs": "The supervised model is the better one, by val, of the teacher and of one that trained on as many "
    "labelled images as teacher and student see together.",
    "compute": "The supervised model is the better one, by val, of the teacher and of one that trained on as many "
    "images as teacher and student see together, pseudo-labelled ones included.",
}


def write_experiment_report(folder: Path) -> dict[str, Any]:
    """Write ``report/`` in an experiment's folder from what its arms left, finished or not; replace an earlier one.

    Returns:
        What ``report/results.json`` holds: the metric, the split, each cell's numbers, and the claims.

    Raises:
        StageError: If the folder holds no experiment.
    """
    experiment = read_experiment(Path(folder))
    found = claims(experiment)
    results = _results(experiment, found)
    with swapped_in(experiment.folder / "report") as report:
        write_record(report / "results.json", results)
        write_text(report / "report.md", "\n\n".join(_markdown(experiment, found)) + "\n")
        page = environment().get_template("experiment.html.jinja")
        chart = scores_chart(experiment)
        cells, *others = _tables(experiment)
        write_text(
            report / "index.html",
            page.render(
                name=experiment.folder.resolve().name,
                claims=found,
                notes=list(_notes(experiment)),
                cells=cells,
                others=others,
                chart=chart,
            )
            + "\n",
        )
    return results


def _markdown(experiment: Experiment, found: list[Claim]) -> Iterator[str]:
    yield f"# {markdown(experiment.folder.resolve().name)}: control experiments"
    if found:
        yield "\n".join(f"- **{claim.standing}**: {markdown(claim.text)} {markdown(claim.evidence)}" for claim in found)
    for table in _tables(experiment):
        yield f"## {markdown(table.title)}"
        yield table.markdown()
    yield "\n".join(f"- {markdown(note)}" for note in _notes(experiment))


def _tables(experiment: Experiment) -> list[Table]:
    methods = methods_table(experiment)
    return [cells_table(experiment), *([] if methods is None else [methods]), *effect_tables(experiment)]


def _notes(experiment: Experiment) -> Iterator[str]:
    yield BUDGETS[experiment.budget]
    yield (
        "Scores are means over seeds with the standard error of the mean; differences are taken within a seed, with "
        "their standard error and, in brackets, the 95 % interval of Student's t. A single seed has neither."
    )
    if experiment.split == "val":
        yield "There is no test split: val also chose the checkpoints, so it flatters every model."
    if experiment.unfinished:
        count = counted(len(experiment.unfinished), "arm")
        yield f"{count} of {experiment.arm_count} not complete yet: {', '.join(experiment.unfinished[:10])}."


def _results(experiment: Experiment, found: list[Claim]) -> dict[str, Any]:
    return {
        "metric": experiment.primary,
        "split": experiment.split,
        "budget": experiment.budget,
        "cells": [
            {
                "levels": dict(cell.levels),
                **{method.replace("-", "_"): _numbers(cell.score(method)) for method in METHODS},
                "difference": _numbers(cell.gain),
                "seeds": {str(arm.seed): dict(arm.scores) for arm in cell.arms},
            }
            for cell in experiment.cells
        ],
        "claims": [{"claim": claim.text, "standing": claim.standing, "evidence": claim.evidence} for claim in found],
        "unfinished": experiment.unfinished,
    }


def _numbers(found: Estimate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    width = found.half_width
    interval = None if width is None else [found.mean - width, found.mean + width]
    return {"mean": found.mean, "standard_error": found.error, "interval_95": interval, "seeds": found.count}
