"""One stage that trains: a teacher, a student, or the control arm; fit, choose the best checkpoint, evaluate."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError
from lightning_st.modules import StudentModule, TaskModule, TeacherModule, checkpoint_fingerprint
from lightning_st.stages.announce import announce
from lightning_st.stages.building import arguments_of_class, build, build_factory, import_name
from lightning_st.stages.evaluate import evaluate, is_better
from lightning_st.stages.manifest import Action, begin, complete, decide
from lightning_st.stages.recipe import Recipe, TrainSettings
from lightning_st.stages.trainers import finish_loggers, inference_trainer, training_trainer

# What changes a trained model; all else in these sections says where and how fast it runs.
_TRAINER_INPUTS = ("precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "callbacks")
_DATA_INPUTS = ("image_size", "batch_size", "augment", "augment_options", "example")
_STUDENT_DATA_INPUTS = (*_DATA_INPUTS, "pseudo_ratio", "keep_empty_pseudo")


@dataclass
class Training:
    """One training to be done.

    Attributes:
        recipe: The run's recipe.
        folder: The stage's folder.
        role: "teacher", "student", or "control": a student that gets no pseudo-labels.
        settings: The stage's own settings.
        pseudo_labels: The student's store.
        parents: Facts about earlier stages that this one depends on, for the manifest.
        init_checkpoint: Whose weights the model starts from; None for random ones.
    """

    recipe: Recipe
    folder: Path
    role: str
    settings: TrainSettings
    pseudo_labels: Path | None = None
    parents: dict[str, Any] = field(default_factory=dict)
    init_checkpoint: Path | None = None

    @property
    def model_spec(self) -> Mapping[str, Any]:
        """The task model by class path."""
        return self.settings.model or self.recipe.model

    def inputs(self, data: SelfTrainingDataModule) -> dict[str, Any]:
        """All that the trained weights follow from."""
        keys = _STUDENT_DATA_INPUTS if self.role == "student" else _DATA_INPUTS
        fingerprints = data.fingerprints()
        module = self.settings.module
        if self.role == "control":  # what weighs pseudo-labels is of no effect on it
            module = {key: value for key, value in module.items() if key not in arguments_of_class(StudentModule)}
        return {
            "seed": self.recipe.seed,
            "model": self.model_spec,
            "data": {key: self.recipe.data.get(key) for key in keys},
            "trainer": {key: self.recipe.trainer.get(key) for key in _TRAINER_INPUTS},
            self.role: {"max_steps": self.settings.max_steps, "ema_decay": self.settings.ema_decay}
            | {"validate_every": self.settings.validation_interval, "init": self.settings.init}
            | module,
            "fingerprints": {split: fingerprints.get(split) for split in ("labeled", "val", "test")},
            "parents": self.parents,
        }

    def make_module(self, classes: tuple[str, ...]) -> TaskModule:
        """Return the LightningModule, its weights drawn from the run's seed or taken from ``init_checkpoint``."""
        seed_everything(self.recipe.seed, verbose=False)
        arguments = build(self.settings.module)
        if self.role == "teacher":
            return TeacherModule(build_factory(self.model_spec), classes, **arguments)
        init = None if self.init_checkpoint is None else str(self.init_checkpoint)
        return StudentModule(build_factory(self.model_spec), classes, init=init, **arguments)


def run_training(training: Training, restart: bool = False) -> Path:
    """Run one training stage, or what is left of it, and return the checkpoint that was chosen and evaluated.

    Raises:
        StageError: If what is in the folder was made from other inputs and ``restart`` is not given.
    """
    recipe, folder, settings = training.recipe, training.folder, training.settings
    data = make_data(recipe, pseudo_labels=training.pseudo_labels, steps=settings.max_steps)
    inputs = training.inputs(data)
    action = decide(folder, inputs, restart)
    if action is Action.SKIP:
        announce(f"{folder}: complete, nothing to do.")
        return chosen_checkpoint(folder)

    module = training.make_module(data.classes)
    monitor = f"val/{module.primary_metric}" if data.has("val") else None
    trainer = training_trainer(recipe.trainer, settings, folder, monitor)
    if trainer.is_global_zero:
        begin(folder, training.role, inputs, action)
    last = folder / "checkpoints" / "last.ckpt"
    resume_from = last if action is Action.RESUME and last.exists() else None
    announce(_announcement(training, data, resume_from))
    trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
    if monitor is not None:
        _consider_last(trainer, module, data, last)
    finish_loggers(trainer)
    chosen = chosen_checkpoint(folder)
    evaluate(inference_trainer(recipe.trainer, folder), module, data, chosen, folder / "evaluation.json")
    if trainer.is_global_zero:
        facts = {"max_steps": settings.max_steps, "weights": module.weights_kind, "parents": training.parents}
        relative = str(chosen.relative_to(folder))
        complete(folder, **facts, evaluated=relative, fingerprint=checkpoint_fingerprint(chosen), bad_images=_bad(data))
    trainer.strategy.barrier()
    return chosen


def make_data(recipe: Recipe, pseudo_labels: Path | None = None, steps: int | None = None) -> SelfTrainingDataModule:
    """Return the DataModule of a stage, its indexes built and opened; what is learnt the model's class says.

    Args:
        recipe: The run's recipe.
        pseudo_labels: The store that a student learns from; None for human labels only.
        steps: Optimiser steps of the stage. The whole training is one epoch of Lightning's, so that no worker idles
            between passes over a small set.
    """
    accumulate = recipe.trainer.get("accumulate_grad_batches") or 1
    arguments = build(recipe.data) | {
        "pseudo_labels": None if pseudo_labels is None else str(pseudo_labels),
        "epoch_batches": None if steps is None else steps * accumulate,
        "seed": recipe.seed,
        "target": recipe.data.get("target") or getattr(import_name(recipe.model["class_path"]), "target", None),
    }
    data = SelfTrainingDataModule(**arguments)
    data.prepare_data()
    data.setup("fit")
    return data


def chosen_checkpoint(folder: Path) -> Path:
    """Return the checkpoint that stands for a trained stage: the best on val, or the last where there is no val."""
    best = folder / "checkpoints" / "best.ckpt"
    return best if best.exists() else folder / "checkpoints" / "last.ckpt"


def student_start(settings: TrainSettings, teacher: Path, same_model: bool) -> Path | None:
    """Return the checkpoint that a student starts from, None for random weights.

    Raises:
        ConfigError: If it should start from a teacher of another model, or from a file that is not there.
    """
    if settings.init == "random":
        return None
    if settings.init == "teacher":
        if not same_model:
            advice = "A student with a model of its own cannot start from its teacher's weights."
            raise ConfigError.expected("student.init", "random or a checkpoint file", settings.init, advice)
        return teacher
    if not Path(settings.init).is_file():
        raise ConfigError.expected("student.init", "random, teacher, or a checkpoint file that exists", settings.init)
    return Path(settings.init)


def _consider_last(trainer: Any, module: TaskModule, data: SelfTrainingDataModule, last: Path) -> None:
    """Make the end of the training the best checkpoint if it is: the last validation need not fall on the last step."""
    best = next(c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor is not None)
    trainer.validate(module, datamodule=data, verbose=False, weights_only=True)
    score = module.evaluation[module.primary_metric]
    destination = last.with_name("best.ckpt")
    if trainer.is_global_zero and (is_better(score, best.best_model_score) or not destination.exists()):
        beside = destination.with_suffix(".new")
        shutil.copyfile(last, beside)
        os.replace(beside, destination)
    trainer.strategy.barrier()


def _announcement(training: Training, data: SelfTrainingDataModule, resume_from: Path | None) -> str:
    counts = f"{data.image_count('labeled')} labelled images"
    if training.pseudo_labels is not None:
        counts += f" and {data.image_count('pseudo')} pseudo-labelled ones"
    verb = "goes on" if resume_from else "begins"
    return f"{training.folder}: the {training.role} {verb}, {training.settings.max_steps} steps on {counts}."


def _bad(data: SelfTrainingDataModule) -> list[str]:
    return sorted(data.bad_images)
