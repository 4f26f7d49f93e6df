"""``metrics.json``: a run's numbers in the form that scripts rely on (README, "What self_train leaves")."""

from collections.abc import Mapping
from typing import Any

from lightning_st.reports.run_folder import SPLITS, Labelling, Round, Run, Training

_PSEUDO_LABEL_KEYS = ("images", "images_with_labels", "labels", "mean_score")


def run_metrics(run: Run) -> dict[str, Any]:
    """Return a run's numbers as plain data without NaN; what is not there yet is an empty dict.

    Returns:
        ``metric``: the primary metric's name. ``rounds``: for each its ``round`` number, the scores of ``teacher`` and
        ``student`` by split (0-1), ``gain`` (student minus its teacher, by split), ``pseudo_labels`` (counts).
        ``control``, where there is one: its scores by split, ``max_steps`` and ``gain_of_student``: the scores of the
        student that stands for the run minus its own. ``patience``, where a recipe asked for it: ``best_round`` and
        ``stopped``, null where no round helped and where all were run. ``seconds``: by stage, and ``total``.
    """
    metrics: dict[str, Any] = {"metric": run.primary, "rounds": [_round(r, run.primary) for r in run.rounds]}
    if run.control is not None:
        metrics["control"] = {
            **run.control.scores,
            "max_steps": run.control.manifest.get("max_steps"),
            "gain_of_student": gains(run.student, run.control, run.primary),
        }
    if run.patience:
        metrics["patience"] = run.patience
    seconds = {
        stage.name: stage.manifest["seconds"] for stage in run.stages if stage.manifest.get("seconds") is not None
    }
    return metrics | {"seconds": seconds | {"total": round(sum(seconds.values()), 1)}}


def gains(better: Training | None, than: Training | None, key: str) -> dict[str, float]:
    """Return by how much the score ``key`` of one model exceeds another's, by split; without splits that one lacks.

    Rounded to six decimals, so that a difference of two short numbers is a short number.
    """
    found = {split: gain(better, than, split, key) for split in reversed(SPLITS)}
    return {split: value for split, value in found.items() if value is not None}


def gain(better: Training | None, than: Training | None, split: str, key: str) -> float | None:
    """Return one model's score minus another's on a split, or None where one of them is absent or undefined."""
    if better is None or than is None:
        return None
    first, second = better.score(split, key), than.score(split, key)
    return None if first is None or second is None else round(first - second, 6)


def _round(round_: Round, primary: str) -> dict[str, Any]:
    return {
        "round": round_.number,
        "teacher": _scores(round_.teacher),
        "student": _scores(round_.student),
        "gain": gains(round_.student, round_.teacher, primary),
        "pseudo_labels": _pseudo_labels(round_.labels),
    }


def _scores(training: Training | None) -> Mapping[str, Any]:
    return {} if training is None else training.scores


def _pseudo_labels(labels: Labelling | None) -> dict[str, Any]:
    if labels is None or not labels.statistics:
        return {}
    return {key: labels.statistics.get(key) for key in _PSEUDO_LABEL_KEYS}
