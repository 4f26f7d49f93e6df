"""The arms of an experiment: a recipe, and every combination of the levels of its factors, for every seed."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal, get_args

from lightning_st.errors import ConfigError
from lightning_st.stages.building import import_name
from lightning_st.stages.recipe import Recipe

Budget = Literal["steps", "epochs", "compute"]
"""How long the supervised arm trains besides the teacher: no longer; for as many labelled images as teacher and student
see together; for as many images as both see together, pseudo-labelled ones included."""

RecipeReader = Callable[[Mapping[str, Any]], Recipe]
"""Returns the recipe of its fields."""

FACTORS: dict[str, str] = {
    "alpha": "student.alpha",
    "augment": "data.augment",
    "backbone": "model.init_args.backbone",
    "fraction": "data.labeled.fraction",
    "pseudo_ratio": "data.pseudo_ratio",
    "rounds": "rounds",
    "score_threshold": "pseudo_label.score_threshold",
    "student_init": "student.init",
}
"""Factors that go by a short name, to the key of the recipe that they set. Others go by their key."""

_SECTIONS = tuple(name for name in Recipe.__dataclass_fields__ if name not in ("seed", "control"))
"""What a level may change; the seed and the control are the experiment's."""


@dataclass
class ExperimentSettings:
    """What is compared.

    Attributes:
        factors: For each factor its levels. A list of values sets one key of the recipe: the factor is a name of
            ``FACTORS`` or the key itself ("student.alpha"). A mapping gives for each level's name the parts of a recipe
            in which it differs, such as {"random": {}, "simclr": {"pretrain": {"model": {"class_path": ...}}}}.
        seeds: Of the runs: each decides the images of a label fraction, the weights, and every other draw.
        budget: See ``Budget``.
    """

    factors: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    budget: Budget = "epochs"

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to compare."""
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError.expected("experiment.seeds", "one or several, each once", self.seeds)
        if self.budget not in get_args(Budget):
            raise ConfigError.unknown_choice("experiment.budget", str(self.budget), get_args(Budget))
        for name, levels in self.factors.items():
            if not isinstance(levels, list | tuple | Mapping) or not levels:
                allowed = "a list of values, or levels with what each changes"
                raise ConfigError.expected(f"experiment.factors.{name}", allowed, levels)


@dataclass(frozen=True)
class Arm:
    """One run of an experiment.

    Attributes:
        levels: For each factor the name of its level.
        seed: Of the run.
        recipe: What is run.
    """

    levels: dict[str, str]
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """The arm's folder below the experiment's, such as "augment=S1,fraction=0.1/seed_0"."""
        combined = ",".join(f"{factor}={level}" for factor, level in self.levels.items()) or "all"
        return f"{re.sub(r'[^A-Za-z0-9.,=+_-]', '_', combined)}/seed_{self.seed}"


def read_fields(fields: Mapping[str, Any]) -> Recipe:
    """Return the recipe of its fields."""
    return Recipe(**fields)


def make_arms(config: Mapping[str, Any], settings: ExperimentSettings, read: RecipeReader = read_fields) -> list[Arm]:
    """Return the arms of an experiment, those of one seed side by side.

    Args:
        config: The fields of the recipe that all arms share; ``seed`` and ``control`` follow from ``settings``.
        settings: What is compared.
        read: Returns the recipe of its fields; a command line looks at each value, and fills in what is missing.

    Raises:
        ConfigError: If a level is wrong, or two arms would have one name.
    """
    control = False if settings.budget == "steps" else settings.budget
    recipes: list[tuple[dict[str, str], Recipe]] = []
    for combination in product(*(list(_levels(name, given)) for name, given in settings.factors.items())):
        fields = deepcopy({key: value for key, value in config.items() if key in _SECTIONS})
        for _, changes in combination:
            fields = _merged(fields, changes)
        levels = {name: level for name, (level, _) in zip(settings.factors, combination, strict=True)}
        first = {**fields, "seed": settings.seeds[0], "control": control}
        recipes.append((levels, _read(read, first, levels)))
    arms = [Arm(levels, seed, replace(recipe, seed=seed)) for seed in settings.seeds for levels, recipe in recipes]
    names = [arm.name for arm in arms]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"Two arms of the experiment would be {twice}. Give the levels names that differ.")
    return arms


def _read(read: RecipeReader, fields: Mapping[str, Any], levels: Mapping[str, str]) -> Recipe:
    try:
        return read(fields)
    except ConfigError as error:
        named = ", ".join(f"{factor}={level}" for factor, level in levels.items())
        raise ConfigError(f"{named}: {error}" if named else str(error)) from error


def _levels(name: str, given: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name of each level of a factor, and what it changes."""
    if isinstance(given, Mapping):
        for level, changes in given.items():
            unknown = sorted(set(changes or {}) - set(_SECTIONS))
            if unknown:
                key = f"section in experiment.factors.{name}.{level}"
                raise ConfigError.unknown_choice(key, unknown[0], _SECTIONS)
            yield str(level), changes or {}
        return
    path = FACTORS.get(name, name).split(".")
    if path[0] not in _SECTIONS:
        raise ConfigError.unknown_choice("factor of experiment.factors", name, [*FACTORS, "a key of the recipe"])
    for value in given:
        yield _written(value), _nested(path, value)


def _written(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    result: dict[str, Any] = value
    return result


def _merged(base: Any, changes: Any) -> Any:
    """Return ``base`` with ``changes`` in it.

    Where a class is another one, arguments of the old one stay only if it is derived from that.
    """
    if not isinstance(base, Mapping) or not isinstance(changes, Mapping):
        return deepcopy(changes)
    before = base.get("class_path")
    now = changes.get("class_path", before)
    if before is not None and now != before and not _is_derived(now, before):
        return deepcopy(dict(changes))
    return {**base, **{key: _merged(base.get(key), value) for key, value in changes.items()}}


def _is_derived(path: str, other: str) -> bool:
    """Say whether one class is derived from another; not where there is no such class, as its builder will say."""
    try:
        return issubclass(import_name(path), import_name(other))
    except (ConfigError, TypeError):
        return False
