"""What an experiment left behind: the scores of each arm, by the levels of its factors and its seed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from lightning_st.errors import StageError
from lightning_st.reports.estimates import Estimate, estimate
from lightning_st.reports.run_folder import Run, Training, read_json, read_run

Levels = tuple[tuple[str, str], ...]
"""(factor, level) pairs, in the order of the factors."""

METHODS = ("supervised", "self-training")


@dataclass(frozen=True)
class ArmScores:
    """What one arm reached.

    Attributes:
        levels: Of its factors.
        seed: Of its run.
        scores: The primary metric on the split that counts, by method; without those that are not there yet.
    """

    levels: Levels
    seed: int
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Cell:
    """All seeds of one combination of levels."""

    levels: Levels
    arms: tuple[ArmScores, ...]

    def score(self, method: str) -> Estimate | None:
        """Return the mean of a method over the seeds."""
        return estimate([arm.scores[method] for arm in self.arms if method in arm.scores])

    @property
    def gain(self) -> Estimate | None:
        """Self-training's scores minus the supervised ones, seed by seed."""
        return estimate([a.scores["self-training"] - a.scores["supervised"] for a in self.arms if len(a.scores) == 2])

    def minus(self, other: "Cell", method: str, its_method: str | None = None) -> Estimate | None:
        """Return a method's scores here minus those of another cell, seed by seed; there of ``its_method``."""
        return estimate([*self.by_seed_minus(other, method, its_method).values()])

    def by_seed_minus(self, other: "Cell", method: str, its_method: str | None = None) -> dict[int, float]:
        """Return the same as ``minus``, of each seed that both have."""
        its_method = method if its_method is None else its_method
        theirs = {arm.seed: arm.scores[its_method] for arm in other.arms if its_method in arm.scores}
        both = [arm for arm in self.arms if method in arm.scores and arm.seed in theirs]
        return {arm.seed: arm.scores[method] - theirs[arm.seed] for arm in both}


@dataclass(frozen=True)
class Experiment:
    """An experiment, finished or not.

    Attributes:
        folder: Its folder.
        factors: Each with its levels, in the order in which they were given.
        budget: How long the supervised arm trained.
        cells: One for each combination of levels.
        primary: The metric, such as "AP".
        split: What the scores were measured on; None where there is none yet.
        arm_count: How many runs there are, complete or not.
        unfinished: The folders of those that are not complete.
    """

    folder: Path
    factors: dict[str, list[str]]
    budget: str
    cells: list[Cell]
    primary: str
    split: str | None
    arm_count: int
    unfinished: list[str]

    def cell(self, levels: Mapping[str, str]) -> Cell | None:
        """Return the cell of a combination of levels; None where there is none."""
        return next((cell for cell in self.cells if dict(cell.levels) == dict(levels)), None)


def read_experiment(folder: Path) -> Experiment:
    """Read what an experiment has left so far.

    Raises:
        StageError: If the folder holds no experiment, or a file in it cannot be read.
    """
    record = read_json(folder / "experiment.json")
    if record is None:
        raise StageError(f"{folder} is not an experiment: it holds no experiment.json.")
    runs = [(arm, read_run(folder / arm["folder"])) for arm in record["arms"] if _has_begun(folder / arm["folder"])]
    split = _split(run for _, run in runs)
    scores = [_scores(arm, run, split) for arm, run in runs]
    in_order = sorted(scores, key=lambda arm: _order(record["arms"], arm.levels))
    cells = [Cell(levels, tuple(arms)) for levels, arms in groupby(in_order, key=lambda arm: arm.levels)]
    complete = {arm["folder"] for arm, run in runs if run.manifest.get("state") == "complete"}
    return Experiment(
        folder,
        {name: list(dict.fromkeys(arm["levels"][name] for arm in record["arms"])) for name in record["factors"]},
        record["budget"],
        cells,
        next((run.primary for _, run in runs), "AP"),
        split,
        len(record["arms"]),
        [arm["folder"] for arm in record["arms"] if arm["folder"] not in complete],
    )


def supervised(run: Run) -> Training | None:
    """Return the supervised model at its better length, by val: the teacher, or the control that trained longer.

    A student that only beats a teacher which stopped early shows nothing.
    """
    known = [t for t in (run.teacher, run.control) if t is not None and t.scores]
    if run.control is not None and run.control not in known:
        return None  # it is not known yet which is better
    judged = [t for t in known if t.score("val", run.primary) is not None]
    if judged:
        return max(judged, key=lambda t: t.score("val", run.primary) or 0.0)
    return known[-1] if known else None


def _has_begun(folder: Path) -> bool:
    return (folder / "manifest.json").exists()


def _split(runs: Iterator[Run]) -> str | None:
    """Return test where every run that has scores has it, else val."""
    scored = [set(run.student.scores) for run in runs if run.student is not None and run.student.scores]
    return next((split for split in ("test", "val") if scored and all(split in splits for splits in scored)), None)


def _scores(arm: Mapping[str, Any], run: Run, split: str | None) -> ArmScores:
    found = {"supervised": supervised(run), "self-training": run.student}
    scores = {
        method: value
        for method, training in found.items()
        if training is not None and split is not None and (value := training.score(split, run.primary)) is not None
    }
    return ArmScores(tuple(arm["levels"].items()), arm["seed"], scores)


def _order(arms: list[Mapping[str, Any]], levels: Levels) -> int:
    return [tuple(arm["levels"].items()) for arm in arms].index(levels)
