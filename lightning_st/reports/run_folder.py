"""What a run left behind, read from its files. What is not there yet is None or empty: no reader here insists."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lightning_st.errors import StageError
from lightning_st.reports.shapes import EVALUATION, LABELLING, RUN, TRAINING, Shape, misfit
from lightning_st.types import ScoreThresholds

SCHEMA = 1
SPLITS = ("test", "val")
"""In the order in which a report believes them: val also chose the checkpoints, so it flatters every model."""

_BEYOND = 1e30
"""No number of a log is as large; one that is, or is not finite, has no place on an axis."""

Scores = dict[str, float | None]
"""A split's numbers by name, 0-1; None where nothing can be said (an undefined AP)."""


@dataclass(frozen=True)
class Training:
    """A stage that trains one model.

    Attributes:
        folder: Its folder.
        name: The folder relative to the run's, such as "round_0/teacher".
        manifest: Its ``manifest.json``.
        evaluation: Its ``evaluation.json``, or an empty dict.
    """

    folder: Path
    name: str
    manifest: dict[str, Any]
    evaluation: dict[str, Any]

    @property
    def scores(self) -> dict[str, Scores]:
        """The numbers by split."""
        splits: dict[str, Scores] = self.evaluation.get("splits", {})
        return splits

    def score(self, split: str, key: str) -> float | None:
        """Return one number, or None where it is absent or undefined."""
        return self.scores.get(split, {}).get(key)

    @cached_property
    def log(self) -> list[dict[str, str]]:
        """The rows of ``metrics.csv``, as text; empty where it was not written yet."""
        path = self.folder / "metrics.csv"
        if not path.exists():
            return []
        try:
            with path.open(newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise StageError(f"{path}: no CSV in UTF-8 ({error}).") from error

    def curve(self, column: str) -> list[tuple[float, float]]:
        """Return the (step, value) pairs of a column of ``metrics.csv``, without empty and non-finite cells.

        Raises:
            StageError: If a cell is not a number.
        """
        try:
            pairs = [
                (float(row["step"]), float(row[column])) for row in self.log if row.get("step") and row.get(column)
            ]
        except ValueError as error:
            raise StageError(f"{self.folder / 'metrics.csv'}: column {column!r}: {error}.") from error
        return [(step, value) for step, value in pairs if abs(step) < _BEYOND and abs(value) < _BEYOND]


@dataclass(frozen=True)
class Labelling:
    """A stage that made pseudo-labels.

    Attributes:
        folder: Its folder, which holds ``labels.index``.
        name: The folder relative to the run's.
        manifest: Its ``manifest.json``; without statistics and thresholds while the stage is running.
    """

    folder: Path
    name: str
    manifest: dict[str, Any]

    @property
    def statistics(self) -> dict[str, Any]:
        """Counts and histograms; empty while the stage is running."""
        statistics: dict[str, Any] = self.manifest.get("statistics", {})
        return statistics

    @property
    def holds_masks(self) -> bool:
        """Whether its labels are masks: then a label is a class of which an image shows at least a pixel."""
        return "pixels" in self.statistics

    @property
    def shown(self) -> float | None:
        """The part (0-1) of all pixels that a student is shown; None for boxes."""
        if not self.holds_masks:
            return None
        shown: int = sum(self.statistics["pixels_by_class"].values())
        total: int = self.statistics["pixels"]
        return shown / max(1, total)

    @property
    def things(self) -> str:
        """What a threshold keeps or not: "boxes" or "pixels"."""
        return "pixels" if self.holds_masks else "boxes"

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the labels."""
        classes: list[str] = self.manifest.get("classes", [])
        return classes

    @property
    def thresholds(self) -> ScoreThresholds | None:
        """Which labels the student is shown; None while the stage is running."""
        record = self.manifest.get("thresholds")
        return None if record is None else ScoreThresholds.from_json(record)

    @property
    def calibration(self) -> dict[str, dict[str, list[float | None]]]:
        """By class "thresholds", and "precision" and "recall" on val of what is found from there up; empty without."""
        calibration: dict[str, dict[str, list[float | None]]] = self.manifest.get("calibration", {})
        return calibration

    @property
    def reliability(self) -> dict[str, Any]:
        """What the labels on val of each tenth of the scores were worth, "all" and "by_class"; empty without."""
        reliability: dict[str, Any] = self.manifest.get("reliability", {})
        return reliability

    def calibration_error(self, name: str) -> float | None:
        """Return by how much the scores of class ``name`` on val miss the share that is right, on average, 0-1."""
        measured: dict[str, Any] = self.reliability.get("by_class", {}).get(name, {})
        error: float | None = measured.get("error")
        return error

    def worth(self, name: str, what: str) -> float | None:
        """Return the "precision" or "recall" on val of the boxes, or pixels, of class ``name`` that are kept.

        None where none is kept, or it was not measured.
        """
        measured, thresholds = self.calibration.get(name), self.thresholds
        if measured is None or thresholds is None:
            return None
        keep = thresholds.keep[self.classes.index(name)]
        pairs = zip(measured["thresholds"], measured[what], strict=True)
        return next((value for threshold, value in pairs if np.float32(threshold) >= keep), None)


@dataclass(frozen=True)
class Round:
    """One round: its teacher (that of a later round is the student before), the labels it made, its student."""

    number: int
    teacher: Training | None
    labels: Labelling | None
    student: Training | None


@dataclass(frozen=True)
class Run:
    """A whole self-training run.

    Attributes:
        folder: The run's folder.
        manifest: Its ``manifest.json``.
        rounds: At least one, though it may be empty.
        control: A teacher trained for as many steps as all stages together, where the recipe asked for one.
        pretraining: What the models' backbones started from, where the recipe asked for one.
    """

    folder: Path
    manifest: dict[str, Any]
    rounds: list[Round]
    control: Training | None
    pretraining: Training | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The whole recipe."""
        config: dict[str, Any] = self.manifest.get("config", {})
        return config

    @property
    def seed(self) -> int | None:
        """The seed of every random draw."""
        seed: int | None = self.config.get("seed_everything", self.config.get("seed"))
        return seed

    @property
    def classes(self) -> list[str]:
        """The class names."""
        classes: list[str] = self.manifest.get("classes", [])
        return classes

    @property
    def data(self) -> dict[str, dict[str, Any]]:
        """Counts by split: "images", and where there are labels "labels", "labels_by_class", "labels_per_image"."""
        data: dict[str, dict[str, Any]] = self.manifest.get("data", {})
        return data

    @property
    def teacher(self) -> Training | None:
        """The first teacher, which saw human labels only."""
        return self.rounds[0].teacher

    @property
    def judged_round(self) -> Round:
        """The round whose student stands for the run: with patience that of the best on val, where one helped.

        Else the last round whose student has scores; the first where none has.
        """
        best: int | None = self.patience.get("best_round")
        if best is not None:
            return self.rounds[best]
        return next((r for r in reversed(self.rounds) if r.student and r.student.scores), self.rounds[0])

    @property
    def signs(self) -> list[str]:
        """Sentences on what looked like a collapse of the newest teacher's labels."""
        found: list[str] = self.manifest.get("signs", [])
        return found

    @property
    def patience(self) -> dict[str, Any]:
        """What patience found: "best_round", None where none helped, and "stopped", a sentence or None; or empty."""
        found: dict[str, Any] = self.manifest.get("patience", {})
        return found

    @property
    def student(self) -> Training | None:
        """The student of the round that stands for the run."""
        return self.judged_round.student

    @property
    def labels(self) -> Labelling | None:
        """The pseudo-labels that this student learnt from; None before they are complete."""
        labels = self.judged_round.labels
        return labels if labels is not None and labels.statistics else None

    @property
    def models(self) -> list[tuple[str, Training]]:
        """Every stage that trains with the name that its model has in tables, in the order of the run."""
        students = [(self.numbered("student", r.number), r.student) for r in self.rounds]
        named = [("teacher", self.teacher), *students, ("control", self.control)]
        return [(name, training) for name, training in named if training is not None]

    def numbered(self, name: str, number: int) -> str:
        """Return ``name``, with the round's number where there are several rounds."""
        return name if len(self.rounds) == 1 else f"{name} of round {number}"

    @property
    def stages(self) -> list[Training | Labelling]:
        """Every stage, in the order of the run."""
        inner = [stage for r in self.rounds for stage in (r.labels, r.student)]
        return [stage for stage in (self.pretraining, self.teacher, *inner, self.control) if stage is not None]

    def class_key(self, name: str) -> str:
        """Return what the primary metric of class ``name`` is called: the mean over the classes loses its "m"."""
        return f"{self.primary.removeprefix('m')}/{name}"

    @property
    def primary(self) -> str:
        """The metric that decides which of two models is better."""
        return next((t.evaluation["primary"] for _, t in self.models if "primary" in t.evaluation), "AP")


def read_run(folder: Path) -> Run:
    """Read the run in ``folder``, finished or not.

    Raises:
        StageError: If the folder holds no run of this version of the package, or a file of it cannot be read.
    """
    path = folder / "manifest.json"
    manifest = read_json(path)
    if manifest is None or manifest.get("stage") != "self_train":
        found = "no manifest.json" if manifest is None else f"a manifest of the stage {manifest.get('stage')!r}"
        advice = "Give the folder that was the --output of lightning_st self_train."
        raise StageError(f"{folder} is not a self-training run: it holds {found}. {advice}")
    _refuse_misfit(path, manifest, RUN)
    return Run(folder, manifest, list(_rounds(folder)), _training(folder, "control"), _training(folder, "pretrain"))


def read_json(path: Path, shape: Shape | None = None) -> dict[str, Any] | None:
    """Return a JSON file of a stage, NaN as None; None where there is no such file.

    Args:
        path: The file.
        shape: What it has to look like.

    Raises:
        StageError: If it cannot be read, or is not of this schema, or of another shape.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise StageError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise StageError(f"{path}: not a file of schema {SCHEMA}; another version of lightning_st wrote it.")
    if shape is not None:
        _refuse_misfit(path, record, shape)
    return record


def _refuse_misfit(path: Path, record: dict[str, Any], shape: Shape) -> None:
    problem = misfit(record, shape)
    if problem is not None:
        raise StageError(f"{path}: {problem}. It was edited, or something else wrote it.")


def _rounds(run: Path) -> Iterator[Round]:
    numbers = [int(match[1]) for path in run.glob("round_*") if (match := re.fullmatch(r"round_(\d{1,4})", path.name))]
    teacher = _training(run, "round_0/teacher")
    for number in range(max(numbers, default=0) + 1):
        student = _training(run, f"round_{number}/student")
        yield Round(number, teacher, _labelling(run, f"round_{number}/pseudo_labels"), student)
        teacher = student


def _training(run: Path, name: str) -> Training | None:
    manifest = read_json(run / name / "manifest.json", TRAINING)
    if manifest is None:
        return None
    return Training(run / name, name, manifest, read_json(run / name / "evaluation.json", EVALUATION) or {})


def _labelling(run: Path, name: str) -> Labelling | None:
    path = run / name / "manifest.json"
    manifest = read_json(path, LABELLING)
    if manifest is None:
        return None
    thresholds, classes = manifest.get("thresholds"), manifest.get("classes", [])
    if thresholds is not None and not len(thresholds["keep"]) == len(thresholds["ignore"]) == len(classes):
        problem = f"thresholds: expected one for each of {len(classes)} classes"
        raise StageError(f"{path}: {problem}. It was edited, or something else wrote it.")
    return Labelling(run / name, name, manifest)
