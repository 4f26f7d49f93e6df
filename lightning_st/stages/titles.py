"""What a stage is called in tools that show many runs: names, groups and tags of W&B, folders of TensorBoard."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXPERIMENT_FILE = "experiment.json"
"""What an experiment leaves in its folder: its arms, their levels and where they lie."""

_LONGEST_TAG = 64  # W&B refuses longer ones


@dataclass(frozen=True)
class Title:
    """The names of one stage.

    Attributes:
        place: Where it lies in its run, such as "round_0/student" or "control"; "" for a run of one stage.
        name: The same with the names of the run's folder, or of the experiment's folder and the arm, before it.
        group: The name of the run's folder, or of the experiment's.
        kind: The role: "teacher", "student", "control", "pretrain".
        tags: The role, the round, the seed, and of an arm its levels, such as "augment=S1".
    """

    place: str
    name: str
    group: str
    kind: str
    tags: tuple[str, ...]


def title_of(folder: Path, kind: str, seed: int) -> Title:
    """Return the names of the stage in ``folder``.

    A stage that several arms of an experiment share is named by what it is, and has the tags that all of them have.

    Args:
        folder: The stage's.
        kind: Its role.
        seed: Of the run.
    """
    folder = Path(os.path.abspath(folder))  # not resolved: a shared stage is a link
    place = _place(folder, kind)
    run = folder.parents[place.count("/")] if place else folder
    number = [place.partition("/")[0]] if place.startswith("round_") else []
    experiment = run.parents[2] if len(run.parents) > 2 else run
    arms = _arms(experiment)
    arm = arms.get(run.relative_to(experiment).as_posix())
    if arm is None:
        name, group, levels = f"{run.name}/{place}" if place else run.name, run.name, []
    elif folder.is_symlink():
        shared = folder.resolve()
        sharing = [levels for path, levels in arms.items() if (experiment / path / place).resolve() == shared]
        name, group, levels = f"{experiment.name}/shared/{shared.name}", experiment.name, _common(sharing)
    else:
        own = run.relative_to(experiment / "arms").as_posix()
        name, group, levels = f"{experiment.name}/{own}/{place}", experiment.name, _common([arm])
    tags = [kind, *number, f"seed_{seed}", *levels]
    return Title(place, name, group, kind, tuple(tag[:_LONGEST_TAG] for tag in tags))


def _place(folder: Path, kind: str) -> str:
    if kind == "pretrain":
        return ""
    return f"{folder.parent.name}/{folder.name}" if folder.parent.name.startswith("round_") else folder.name


def _arms(experiment: Path) -> dict[str, Mapping[str, str]]:
    """Return the levels of each arm by its folder; nothing where there is no experiment."""
    path = experiment / EXPERIMENT_FILE
    if not path.is_file():
        return {}
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {arm["folder"]: arm["levels"] for arm in record["arms"]}


def _common(arms: list[Mapping[str, str]]) -> list[str]:
    return [f"{factor}={level}" for factor, level in arms[0].items() if all(arm[factor] == level for arm in arms)]
