"""One stage that trains: a teacher, a student, the control arm, a pre-training; fit, choose the best, evaluate."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError
from lightning_st.modules import StudentModule, TaskModule, TeacherModule, checkpoint_fingerprint, portable_spec
from lightning_st.modules.speed import SPEED_OPTIONS
from lightning_st.stages.announce import announce
from lightning_st.stages.building import arguments_of_class, build, build_factory, import_name
from lightning_st.stages.evaluate import evaluate, is_better
from lightning_st.stages.last_checkpoint import LAST, PREVIOUS, newest_state
from lightning_st.stages.locks import alone_in
from lightning_st.stages.loggers import ending_wandb_run, wandb_run_id
from lightning_st.stages.manifest import Action, begin, complete, decide
from lightning_st.stages.recipe import TrainSettings
from lightning_st.stages.sharing import share
from lightning_st.stages.titles import title_of
from lightning_st.stages.tracking import Tracking
from lightning_st.stages.trainers import inference_trainer, training_trainer

# What changes a trained model; all else in these sections says where and how fast it runs.
_TRAINER_INPUTS = ("precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "callbacks")
_DATA_INPUTS = ("image_size", "batch_size", "augment", "augment_options", "example")
_STUDENT_DATA_INPUTS = (*_DATA_INPUTS, "pseudo_ratio", "keep_empty_pseudo")
_JOINT_DATA_INPUTS = (*_DATA_INPUTS, "pseudo_ratio")

JOINT_LOSS = {"alpha": 1.0, "normalize_loss": False}
"""How joint training weighs its two losses: they are added, from the start (paper.md, section 3.5)."""


class RunRecipe(Protocol):
    """What a training reads of a recipe: see ``Recipe`` and ``PretrainRecipe``."""

    data: dict[str, Any]
    model: dict[str, Any]
    trainer: dict[str, Any]
    seed: int
    tracking: dict[str, Any]


@dataclass
class Training:
    """One training to be done.

    Attributes:
        recipe: The run's recipe.
        folder: The stage's folder.
        role: "teacher"; "student"; "control": a student that gets no pseudo-labels; or "pretrain". With ``data.joint``
            all but the student, whose pseudo-labelled images these are, train jointly.
        settings: The stage's own settings.
        pseudo_labels: The student's store.
        parents: Facts about earlier stages that this one depends on, for the manifest.
        init_checkpoint: Whose weights the model starts from; None for random ones.
        backbone_checkpoint: Of a pre-training, from whose backbone the model starts; None for what the model says.
    """

    recipe: RunRecipe
    folder: Path
    role: str
    settings: TrainSettings
    pseudo_labels: Path | None = None
    parents: dict[str, Any] = field(default_factory=dict)
    init_checkpoint: Path | None = None
    backbone_checkpoint: Path | None = None

    @property
    def model_spec(self) -> Mapping[str, Any]:
        """The task model by class path."""
        return self.settings.model or self.recipe.model

    @property
    def section(self) -> str:
        """What the recipe calls its settings; in a manifest those of the control have its own name."""
        return "training" if self.role == "pretrain" else self.role

    def make_data(self) -> SelfTrainingDataModule:
        """Return the DataModule of the stage, its indexes built and opened.

        Raises:
            ConfigError: If there is nothing to train on.
        """
        data = make_data(self.recipe, self.pseudo_labels, self.settings.max_steps, self.role != "student")
        data.split(data.streams[0])
        return data

    def inputs(self, data: SelfTrainingDataModule) -> dict[str, Any]:
        """All that the trained weights follow from."""
        is_joint = self.role == "pretrain" or data.has("joint")
        keys: tuple[str, ...] = _JOINT_DATA_INPUTS if is_joint else _DATA_INPUTS
        keys = _STUDENT_DATA_INPUTS if self.role == "student" else keys
        given = self.recipe.data if self.recipe.data.get("augment") else {**self.recipe.data, "augment": data.augment}
        fingerprints = data.fingerprints()
        # Compiled or not, a training is the same but for rounding, as on another number of devices.
        module = {key: value for key, value in self.settings.module.items() if key not in SPEED_OPTIONS}
        if self.role == "control":  # what weighs pseudo-labels is of no effect on it
            module = {key: value for key, value in module.items() if key not in arguments_of_class(StudentModule)}
        sets = ["labeled", "val", "test"]
        sets += ["unlabeled"] if "unlabeled" in data.streams else []
        sets += ["joint"] if data.has("joint") else []
        return {
            "seed": self.recipe.seed,
            "model": portable_spec(self.model_spec),
            "data": {key: given.get(key) for key in keys},
            "trainer": {key: self.recipe.trainer.get(key) for key in _TRAINER_INPUTS},
            self.section: {"max_steps": self.settings.max_steps, "ema_decay": self.settings.ema_decay}
            | {"validate_every": self.settings.validation_interval, "init": self.settings.init}
            | module,
            "fingerprints": {split: fingerprints.get(split) for split in sets},
            "parents": self.parents,
        }

    def make_module(self, data: SelfTrainingDataModule) -> TaskModule:
        """Return the LightningModule, its weights drawn from the run's seed or taken from a checkpoint."""
        seed_everything(self.recipe.seed, verbose=False)
        spec = self.model_spec
        if self.backbone_checkpoint is not None:
            start = {"pretrained": str(self.backbone_checkpoint)}
            spec = {**spec, "init_args": {**(spec.get("init_args") or {}), **start}}
        factory = build_factory(spec)
        arguments = build(self.settings.module) | {"classes": data.classes, "image_classes": data.image_classes}
        if self.role in ("teacher", "pretrain") and not data.has_pseudo_part:
            return TeacherModule(factory, **arguments)
        if self.role in ("teacher", "control") and data.has_pseudo_part:
            arguments |= JOINT_LOSS
        init = None if self.init_checkpoint is None else str(self.init_checkpoint)
        return StudentModule(factory, init=init, **arguments)


def run_training(training: Training, restart: bool = False, shared: Path | None = None) -> Path:
    """Run one training stage, or what is left of it, and return the checkpoint that was chosen and evaluated.

    Args:
        training: What is trained.
        restart: Begin anew where the inputs have changed, instead of refusing.
        shared: Where other runs look for the same training; the stage's folder becomes a link to it.

    Raises:
        StageError: If what is in the folder was made from other inputs and ``restart`` is not given.
    """
    data = training.make_data()
    inputs = training.inputs(data)
    if shared is not None:
        share(training.folder, shared, training.role, inputs)
    with alone_in(training.folder):
        return _run_training(training, data, inputs, restart)


def _run_training(training: Training, data: SelfTrainingDataModule, inputs: Mapping[str, Any], restart: bool) -> Path:
    recipe, folder, settings = training.recipe, training.folder, training.settings
    action = decide(folder, inputs, restart)
    if action is Action.SKIP:
        announce(f"{folder}: complete, nothing to do.")
        return chosen_checkpoint(folder)

    module = training.make_module(data)
    monitor = f"val/{module.primary_metric}" if data.has("val") and module.primary_metric else None
    title, run_id = title_of(folder, training.role, recipe.seed), wandb_run_id(folder, action)
    trainer = training_trainer(recipe.trainer, settings, folder, monitor, title, run_id)
    if trainer.is_global_zero:
        begin(folder, training.role, inputs, action, wandb_run=run_id)
    last = folder / "checkpoints" / LAST
    resume_from = newest_state(last.parent) if action is Action.RESUME else None
    announce(_announcement(training, data, resume_from))
    with ending_wandb_run(of_sweep=False):
        tracking = Tracking(trainer, title, data, recipe, settings.max_steps)
        tracking.begin(inputs, training.pseudo_labels)
        trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
        if monitor is not None:
            _consider_last(trainer, module, monitor, data, last)
        chosen = chosen_checkpoint(folder)
        scores = evaluate(inference_trainer(recipe.trainer, folder), module, data, chosen, folder / "evaluation.json")
        tracking.conclude(scores, module, chosen)
    if trainer.is_global_zero:
        last.with_name(PREVIOUS).unlink(missing_ok=True)
        facts = {"max_steps": settings.max_steps, "weights": module.weights_kind, "parents": training.parents}
        relative = str(chosen.relative_to(folder))
        complete(folder, **facts, evaluated=relative, fingerprint=checkpoint_fingerprint(chosen), bad_images=_bad(data))
    trainer.strategy.barrier()
    return chosen


def make_data(
    recipe: RunRecipe, pseudo_labels: Path | None = None, steps: int | None = None, trains_jointly: bool = False
) -> SelfTrainingDataModule:
    """Return the DataModule of a stage, its indexes built and opened; what is learnt the model's class says.

    Args:
        recipe: The run's recipe.
        pseudo_labels: The store that a student learns from; None for human labels only.
        steps: Optimiser steps of the stage. The whole training is one epoch of Lightning's, so that no worker idles
            between passes over a small set.
        trains_jointly: Whether ``data.joint`` is a part of the batches, where it is given; else it only says which
            classes there are, and those of the pseudo-labelled images that it holds.
    """
    accumulate = recipe.trainer.get("accumulate_grad_batches") or 1
    arguments = build(recipe.data) | {
        "pseudo_labels": None if pseudo_labels is None else str(pseudo_labels),
        "epoch_batches": None if steps is None else steps * accumulate,
        "seed": recipe.seed,
        "target": recipe.data.get("target") or getattr(import_name(recipe.model["class_path"]), "target", None),
    }
    data = SelfTrainingDataModule(**arguments)
    if pseudo_labels is None and not trains_jointly:
        data.pseudo_ratio = 0
    data.prepare_data()
    data.setup("fit")
    return data


def chosen_checkpoint(folder: Path) -> Path:
    """Return the checkpoint that stands for a trained stage: the best on val, or the last where there is no val."""
    best = folder / "checkpoints" / "best.ckpt"
    return best if best.exists() else folder / "checkpoints" / LAST


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


def _consider_last(trainer: Any, module: TaskModule, monitor: str, data: SelfTrainingDataModule, last: Path) -> None:
    """Make the end of the training the best checkpoint if it is: the last validation need not fall on the last step."""
    best = next(c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor is not None)
    trainer.validate(module, datamodule=data, verbose=False, weights_only=True)
    score = module.evaluation[monitor.removeprefix("val/")]
    destination = last.with_name("best.ckpt")
    if trainer.is_global_zero and (is_better(score, best.best_model_score) or not destination.exists()):
        beside = destination.with_suffix(".new")
        shutil.copyfile(last, beside)
        os.replace(beside, destination)
    trainer.strategy.barrier()


def _announcement(training: Training, data: SelfTrainingDataModule, resume_from: Path | None) -> str:
    words = {"labeled": "labelled images", "unlabeled": "unlabelled images", "pseudo": "pseudo-labelled ones"}
    words["joint"] = "ones whose class is known"
    counts = " and ".join(f"{data.image_count(name)} {words[name]}" for name in data.streams)
    verb = "goes on" if resume_from else "begins"
    who = "pre-training" if training.role == "pretrain" else training.role
    return f"{training.folder}: the {who} {verb}, {training.settings.max_steps} steps on {counts}."


def _bad(data: SelfTrainingDataModule) -> list[str]:
    return sorted(data.bad_images)
