"""The main job: teacher, pseudo-labels, student, again if asked, and the facts that the report is made from."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError, StageError
from lightning_st.index import write_names
from lightning_st.stages.announce import announce
from lightning_st.stages.collapse_watch import watch
from lightning_st.stages.first_look import look_at_data
from lightning_st.stages.locks import held, run_lock
from lightning_st.stages.loggers import ending_wandb_run
from lightning_st.stages.manifest import SCHEMA, decide, library_versions, read_manifest, write_json
from lightning_st.stages.patience import RoundsSoFar, val_score
from lightning_st.stages.preflight import refuse_early, refuse_other_rule
from lightning_st.stages.pretrain_section import pretraining_of
from lightning_st.stages.pseudo_label import label_images
from lightning_st.stages.recipe import Recipe
from lightning_st.stages.run_trainings import control_training, student_training, teacher_training
from lightning_st.stages.train import make_data, run_training

LABELED_FILE = "labeled.txt"
"""Of a run: the labelled images, a name a line."""


@dataclass(frozen=True)
class _Outcome:
    """What a run's stages came to.

    Attributes:
        chosen: The checkpoint that stands for the run.
        rounds: With patience what each round brought.
        signs: Of a collapse, in the labels of the last round.
    """

    chosen: Path
    rounds: RoundsSoFar | None
    signs: list[str]


def self_train(
    recipe: Recipe | Mapping[str, Any],
    output: Path | str,
    restart: bool = False,
    shared: Path | str | None = None,
) -> Path:
    """Train a teacher on the labelled images, label the others with it, train a student on both; again for each round.

    Before that a backbone is pre-trained, where the recipe has a section ``pretrain``.

    Every stage that is complete and whose inputs are unchanged is skipped; one that was cut goes on where it was.

    Args:
        recipe: The recipe, or its fields as a dict.
        output: The run's folder. What it will hold stands in the README.
        restart: Make a stage anew whose inputs have changed, and those after it, instead of refusing.
        shared: Where other runs may look for the same teacher, pseudo-labels and control; they are links in ``output``.

    Returns:
        The checkpoint of the last student; with patience that of the best round on val, where one helped.

    Raises:
        StageError: If a stage in ``output`` was made from other inputs, a teacher found nothing to learn from, or
            another process is at work in ``output``.
        ConfigError: If something in the recipe is wrong.
        DataError: If something in the data is wrong.

    Example:
        ::

            self_train(
                {
                    "data": {
                        "labeled": {"images": "photos", "annotations": "boxes.json"},
                        "unlabeled": {"images": "more_photos"},
                    },
                    "model": {"class_path": "lightning_st.RetinaNet"},
                },
                output="runs/first",
            )
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe(**recipe)
    run = Path(output)
    data = make_data(recipe)
    refuse_early(recipe, data)
    if shared is not None:
        _refuse_processes_that_do_not_wait()
    with held([run_lock(run)]), ending_wandb_run(of_sweep=True):
        _write_run(run, recipe, data, "running")
        _write_labeled(run, data)
        look_at_data(run, data)
        outcome = _run_stages(recipe, run, data, restart, None if shared is None else Path(shared))
        _write_run(run, recipe, data, "complete", outcome)
    return outcome.chosen


@rank_zero_only
def _refuse_processes_that_do_not_wait() -> None:
    """Refuse to wait for a stage of another run in one process while others, started with it, do not."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("--shared takes one process for each run, or those that Lightning starts: no torchrun.")


def _run_stages(
    recipe: Recipe, run: Path, data: SelfTrainingDataModule, restart: bool, shared: Path | None
) -> _Outcome:
    """Train, label and train again."""
    pretrained = pretraining_of(recipe, run)
    backbone = None if pretrained is None else run_training(pretrained, restart, shared)
    teacher = run_training(teacher_training(recipe, run / "round_0" / "teacher", backbone), restart, shared)
    rounds = None if recipe.patience is None else RoundsSoFar(recipe.patience, *val_score(run / "round_0" / "teacher"))
    students, signs = list[Path](), list[str]()
    for number in range(recipe.rounds):
        if number == 1 and recipe.control and rounds is None:
            # Further rounds make it longer: refuse before them.
            control = control_training(recipe, run / "control", teacher, backbone)
            decide(control.folder, control.inputs(data), restart)
        newest = [teacher, *students][-1]
        labels = _label(recipe, run / f"round_{number}", newest, number, restart, shared)
        signs = watch(recipe, run, number, labels, data)
        store, folder = run / f"round_{number}" / "pseudo_labels", run / f"round_{number}" / "student"
        student = student_training(recipe, folder, number, store, labels, newest, backbone)
        students.append(run_training(student, restart))
        if rounds is not None:
            rounds.add(val_score(run / f"round_{number}" / "student")[1])
            if (sentence := rounds.stopped(recipe.rounds)) is not None:
                announce(f"{run}: {sentence}")
                break
    if recipe.control:
        done = replace(recipe, rounds=len(students), patience=None)
        run_training(control_training(done, run / "control", teacher, backbone), restart, shared)
    best = None if rounds is None else rounds.best_round
    return _Outcome(students[-1 if best is None else best], rounds, signs)


def _label(
    recipe: Recipe, folder: Path, teacher: Path, number: int, restart: bool, shared: Path | None
) -> dict[str, Any]:
    """Label with ``teacher`` for the round in ``folder``, and return the store's manifest."""
    store = folder / "pseudo_labels"
    if not restart:
        refuse_other_rule(recipe, folder)
    teachers_model = recipe.model if number == 0 else recipe.student.get("model") or recipe.model
    manifest = label_images(recipe, teacher, store, teachers_model, restart, shared)
    _refuse_empty_labels(manifest, store)
    return manifest


def _refuse_empty_labels(manifest: Mapping[str, Any], store: Path) -> None:
    """Stop before a student that would learn nothing but background."""
    statistics = manifest["statistics"]
    if statistics["images_with_labels"]:
        return
    bins = statistics["score_histogram"]
    highest = max((i for i, count in enumerate(bins) if count), default=None)
    found = "found nothing at all" if highest is None else f"has no score above {(highest + 1) / len(bins):.2f}"
    wanted = ", ".join(
        f"{name} {keep:.2f}" if keep <= 1 else f"{name} none: the rule trusts no score of it"
        for name, keep in zip(manifest["classes"], manifest["thresholds"]["keep"], strict=True)
    )
    raise StageError(
        f"{store}: none of {statistics['images']} images has a pseudo-label that reaches its class's threshold "
        f"({wanted}); the teacher {found}. Train the teacher longer (--teacher.max_steps), ask for less "
        "(--pseudo_label.score_threshold, or the precision of a calibrated rule), or check its numbers in "
        "evaluation.json beside its checkpoints."
    )


@rank_zero_only
def _write_labeled(run: Path, data: SelfTrainingDataModule) -> None:
    """Write which images' labels are learnt, as ``data.labeled.list`` takes them: others may want the same."""
    labeled, path = data.split("labeled"), run / LABELED_FILE
    run.mkdir(parents=True, exist_ok=True)
    write_names(path.with_suffix(".new"), labeled.index, labeled.rows)
    os.replace(path.with_suffix(".new"), path)


@rank_zero_only
def _write_run(
    run: Path, recipe: Recipe, data: SelfTrainingDataModule, state: str, outcome: _Outcome | None = None
) -> None:
    """Write the run's own manifest: what the report says about the whole."""
    folders = sorted(
        path.parent for pattern in ("pretrain", "control", "round_*/*") for path in run.glob(f"{pattern}/manifest.json")
    )
    stages = {str(folder.relative_to(run)): (read_manifest(folder) or {}).get("state") for folder in folders}
    record = {
        "schema": SCHEMA,
        "stage": "self_train",
        "state": state,
        "config": recipe.to_json(),
        "classes": data.classes,
        "versions": library_versions(),
        "fingerprints": data.fingerprints(),
        "data": data.statistics(),
        "stages": stages,
    }
    if outcome is not None:
        record["signs"] = outcome.signs
    if outcome is not None and (rounds := outcome.rounds) is not None:
        record["patience"] = {"best_round": rounds.best_round, "stopped": rounds.stopped(recipe.rounds)}
    write_json(run / "manifest.json", record)
