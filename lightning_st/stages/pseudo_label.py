"""The stage in which a teacher labels: predictions in shards, then the thresholds that its confidence rule finds.

The teacher is in evaluation mode and sees clean images. The store keeps every box down to the model's own score floor,
or every pixel with its confidence, so that another rule or threshold needs no new labelling. Where there is a val split
the teacher labels that too: what its labels are worth there is what a calibrated rule, and the report, go by.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_st.data import SelfTrainingDataModule
from lightning_st.modules import TeacherModule, checkpoint_fingerprint, load_weights, portable_spec, read_checkpoint
from lightning_st.modules.speed import SPEED_OPTIONS
from lightning_st.selftrain import ConfidenceRule, PseudoLabels, job_fingerprint
from lightning_st.stages.announce import announce
from lightning_st.stages.building import build_factory
from lightning_st.stages.confidence import apply_rule, make_rule, refuse_without, rule_spec
from lightning_st.stages.labelling import VAL_FOLDER, label_split, predict_as
from lightning_st.stages.locks import alone_in
from lightning_st.stages.manifest import Action, begin, complete, decide, plain, read_manifest
from lightning_st.stages.recipe import Recipe
from lightning_st.stages.sharing import share
from lightning_st.stages.train import make_data
from lightning_st.stages.trainers import inference_trainer


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

    speed = {key: value for key, value in recipe.teacher.items() if key in SPEED_OPTIONS}
    module = TeacherModule(build_factory(model), _classes(data, checkpoint), data.image_classes, **speed)
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
        facts = apply_rule(folder, rule, data, module.classes)
        complete(folder, **facts, rule=spec, teacher=teacher, bad_images=sorted(data.bad_images))
    trainer.strategy.barrier()
    manifest = read_manifest(folder)
    assert manifest is not None
    return manifest


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


def _classes(data: SelfTrainingDataModule, checkpoint: Path) -> Sequence[str]:
    """Return the classes of the labelled data, which must be the checkpoint's; without such data, the checkpoint's."""
    if any(data.has(split) for split in ("labeled", "val", "test")):
        return data.classes
    classes: Sequence[str] = read_checkpoint(checkpoint)["lightning_st"]["classes"]
    return classes
