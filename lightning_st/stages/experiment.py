"""Control experiments: every arm is a run of self-training; arms that begin alike share what they have in common.

    <output>/experiment.json          what is compared, and where each arm lies
    <output>/arms/<levels>/seed_<n>/  a run each: the folder of ``self_train``, and its recipe.yaml
    <output>/shared/                  pre-trainings, teachers, controls that several arms have in common, as links

Any number of processes, on any machines that see the folder, may be given the same command: each takes the arms that
nobody is at. An arm's locks are its own process's, so what dies is taken over, and what lives is waited for.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError, LightningSTError, StageError
from lightning_st.stages.announce import announce
from lightning_st.stages.arms import Arm, ExperimentSettings, RecipeReader, make_arms, read_fields
from lightning_st.stages.locks import are_free, lock_files
from lightning_st.stages.manifest import SCHEMA, plain, read_manifest, write_json
from lightning_st.stages.preflight import refuse_early
from lightning_st.stages.pretrain_section import pretraining_of
from lightning_st.stages.run_trainings import control_training, teacher_training
from lightning_st.stages.sharing import digest, link
from lightning_st.stages.stopping import stopped_by_signals
from lightning_st.stages.titles import EXPERIMENT_FILE
from lightning_st.stages.train import make_data

_SECONDS_BETWEEN_LOOKS = 5.0

RunArm = Callable[[Arm, Path, bool], None]
"""Runs one arm in its folder, anew where its inputs have changed if the last argument says so."""


def run_experiment(
    config: Mapping[str, Any],
    settings: ExperimentSettings,
    output: Path | str,
    restart: bool = False,
    run_arm: RunArm | None = None,
    read: RecipeReader = read_fields,
) -> Path:
    """Run all arms of an experiment, or those that are left; wait for those that other processes are at.

    An arm that fails leaves the others alone, and is told at once.

    Args:
        config: What the arms share: the fields of a ``Recipe`` but its seed and control.
        settings: What is compared.
        output: The experiment's folder. More levels and seeds may be given to it later.
        restart: Make what has changed anew, instead of refusing.
        run_arm: How to run an arm; in a process of its own where missing, so that it can have processes itself.
        read: See ``make_arms``.

    Returns:
        The experiment's folder.

    Raises:
        ConfigError: If a recipe of an arm is wrong; all are looked at before the first runs.
        StageError: If arms failed.
    """
    output = Path(output)
    arms = make_arms(config, settings, read)
    for arm in arms:
        if not _is_complete(arm, output):
            _prepare(arm, output)
    _write_experiment(output, settings, arms)
    failures = _run_all(arms, output, restart, run_arm or run_in_process_of_its_own)
    if failures:
        name, problem = next(iter(failures.items()))
        others = f" The others: {', '.join(list(failures)[1:])}." if len(failures) > 1 else ""
        raise StageError(f"{output}: {len(failures)} of {len(arms)} arms failed. {name}: {problem}{others}")
    return output


def arm_folder(output: Path, arm: Arm) -> Path:
    """Return the folder of an arm."""
    return output / "arms" / arm.name


def run_in_process_of_its_own(arm: Arm, folder: Path, restart: bool) -> None:
    """Run an arm as the command line would.

    Raises:
        StageError: If it fails, with the last line that it says.
    """
    command = [sys.executable, "-m", "lightning_st", "self_train", "--config", str(folder / "recipe.yaml")]
    command += ["--output", str(folder), *(["--restart"] if restart else [])]
    log = folder / "log.txt"
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            with stopped_by_signals():
                status = process.wait()
        except BaseException:
            process.terminate()  # it ends within a step, and what it has done is kept
            process.wait()
            raise
    if status != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = lines[-1].removeprefix("lightning_st: ") if lines else "not a word."
        raise StageError(f"exit status {status}, {said} (All that it said: {log})")


def _run_all(arms: Sequence[Arm], output: Path, restart: bool, run_arm: RunArm) -> dict[str, str]:
    """Run what nobody is at until nothing is left, and return what failed: the arm's name to why."""
    waiting, failures, has_waited = list(arms), dict[str, str](), False
    while waiting:
        arm = next((arm for arm in waiting if _is_complete(arm, output) or _is_free(arm, output)), None)
        if arm is None:
            if not has_waited:
                announce(f"{output}: others are at what is left ({len(waiting)} of {len(arms)}); waiting for them.")
                has_waited = True
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            continue
        if not _is_complete(arm, output):
            announce(f"{output}: {arm.name}, arm {len(arms) - len(waiting) + 1} of {len(arms)}.")
            try:
                run_arm(arm, arm_folder(output, arm), restart)
            except LightningSTError as error:
                if not _is_free(arm, output):  # another process was quicker by a moment
                    continue
                failures[arm.name] = str(error)
                announce(f"{output}: {arm.name} failed: {error}")
        waiting.remove(arm)
    return failures


def _is_free(arm: Arm, output: Path) -> bool:
    return are_free(lock_files(arm_folder(output, arm)))


def _is_complete(arm: Arm, output: Path) -> bool:
    """Say whether an arm has been run to its end, as it is now."""
    manifest = read_manifest(arm_folder(output, arm))
    if manifest is None or manifest.get("state") != "complete":
        return False
    same: bool = manifest["config"] == plain(arm.recipe.to_json())
    return same


def _prepare(arm: Arm, output: Path) -> None:
    """Refuse an arm that cannot be run, write its recipe, and link the stages that it shares with others."""
    data = make_data(arm.recipe)
    try:
        refuse_early(arm.recipe, data)
    except ConfigError as error:
        raise ConfigError(f"{arm.name}: {error}") from error
    folder = arm_folder(output, arm)
    folder.mkdir(parents=True, exist_ok=True)
    record = arm.recipe.to_json()
    record["seed_everything"] = record.pop("seed")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain(record), sort_keys=False), encoding="utf-8")
    for name, key in _shared_stages(arm, data).items():
        link(folder / name, output / "shared" / key)


def _shared_stages(arm: Arm, data: SelfTrainingDataModule) -> dict[str, str]:
    """Return the stages that other arms may share, each with a name that says all that it follows from.

    What a later stage follows from is not there yet; the name of the stage that leaves it stands for it.
    """
    recipe, nowhere, stages = arm.recipe, Path(), dict[str, str]()
    pretrained, backbone = pretraining_of(recipe, nowhere), None
    if pretrained is not None:
        backbone = Path(digest(pretrained.inputs(pretrained.make_data())))
        stages[pretrained.folder.name] = f"pretrain_{backbone}"
    teacher = Path(digest(teacher_training(recipe, nowhere, backbone, str).inputs(data)))
    stages["round_0/teacher"] = f"teacher_{teacher}"
    if recipe.control and recipe.patience is None:  # else how long it trains shows when the rounds are done
        control = control_training(recipe, nowhere, teacher, backbone, str)
        stages["control"] = f"control_{digest(control.inputs(data))}"
    return stages


def _write_experiment(output: Path, settings: ExperimentSettings, arms: Sequence[Arm]) -> None:
    """Write what is compared; arms of an earlier command that had other levels or seeds stay in it."""
    path = output / EXPERIMENT_FILE
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"arms": []}
    own = [{"folder": f"arms/{arm.name}", "levels": arm.levels, "seed": arm.seed} for arm in arms]
    kept = [arm for arm in before["arms"] if arm["levels"].keys() == arms[0].levels.keys() and arm not in own]
    record = {"schema": SCHEMA, "budget": settings.budget, "factors": list(settings.factors), "arms": [*own, *kept]}
    write_json(path, record)
