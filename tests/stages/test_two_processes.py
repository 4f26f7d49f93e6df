"""Two processes see the global batches of one: the same losses, the same labels, the same numbers."""

import csv
import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from processes import DDP, run, run_two
from recipes import tiny_mask_recipe, tiny_recipe

from lightning_st.index import AnnotationIndex

pytestmark = pytest.mark.slow


def write(folder: Path, recipe: dict) -> Path:
    config = folder / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe))
    return config


def losses(stage: Path) -> list[float]:
    with (stage / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_two_processes_do_what_one_does(tmp_path):
    recipe = deepcopy(tiny_recipe(tmp_path / "data", labeled=7, unlabeled=9))
    recipe["model"]["init_args"]["batch_norm"] = "sync"
    for section in ("teacher", "student"):
        recipe[section] |= {
            "max_steps": 20,
            "validate_every": 20,
            "optimizer": "sgd",
            "lr": 0.0005,
        }  # Adam would blow rounding up
    recipe["trainer"]["log_every_n_steps"] = 1
    one, two = tmp_path / "one", tmp_path / "two"
    words = ["self_train", "--config", str(write(tmp_path, recipe)), "--output"]
    run([*words, str(one)], tmp_path / "one.log")
    # Here Lightning itself starts the second process, as it does for most users.
    command = [sys.executable, "-m", "lightning_st", *words, str(two), *DDP]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]

    assert len(losses(one / "round_0/teacher")) == 20
    assert losses(two / "round_0/teacher") == pytest.approx(losses(one / "round_0/teacher"), abs=1e-5)
    labels = [AnnotationIndex.open(folder / "round_0/pseudo_labels/labels.index") for folder in (one, two)]
    assert list(labels[0].iterate_names()) == list(labels[1].iterate_names())
    images = [json.loads((folder / "round_0/student/evaluation.json").read_text())["images"] for folder in (one, two)]
    assert images[0] == images[1] == {"val": 5, "test": 5}


@pytest.mark.parametrize("make_recipe", [tiny_recipe, tiny_mask_recipe], ids=["boxes", "masks"])
def test_two_processes_label_and_evaluate_exactly_as_one(tmp_path, make_recipe):
    """From the same teacher: a run of one process whose later stages are made by two."""
    recipe = deepcopy(make_recipe(tmp_path / "data", labeled=7, unlabeled=9))
    one, recipe_file = tmp_path / "one", str(write(tmp_path, recipe))
    run(["self_train", "--config", recipe_file, "--output", str(one)], tmp_path / "one.log")
    checkpoint = str(one / "round_0/teacher/checkpoints/best.ckpt")
    words = ["pseudo_label", "--config", recipe_file, "--checkpoint", checkpoint]
    run_two([*words, "--output", str(tmp_path / "two")], tmp_path / "two.log")
    labels = [AnnotationIndex.open(path / "labels.index") for path in (one / "round_0/pseudo_labels", tmp_path / "two")]
    assert labels[0].fingerprint == labels[1].fingerprint
    assert labels[0].source.get("pixels") == labels[1].source.get("pixels")
    assert len(labels[1]) == 9

    config = tmp_path / "validate.yaml"
    module = {"class_path": "TeacherModule", "init_args": {"task": recipe["model"]}}
    config.write_text(yaml.safe_dump({"data": recipe["data"], "model": module}))
    words = ["validate", "--config", str(config), "--ckpt_path", checkpoint]
    words += ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir"]
    run([*words, str(tmp_path / "log_one")], tmp_path / "log_one.log")
    run_two([*words, str(tmp_path / "log_two")], tmp_path / "log_two.log")
    numbers = [logged(tmp_path / name) for name in ("log_one", "log_two")]
    assert numbers[0] == numbers[1]
    assert any(name in numbers[0] for name in ("val/AP", "val/mIoU"))


def logged(folder: Path) -> dict[str, str]:
    """Return the numbers of the one evaluation that was logged in `folder`."""
    (path,) = folder.rglob("metrics.csv")
    with path.open() as file:
        (row,) = csv.DictReader(file)
    return row
