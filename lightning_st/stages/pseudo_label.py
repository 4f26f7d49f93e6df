"""The stage in which a teacher labels: predictions in shards, then the thresholds that its confidence rule finds.

The teacher is in evaluation mode and sees clean images. The store keeps every box down to the model's own score floor,
or every pixel with its confidence, so that another rule or threshold needs no new labelling. Where there is a val split
the teacher labels that too: what its labels are worth there is what a calibrated rule, and the report, go by.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer
from numpy.typing import NDArray

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError
from lightning_st.index import AnnotationIndex
from lightning_st.modules import (
    TaskModule,
    TeacherModule,
    checkpoint_fingerprint,
    load_weights,
    portable_spec,
    read_checkpoint,
)
from lightning_st.selftrain import (
    NEEDED,
    ConfidenceRule,
    Evidence,
    HardThreshold,
    ImageLabels,
    KnownNegatives,
    MaskLabels,
    Matched,
    PseudoLabels,
    PseudoLabelWriter,
    ScoreBins,
    ScoreWeights,
    bin_scores,
    count_scores,
    job_fingerprint,
    match_detections,
    match_pixels,
    precision_recall_by_threshold,
)
from lightning_st.stages.announce import announce
from lightning_st.stages.building import build_factory
from lightning_st.stages.locks import alone_in
from lightning_st.stages.manifest import Action, begin, complete, decide, plain, read_manifest
from lightning_st.stages.recipe import PseudoLabelSettings, Recipe, rule_named
from lightning_st.stages.sharing import share
from lightning_st.stages.train import make_data
from lightning_st.stages.trainers import inference_trainer
from lightning_st.types import EvalBatch, ScoreThresholds, TargetName

CURVE_THRESHOLDS = np.arange(1, 20, dtype=np.float32) / 20
"""Scores at which precision and recall on val are measured, for the report's curves."""

VAL_FOLDER = "val"
"""Where a store keeps the teacher's predictions on the val images."""


def pseudo_label(
    recipe: Recipe | Mapping[str, Any], checkpoint: Path | str, output: Path | str, restart: bool = False
) -> PseudoLabels:
    """Label the unlabelled images with a checkpoint, or go on with a labelling that was cut.

    Args:
        recipe: Its ``data``, ``model``, ``pseudo_label`` and ``trainer`` are used.
        checkpoint: Of a teacher or a student.
        output: The store's folder.
        restart: Label anew where the inputs have changed, instead of refusing.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or is of other classes or another model.
        StageError: If the store was made from other inputs.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe(**recipe)
    label_images(recipe, Path(checkpoint), Path(output), recipe.model, restart)
    return PseudoLabels.open(output)


def label_images(
    recipe: Recipe,
    checkpoint: Path,
    folder: Path,
    model: Mapping[str, Any],
    restart: bool = False,
    shared: Path | None = None,
) -> dict[str, Any]:
    """Label the unlabelled images with ``checkpoint``, whose task ``model`` names, and return the store's manifest.

    Where ``shared`` is given the store lies there, for all runs of the same inputs and the same rule.
    """
    rule = make_rule(recipe.labelling())
    data = make_data(recipe)
    refuse_without(data, rule)
    inputs = _inputs(recipe, checkpoint, data, model)
    if shared is not None:
        share(folder, shared, "pseudo_labels", {**inputs, "rule": rule_spec(rule)})
    with alone_in(folder):
        return _label_images(recipe, checkpoint, folder, model, data, inputs, rule, restart)


def _label_images(
    recipe: Recipe,
    checkpoint: Path,
    folder: Path,
    model: Mapping[str, Any],
    data: SelfTrainingDataModule,
    inputs: Mapping[str, Any],
    rule: ConfidenceRule,
    restart: bool,
) -> dict[str, Any]:
    settings, spec = recipe.labelling(), rule_spec(rule)
    action = decide(folder, inputs, restart)
    if action is Action.SKIP and (found := read_manifest(folder)) is not None and found["rule"] == spec:
        announce(f"{folder}: complete, nothing to do.")
        return found

    module = TeacherModule(build_factory(model), _classes(data, checkpoint), data.image_classes)
    load_weights(module, checkpoint)
    predict_as(settings, module)
    trainer = inference_trainer(recipe.trainer, folder)
    if action is not Action.SKIP:
        if trainer.is_global_zero:
            begin(folder, "pseudo_labels", inputs, action)
        job = job_fingerprint(**plain(inputs))
        for split, store in (("unlabeled", folder), ("val", folder / VAL_FOLDER)):
            if data.has(split):
                label_split(recipe, module, data, split, store, job)
    if trainer.is_global_zero:
        teacher = {"checkpoint": str(checkpoint), "fingerprint": inputs["teacher"]}
        facts = _facts(folder, rule, data, module.classes)
        complete(folder, **facts, rule=spec, teacher=teacher, bad_images=sorted(data.bad_images))
    trainer.strategy.barrier()
    manifest = read_manifest(folder)
    assert manifest is not None
    return manifest


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


def _classes(data: SelfTrainingDataModule, checkpoint: Path) -> Sequence[str]:
    """Return the classes of the labelled data, which must be the checkpoint's; without such data, the checkpoint's."""
    if any(data.has(split) for split in ("labeled", "val", "test")):
        return data.classes
    classes: Sequence[str] = read_checkpoint(checkpoint)["lightning_st"]["classes"]
    return classes


def predict_as(settings: PseudoLabelSettings, module: TaskModule) -> None:
    """Let a module predict as ``settings`` ask.

    Raises:
        ConfigError: If its task cannot.
    """
    if settings.soft_nms is not None and "soft_nms" not in signature(module.task.predict).parameters:
        advice = f"{type(module.task).__name__} has no choice of that kind."
        raise ConfigError.expected("pseudo_label.soft_nms", "left out", settings.soft_nms, advice)
    module.flip_when_predicting, module.scales_when_predicting = settings.flip, tuple(settings.scales)
    module.soft_nms_when_predicting = settings.soft_nms


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


def marks_of(settings: PseudoLabelSettings, target: TargetName) -> list[str]:
    """Return the ``types.MARKS_OF_DOUBT`` that ``settings`` will bring into the batches of a student."""
    weights = ["mask_weights" if target == "masks" else "weights"] if settings.weight_power else []
    return [*weights, *(["unknown_classes"] if settings.min_recall else [])]


class ShardWriting(Callback):
    """Writes each shard as soon as the last of its images is predicted; memory stays that of one shard."""

    def __init__(self, writer: PseudoLabelWriter, numbers: Sequence[int]) -> None:
        """Expect the images of shards ``numbers``, one after the other."""
        self.writer = writer
        self._expected = deque((number, len(writer.shard_rows(number))) for number in numbers)
        self._seen = 0
        self._found: list[Any] = []
        self._unreadable: list[str] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: EvalBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the predictions of a batch."""
        self._unreadable += batch["bad_images"]
        sizes = batch["sizes"].tolist()
        for row, prediction, (height, width) in zip(batch["rows"].tolist(), outputs, sizes, strict=True):
            if prediction is not None:
                self._found.append(_as_labels(row, height, width, prediction, len(pl_module.classes)))
            self._seen += 1
            if self._seen == self._expected[0][1]:
                self._write()

    def _write(self) -> None:
        number, _ = self._expected.popleft()
        self.writer.write_shard(number, self._found, self._unreadable)
        self._seen, self._found, self._unreadable = 0, [], []


def label_split(
    recipe: Recipe,
    module: TeacherModule,
    data: SelfTrainingDataModule,
    split: str,
    store: Path,
    job: str,
) -> None:
    """Predict all images of ``split`` that no finished shard holds yet, on every rank its own shards, and merge."""
    size = recipe.labelling().shard_size
    writer = PseudoLabelWriter(store, data.index(split), module.classes, f"{job}-{split}", size, data.rows(split))
    machine = inference_trainer(recipe.trainer, store)
    missing = writer.missing_shards(machine.global_rank, machine.world_size)
    shards = [writer.shard_rows(number) for number in missing]
    announce(f"{store}: {sum(map(len, shards))} {split} images to label in {len(missing)} shards.")
    if writer.missing_shards():  # on any rank: all of them take part, or none
        data.predict_on(split, shards)
        trainer = inference_trainer(recipe.trainer, store, ShardWriting(writer, missing))
        trainer.predict(module, datamodule=data, return_predictions=False, weights_only=True)
    machine.strategy.barrier()
    if machine.is_global_zero:
        writer.merge()
    machine.strategy.barrier()


def _as_labels(
    row: int, height: int, width: int, prediction: Mapping[str, Any], class_count: int
) -> ImageLabels | MaskLabels:
    """Return a ``MaskPrediction``, or a ``Prediction`` of boxes, as a store holds it."""
    if "mask" in prediction:
        mask, confidence = prediction["mask"].cpu().numpy(), prediction["confidence"].float().cpu().numpy()
        return MaskLabels.of(row, mask, confidence, class_count)
    boxes, labels, scores = (prediction[key].float().cpu().numpy() for key in ("boxes", "labels", "scores"))
    return ImageLabels(row, width, height, boxes, labels.astype(np.int64), scores)


def _inputs(recipe: Recipe, checkpoint: Path, data: SelfTrainingDataModule, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that the boxes of the store follow from; the rule and its thresholds come after them."""
    fingerprints = data.fingerprints()
    return {
        "teacher": checkpoint_fingerprint(checkpoint),
        "model": portable_spec(model),
        "data": {"image_size": recipe.data.get("image_size")},
        "trainer": {"precision": recipe.trainer.get("precision")},
        "pseudo_label": recipe.labelling().prediction,
        "fingerprints": {split: fingerprints.get(split) for split in ("unlabeled", "val")},
    }


def _facts(folder: Path, rule: ConfidenceRule, data: SelfTrainingDataModule, classes: Sequence[str]) -> dict[str, Any]:
    """Find the thresholds and count what they keep."""
    labels = AnnotationIndex.open(folder / "labels.index")
    matched = None
    if data.has("val"):
        match = match_pixels if data.target == "masks" else match_detections
        matched = match(AnnotationIndex.open(folder / VAL_FOLDER / "labels.index"), data.index("val"))
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


def rule_spec(rule: ConfidenceRule) -> dict[str, Any]:
    """Return the class of ``rule`` and its arguments, as a manifest holds them; of a rule in it likewise."""
    path = f"{type(rule).__module__}.{type(rule).__qualname__}"
    arguments = {name: rule_spec(value) if hasattr(value, "needs") else value for name, value in vars(rule).items()}
    return {"class_path": path, "init_args": plain(arguments)}
