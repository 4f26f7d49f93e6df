"""From the settings of a recipe to a confidence rule, and what a rule finds when a teacher has labelled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError
from lightning_st.index import AnnotationIndex
from lightning_st.selftrain import (
    LABELS_FILE,
    NEEDED,
    ConfidenceRule,
    Evidence,
    HardThreshold,
    KnownNegatives,
    Matched,
    PseudoLabels,
    ScoreBins,
    ScoreWeights,
    bin_scores,
    count_scores,
    match_detections,
    match_pixels,
    precision_recall_by_threshold,
)
from lightning_st.stages.building import build_factory
from lightning_st.stages.labelling import VAL_FOLDER
from lightning_st.stages.manifest import plain
from lightning_st.stages.recipe import PseudoLabelSettings, rule_named
from lightning_st.types import ScoreThresholds, TargetName

CURVE_THRESHOLDS = np.arange(1, 20, dtype=np.float32) / 20
"""Scores at which precision and recall on val are measured, for the report's curves."""


def make_rule(settings: PseudoLabelSettings) -> ConfidenceRule:
    """Return the confidence rule that ``settings`` ask for.

    Raises:
        ConfigError: If a class that is to be the rule is not there, or its arguments are wrong.
    """
    rule = _choosing_rule(settings)
    if settings.min_recall:
        rule = KnownNegatives(rule, settings.min_recall)
    if settings.weight_power:
        rule = ScoreWeights(rule, settings.weight_power)
    return rule


def _choosing_rule(settings: PseudoLabelSettings) -> ConfidenceRule:
    """Return the rule that says what is kept."""
    if settings.score_threshold is not None:
        return HardThreshold(settings.score_threshold)
    if not isinstance(settings.rule, str):
        rule: ConfidenceRule = build_factory(settings.rule)()
        return rule
    arguments = {} if settings.precision is None else {"precision": settings.precision}
    named: ConfidenceRule = rule_named(settings.rule)(**arguments | (settings.rule_options or {}))
    return named


def rule_spec(rule: ConfidenceRule) -> dict[str, Any]:
    """Return the class of ``rule`` and its arguments, as a manifest holds them; of a rule in it likewise."""
    path = f"{type(rule).__module__}.{type(rule).__qualname__}"
    arguments = {name: rule_spec(value) if hasattr(value, "needs") else value for name, value in vars(rule).items()}
    return {"class_path": path, "init_args": plain(arguments)}


def marks_of(settings: PseudoLabelSettings, target: TargetName) -> list[str]:
    """Return the ``types.MARKS_OF_DOUBT`` that ``settings`` will bring into the batches of a student."""
    weights = ["mask_weights" if target == "masks" else "weights"] if settings.weight_power else []
    return [*weights, *(["unknown_classes"] if settings.min_recall else [])]


def refuse_without(data: SelfTrainingDataModule, rule: ConfidenceRule) -> None:
    """Refuse data that lack what labelling, or ``rule``, needs.

    Raises:
        ConfigError: Naming what to give.
    """
    if not data.has("unlabeled"):
        raise ConfigError("There is nothing to label: give data.unlabeled.images, a folder or tar of images.")
    for name in rule.needs:
        if not data.has(name):
            raise ConfigError(NEEDED[name])


def apply_rule(
    folder: Path, rule: ConfidenceRule, data: SelfTrainingDataModule, classes: Sequence[str]
) -> dict[str, Any]:
    """Return what a rule finds for a store, for its manifest: thresholds, and what they keep and were worth on val.

    Args:
        folder: The store's.
        rule: See ``make_rule``.
        data: What it was made from.
        classes: The names of the store's classes.
    """
    labels = AnnotationIndex.open(folder / LABELS_FILE)
    matched = None
    if data.has("val"):
        match = match_pixels if data.target == "masks" else match_detections
        matched = match(AnnotationIndex.open(folder / VAL_FOLDER / LABELS_FILE), data.index("val"))
    rates = _labeled_rates(data) if data.has("labeled") else None
    thresholds = rule(Evidence(tuple(classes), count_scores(labels), matched, rates))
    store = PseudoLabels(labels, {"thresholds": thresholds.to_json()})
    facts: dict[str, Any] = {
        "classes": classes,
        "thresholds": thresholds.to_json(),
        "statistics": store.statistics(),
        "fingerprint": labels.fingerprint,
    }
    if matched is not None:
        facts["calibration"] = _calibration(matched, thresholds, classes)
        by_class = {name: _reliability(bin_scores(matched, label)) for label, name in enumerate(classes)}
        facts["reliability"] = {"all": _reliability(bin_scores(matched)), "by_class": by_class}
    return facts


def _labeled_rates(data: SelfTrainingDataModule) -> NDArray[np.float64]:
    """Return what ``Evidence.labeled_rates`` is."""
    counts = data.split("labeled").statistics()
    by_class = counts["pixels_by_class" if data.target == "masks" else "labels_by_class"]
    found = np.array([by_class[name] for name in data.classes], np.float64)
    total: int = found.sum() if data.target == "masks" else counts["images"]
    return found / max(1, total)


def _calibration(matched: Matched, thresholds: ScoreThresholds, classes: Sequence[str]) -> dict[str, Any]:
    """Return precision and recall against threshold by class, as the report draws them; also at the class's own."""
    own = np.minimum(thresholds.keep, 1)  # above 1 for a class that is never trusted
    grid = np.broadcast_to(CURVE_THRESHOLDS, (len(classes), len(CURVE_THRESHOLDS)))
    curves = precision_recall_by_threshold(matched, np.sort(np.column_stack([grid, own]), axis=1))
    return {
        name: {
            "thresholds": curves.thresholds[label].tolist(),
            "precision": curves.precision[label].tolist(),
            "recall": curves.recall[label].tolist(),
        }
        for label, name in enumerate(classes)
    }


def _reliability(bins: ScoreBins) -> dict[str, Any]:
    """Return a reliability diagram as plain values."""
    return {name: value.tolist() for name, value in vars(bins).items()} | {"error": bins.error}
