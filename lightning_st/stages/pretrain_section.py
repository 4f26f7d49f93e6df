"""The section ``pretrain`` of a run's recipe: what it leaves out is the run's.

The backbone is that of ``model``, so the section need not describe it. Images, sizes and the Trainer are the run's too,
where the section names no others; so several runs pre-train alike, and in an experiment share it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_st.data.source import LABELED
from lightning_st.errors import ConfigError
from lightning_st.stages.building import arguments_of, import_name
from lightning_st.stages.pretrain import PretrainRecipe, pretraining
from lightning_st.stages.recipe import Recipe
from lightning_st.stages.train import Training

FOLDER = "pretrain"
"""Of the stage, in that of the run."""

_BACKBONE = ("backbone", "backbone_options", "min_level", "max_level")
"""Arguments of a model that decide which weights its backbone has."""

_ALWAYS = ("image_size", "batch_size", "num_workers", "eval_batch_size", "max_bad_fraction", "cache_folder")
"""Of the run's data, whatever is learnt."""

_AS_A_DETECTOR = ("augment", "augment_options", "pseudo_ratio")
"""Of the run's data, where boxes or masks are learnt as in the run."""

_JUDGED = ("labeled", "val", "test")


def pretraining_of(recipe: Recipe, run: Path) -> Training | None:
    """Return the pre-training that a run begins with; None where its recipe has none.

    Args:
        recipe: Of the run.
        run: Its folder.

    Raises:
        ConfigError: If something in the section is wrong.
    """
    own = pretrain_recipe(recipe)
    return None if own is None else pretraining(own, run / FOLDER)


def pretrain_recipe(recipe: Recipe) -> PretrainRecipe | None:
    """Return the recipe of the pre-training that a run begins with; None where it begins without.

    Raises:
        ConfigError: If something in the section is wrong, or ``model`` has pretrained weights already.
    """
    try:
        fields = whole_section(recipe)
        return None if fields is None else PretrainRecipe(**fields, seed=recipe.seed, tracking=recipe.tracking)
    except ConfigError as error:
        raise ConfigError(f"pretrain: {error}") from error


def whole_section(recipe: Recipe) -> dict[str, Any] | None:
    """Return the section with what it leaves out: data, model, training and trainer; None where there is none.

    Raises:
        ConfigError: If ``model`` has pretrained weights already, or there is no such class.
    """
    section = recipe.pretrain
    if section is None:
        return None
    own_weights = (recipe.model.get("init_args") or {}).get("pretrained")
    if own_weights:
        advice = "What the pre-training itself starts from is pretrain.model.init_args.pretrained."
        raise ConfigError.expected("model.pretrained", "left out beside it", own_weights, advice)
    return {
        "data": _data(section, recipe.data),
        "model": _model(section["model"], recipe.model),
        "training": dict(section.get("training", {})),
        "trainer": {**recipe.trainer, **section.get("trainer", {})},
    }


def _data(section: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in section.get("data", {}).items() if value is not None}
    target = getattr(import_name(section["model"]["class_path"]), "target", None)
    names = list(_ALWAYS)
    if target in ("boxes", "masks"):
        names += [*_AS_A_DETECTOR, "joint"]
        names += [] if given.keys() & set(_JUDGED) else [*_JUDGED, "example"]
    elif target == "views":
        names.append("unlabeled")
    data = {name: run[name] for name in names if run.get(name) is not None}
    if isinstance(data.get("unlabeled"), Mapping) and data["unlabeled"].get("exclude") == LABELED:
        data["unlabeled"] = {**data["unlabeled"], "exclude": None}  # views need no label, and no labelled set is here
    return data | given


def _model(given: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task by class path: its backbone is that of the run's model, and a model of its kind all like it."""
    target, runs = import_name(given["class_path"]), import_name(run["class_path"])
    arguments = dict(run.get("init_args") or {})
    arguments.pop("pretrained", None)
    if not (isinstance(target, type) and isinstance(runs, type) and issubclass(target, runs)):
        arguments = {name: value for name, value in arguments.items() if name in _BACKBONE}
    known = arguments_of(target)
    kept = {name: value for name, value in arguments.items() if known is None or name in known}
    return {"class_path": given["class_path"], "init_args": {**kept, **(given.get("init_args") or {})}}
