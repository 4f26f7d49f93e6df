"""The tables and the chart of an experiment."""

from itertools import product

from lightning_st.reports.charts import Chart, Interval, interval_chart
from lightning_st.reports.claims import joint_pairs
from lightning_st.reports.estimates import difference_of, score_of
from lightning_st.reports.experiment_folder import METHODS, Experiment
from lightning_st.reports.tables import Table

_STYLES = {"supervised": "teacher", "self-training": "student"}


def cells_table(experiment: Experiment) -> Table:
    """Return supervised and self-training side by side, a row a combination of levels."""
    rows = [
        [
            *(level for _, level in cell.levels),
            *(score_of(cell.score(method)) for method in METHODS),
            difference_of(cell.gain),
            str(cell.gain.count if cell.gain else 0),
        ]
        for cell in experiment.cells
    ]
    header = [*experiment.factors, *METHODS, "difference", "seeds"]
    where = f" on {experiment.split}" if experiment.split else ""
    return Table(f"{experiment.primary}{where}", header, rows, len(experiment.factors))


def methods_table(experiment: Experiment) -> Table | None:
    """Return the ways to use more images side by side, as in the paper's table 7; None without joint training.

    Each is followed by what it changes against the labels alone.
    """
    rows = []
    for name, alone, joint in joint_pairs(experiment):
        others = [(joint, "supervised"), (alone, "self-training"), (joint, "self-training")]
        cells = [f"{score_of(c.score(m))} ({difference_of(c.minus(alone, m, 'supervised'))})" for c, m in others]
        rows.append([name, score_of(alone.score("supervised")), *cells])
    header = ["", "alone", "+ joint training", "+ self-training", "+ both"]
    return Table("Ways to use more images", header, rows) if rows else None


def effect_tables(experiment: Experiment) -> list[Table]:
    """Return for each factor what its levels change against the first, for both methods, the others held."""
    return [_effects(experiment, name) for name, levels in experiment.factors.items() if len(levels) > 1]


def _effects(experiment: Experiment, factor: str) -> Table:
    others = {name: levels for name, levels in experiment.factors.items() if name != factor}
    first, *rest = experiment.factors[factor]
    rows = []
    for held in _combinations(others):
        base = experiment.cell({**held, factor: first})
        for level in rest:
            cell = experiment.cell({**held, factor: level})
            if cell is not None and base is not None:
                differences = [difference_of(cell.minus(base, method)) for method in METHODS]
                rows.append([*held.values(), f"{level} - {first}", *differences])
    return Table(f"What {factor} changes", [*others, factor, *METHODS], rows, len(others) + 1)


def scores_chart(experiment: Experiment) -> Chart | None:
    """Return the scores of every combination with their standard errors; None where there is none yet."""
    names = [[level for _, level in cell.levels] or ["all"] for cell in experiment.cells]
    points = [
        Interval(method, _STYLES[method], place, found.mean, found.error or 0.0)
        for place, cell in enumerate(experiment.cells)
        for method in METHODS
        if (found := cell.score(method)) is not None
    ]
    if not points:
        return None
    alt = f"{experiment.primary} of every combination, supervised beside self-training."
    note = f"Columns: {', '.join(experiment.factors)}. " if experiment.factors else ""
    note += "Bars are the standard error over seeds. Differences within a seed are surer than it looks: see the table."
    legend = [(method, _STYLES[method]) for method in METHODS]
    svg = interval_chart(points, names, experiment.primary, alt)
    return Chart(f"{experiment.primary} by combination", svg, legend, note)


def _combinations(factors: dict[str, list[str]]) -> list[dict[str, str]]:
    """Return every combination of the levels of some factors."""
    return [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
