"""The trainings of a run of self-training: what each starts from, and how long it takes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_st.modules import checkpoint_fingerprint
from lightning_st.stages.recipe import Recipe, TrainSettings
from lightning_st.stages.train import Training, student_start

Fingerprint = Callable[[Path], str]
"""What to say in a manifest of the checkpoint that a training starts from."""


def teacher_training(
    recipe: Recipe, folder: Path, backbone: Path | None, fingerprint: Fingerprint = checkpoint_fingerprint
) -> Training:
    """Return the training of the first teacher.

    Args:
        recipe: The run's recipe.
        folder: The stage's folder.
        backbone: The checkpoint of the pre-training that the run begins with; None where there is none.
        fingerprint: See ``Fingerprint``.
    """
    settings = TrainSettings.read(recipe.teacher, "teacher")
    parents = {} if backbone is None else {"pretrain": fingerprint(backbone)}
    return Training(recipe, folder, "teacher", settings, parents=parents, backbone_checkpoint=backbone)


def control_training(
    recipe: Recipe,
    folder: Path,
    teacher: Path,
    backbone: Path | None,
    fingerprint: Fingerprint = checkpoint_fingerprint,
) -> Training:
    """Return the training that a student has to beat: as long as teacher and students together, on the labels alone.

    Where the students start from their teacher it goes on from the teacher too; else it takes all the steps itself.

    Args:
        recipe: The run's recipe.
        folder: The stage's folder.
        teacher: The first teacher's checkpoint.
        backbone: See ``teacher_training``.
        fingerprint: See ``Fingerprint``.
    """
    settings = TrainSettings.read(recipe.student, "student")
    steps = recipe.rounds * settings.max_steps
    if recipe.control == "compute":
        steps = round(steps * (1 + recipe.data.get("pseudo_ratio", 1.0)))
    if settings.init != "teacher":
        steps += TrainSettings.read(recipe.teacher, "teacher").max_steps
    start = student_start(settings, teacher, same_model=settings.model is None)
    settings = replace(settings, max_steps=steps)
    return _started(Training(recipe, folder, "control", settings), start, backbone, fingerprint)


def student_training(
    recipe: Recipe,
    folder: Path,
    number: int,
    store: Path,
    labels: Mapping[str, Any],
    teacher: Path,
    backbone: Path | None,
) -> Training:
    """Return the training of a student.

    Args:
        recipe: The run's recipe.
        folder: The stage's folder.
        number: Of the round, from 0; the teacher of a later one is a student itself.
        store: The pseudo-labels.
        labels: Their manifest.
        teacher: The checkpoint that made them.
        backbone: See ``teacher_training``.
    """
    settings = TrainSettings.read(recipe.student, "student")
    start = student_start(settings, teacher, same_model=number > 0 or settings.model is None)
    parents = {"pseudo_labels": labels["fingerprint"], "thresholds": labels["thresholds"]}
    training = Training(recipe, folder, "student", settings, store, parents)
    return _started(training, start, backbone, checkpoint_fingerprint)


def _started(training: Training, start: Path | None, backbone: Path | None, fingerprint: Fingerprint) -> Training:
    """Return a training that starts from a checkpoint, else from a backbone, else from random weights.

    A pre-training is that of the run's model: a model of the student's own says itself what it starts from.
    """
    parents = {**training.parents, "init": "random" if start is None else fingerprint(start)}
    if start is not None or backbone is None or training.settings.model is not None:
        return replace(training, parents=parents, init_checkpoint=start)
    return replace(training, parents={**parents, "pretrain": fingerprint(backbone)}, backbone_checkpoint=backbone)
