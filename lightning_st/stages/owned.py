"""The arguments that a stage decides itself, and what a user gives instead."""

from collections.abc import Iterable

from lightning_st.errors import ConfigError

_STEPS = "Give teacher.max_steps and student.max_steps. In pretrain it is training.max_steps."
_VALIDATION = (
    "Give teacher.validate_every and student.validate_every, in optimiser steps. In pretrain it is training."
    "validate_every."
)
_CLASSES = "The names of the classes come from the data."
_ALONE = "Every stage needs it as it is."

OWNED: dict[str, str] = {
    "data.pseudo_labels": "The teacher makes them; lightning_st fit takes a store that is there already.",
    "data.score_threshold": "Give pseudo_label.score_threshold.",
    "data.epoch_batches": _STEPS,
    "data.seed": "Give seed_everything.",
    "model.classes": _CLASSES,
    "model.image_class_count": "It comes from the folders of data.joint.",
    "teacher.task": "Give model.",
    "teacher.classes": _CLASSES,
    "teacher.image_classes": _CLASSES,
    "teacher.model": "Give model.",
    "teacher.init": "A teacher starts from random weights, or with model.pretrained from those of its backbone.",
    "student.task": "Give student.model where it differs from model.",
    "student.classes": _CLASSES,
    "student.image_classes": _CLASSES,
    "training.task": "Give model.",
    "training.classes": _CLASSES,
    "training.image_classes": _CLASSES,
    "training.model": "Give model.",
    "training.init": "Give model.pretrained: weights for the backbone.",
    "trainer.max_steps": _STEPS,
    "trainer.max_epochs": _STEPS,
    "trainer.min_steps": _STEPS,
    "trainer.min_epochs": _STEPS,
    "trainer.max_time": "A stage that is killed goes on when the same command is given again.",
    "trainer.fast_dev_run": _STEPS,
    "trainer.limit_train_batches": _STEPS,
    "trainer.overfit_batches": "Take fewer images: data.labeled.fraction or data.labeled.list.",
    "trainer.limit_val_batches": "Take fewer images: data.val.fraction or data.val.list.",
    "trainer.limit_test_batches": "Take fewer images: data.test.fraction or data.test.list.",
    "trainer.limit_predict_batches": "Take fewer images: data.unlabeled.fraction or data.unlabeled.list.",
    "trainer.val_check_interval": _VALIDATION,
    "trainer.check_val_every_n_epoch": _VALIDATION,
    "trainer.num_sanity_val_steps": _ALONE,
    "trainer.use_distributed_sampler": _ALONE,
    "trainer.reload_dataloaders_every_n_epochs": _ALONE,
    "trainer.enable_checkpointing": _ALONE,
    "trainer.barebones": _ALONE,
    "trainer.default_root_dir": "Give output.",
}
"""Dotted keys that a recipe may not hold, to what a user who wants them does."""


def owned_in(section: str) -> tuple[str, ...]:
    """Return the owned keys of a section, without its name."""
    return tuple(key.partition(".")[2] for key in OWNED if key.startswith(f"{section}."))


def owned_sentence(key: str) -> str:
    """Return why ``key``, one of ``OWNED``, is refused."""
    return f"{key} is not a recipe's to give: each stage sets it. {OWNED[key]}"


def refuse_owned(section: str, given: Iterable[str]) -> None:
    """Refuse keys of a section that are no user's to give.

    Raises:
        ConfigError: Naming the first, and what to give instead.
    """
    for key in given:
        if f"{section}.{key}" in OWNED:
            raise ConfigError(owned_sentence(f"{section}.{key}"))
