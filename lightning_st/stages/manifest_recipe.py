"""The recipe in a run's manifest, to predict with: a manifest is data, so nothing that it names is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_st.errors import StageError
from lightning_st.index import READERS
from lightning_st.modules import rebuildable_spec
from lightning_st.modules.task_spec import class_within
from lightning_st.stages.recipe import Recipe

_TRAINER = ("accelerator", "devices", "precision")
"""Of the Trainer: where predictions are made, and how exactly; given as words and numbers."""

_PREDICTION = ("flip", "scales", "soft_nms")
_NOT_READ = ("augment", "augment_options")

ADVICE = "A manifest is not run: give the config that the run was made with, --config FILE."


def prediction_recipe(config: Mapping[str, Any], manifest: Path) -> tuple[Recipe, dict[str, Any]]:
    """Return what a run's student is predicted by: a recipe of its val images and labelling, and the student's model.

    Args:
        config: The recipe that the manifest holds.
        manifest: The file, for the message.

    Raises:
        StageError: If the manifest is not a recipe, or something of it would have to be imported: a model, a part, or a
            reader of the user's own.
        CheckpointError: If the model is none of this package's.
    """
    try:
        model = dict((config.get("student") or {}).get("model") or config["model"])
        said = {"class_path": _whole(model["class_path"]), "init_args": dict(model.get("init_args") or {})}
        spec = rebuildable_spec({"task": {**said, "complete": True}}, manifest)
        data = {key: value for key, value in config["data"].items() if key not in _NOT_READ}
        own = _own_code(data)
        labelling = {key: value for key, value in config.get("pseudo_label", {}).items() if key in _PREDICTION}
        trainer = {key: value for key, value in config.get("trainer", {}).items() if key in _TRAINER}
        own = own or class_within(trainer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StageError(f"{manifest}: expected a recipe under 'config' ({type(error).__name__}: {error}).") from error
    if own is not None:
        raise StageError(f"{manifest}: its recipe names code ({own}). {ADVICE}")
    return Recipe(data=data, model=spec, pseudo_label=labelling, trainer=trainer), spec


def _whole(class_path: str) -> str:
    """Return the path of a public model as a checkpoint says it: that of the module that it stands in."""
    import lightning_st

    name = class_path.rpartition(".")[2]
    is_public = class_path in (f"lightning_st.{name}", f"lightning_st.models.{name}")
    kind = getattr(lightning_st, name) if is_public and name in lightning_st.__all__ else None
    return class_path if kind is None else f"{kind.__module__}.{kind.__qualname__}"


def _own_code(data: Mapping[str, Any]) -> str | None:
    """Return what a section ``data`` names that would have to be imported, None for nothing."""
    formats = [source.get("format") for source in data.values() if isinstance(source, Mapping)]
    return class_within(data) or next((str(kind) for kind in formats if kind is not None and kind not in READERS), None)
