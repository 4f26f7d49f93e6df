"""Two and four processes see the global batches of one: the same losses, the same labels, the same numbers.

`pytest tests/stages/test_processes.py` is the whole of it, beside tests/modules/test_modules_ddp.py, which deals images
out in every uneven way: a rank without boxes, without images of a stream, without any image.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from faults.injection import plan
from processes import DDP, Command, run, run_together
from recipes import tiny_mask_recipe, tiny_recipe

from lightning_st.index import AnnotationIndex

pytestmark = pytest.mark.slow

STEPS = 20
Write = Callable[[dict[str, Any], str], str]
"""Writes a config and returns its path."""


def write(folder: Path, recipe: dict[str, Any], name: str = "recipe") -> str:
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(recipe))
    return str(config)


def logged(folder: Path, name: str) -> list[str]:
    """Return what the one log in a folder says of a number, step by step, as it is written there."""
    (path,) = folder.rglob("metrics.csv")
    with path.open() as file:
        return [row[name] for row in csv.DictReader(file) if row.get(name)]


def losses(folder: Path) -> list[float]:
    return [float(value) for value in logged(folder, "train/loss")]


@pytest.fixture(scope="module", params=[tiny_recipe, tiny_mask_recipe], ids=["boxes", "masks"])
def labelled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A recipe with 7 labelled images and 9 others, and its run in one process."""
    folder = tmp_path_factory.mktemp("one")
    recipe = request.param(folder / "data", labeled=7, unlabeled=9)
    run(["self_train", "--config", write(folder, recipe), "--output", str(folder / "run")], folder / "run.log")
    return recipe, folder / "run"


def fit_words(folder: Path, recipe: dict[str, Any], store: Path, batch_norm: str) -> list[str]:
    """Return a command that trains a student on a store, with SGD: Adam would blow up what is nothing but rounding."""
    task = {**recipe["model"], "init_args": {**recipe["model"]["init_args"], "batch_norm": batch_norm}}
    module = {"class_path": "StudentModule", "init_args": {"task": task, "optimizer": "sgd", "lr": 0.0005}}
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": str(folder)}}
    trainer = {"max_steps": STEPS, "log_every_n_steps": 1, "logger": logger, "limit_val_batches": 0}
    trainer["enable_checkpointing"] = False
    data = {**recipe["data"], "pseudo_labels": str(store)}
    return ["fit", "--config", write(folder, {"data": data, "model": module, "trainer": trainer}, "fit")]


@pytest.mark.parametrize("batch_norm", ["sync", "frozen"])
def test_losses_are_those_of_one_process(labelled, tmp_path, batch_norm):
    recipe, finished = labelled
    found = {}
    for count in (1, 2, 4):
        folder = tmp_path / str(count)
        folder.mkdir()
        words = fit_words(folder, recipe, finished / "round_0" / "pseudo_labels", batch_norm)
        run_together(words, folder / "log", count)
        found[count] = losses(folder)
    assert len(found[1]) == STEPS
    assert found[2] == pytest.approx(found[1], abs=1e-5)
    assert found[4] == pytest.approx(found[1], abs=1e-5)


@pytest.mark.parametrize("count", [2, 4])
def test_labels_are_exactly_those_of_one_process(labelled, tmp_path, count):
    recipe, finished = labelled
    checkpoint = str(finished / "round_0/teacher/checkpoints/best.ckpt")
    words = ["pseudo_label", "--config", write(tmp_path, recipe), "--checkpoint", checkpoint, "--output"]
    run_together([*words, str(tmp_path / "store")], tmp_path / "log", count)
    stores = [
        AnnotationIndex.open(path / "labels.index") for path in (finished / "round_0/pseudo_labels", tmp_path / "store")
    ]
    assert stores[0].fingerprint == stores[1].fingerprint
    assert stores[0].source.get("pixels") == stores[1].source.get("pixels")
    assert len(stores[1]) == 9


@pytest.mark.parametrize("images", [1, 2, 21])
def test_numbers_are_exactly_those_of_one_process(labelled, tmp_path, images):
    """Also where there are more processes than images: none is counted twice, none left out."""
    recipe, finished = labelled
    make_recipe = tiny_mask_recipe if "masks" in recipe["data"]["val"] else tiny_recipe
    val = make_recipe(tmp_path / "data", labeled=images)["data"]["labeled"]
    module = {"class_path": "TeacherModule", "init_args": {"task": recipe["model"]}}
    config = write(tmp_path, {"data": {**recipe["data"], "val": val, "batch_size": 4}, "model": module})
    checkpoint = str(finished / "round_0/teacher/checkpoints/best.ckpt")
    words = ["validate", "--config", config, "--ckpt_path", checkpoint, "--trainer.logger", "CSVLogger"]
    found = {}
    for count in (1, 2, 4):
        folder = tmp_path / f"by_{count}"
        run_together([*words, "--trainer.logger.save_dir", str(folder)], tmp_path / f"{count}.log", count)
        (path,) = folder.rglob("metrics.csv")
        found[count] = path.read_text()
    assert found[1] == found[2] == found[4]
    assert "val/mIoU" in found[1] or "val/AP" in found[1]


def test_lightning_starts_the_second_process(tmp_path):
    """As it does for most users; and another number of processes goes on with the same global batches."""
    recipe = tiny_recipe(tmp_path / "data", labeled=7, unlabeled=9)
    recipe["model"] = {**recipe["model"], "init_args": {**recipe["model"]["init_args"], "batch_norm": "sync"}}
    for section in ("teacher", "student"):
        recipe[section] |= {"max_steps": STEPS, "validate_every": STEPS, "optimizer": "sgd", "lr": 0.0005}
    recipe["trainer"]["log_every_n_steps"] = 1
    one, two, mixed = (tmp_path / name for name in ("one", "two", "mixed"))
    words = ["self_train", "--config", write(tmp_path, recipe), "--output"]
    run([*words, str(one)], tmp_path / "one.log")
    by_lightning = [sys.executable, "-m", "lightning_st", *words, str(two), *DDP]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(by_lightning, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    cut = Command(
        [*words, str(mixed)], tmp_path / "cut.log", FAULTS=plan(tmp_path / "none", "gradient", 8, signal.SIGTERM)
    )
    assert cut.status() == 143
    run_together([*words, str(mixed)], tmp_path / "mixed.log", 2)

    expected = losses(one / "round_0/teacher")
    assert len(expected) == STEPS
    for other in (two, mixed):
        assert losses(other / "round_0/teacher") == pytest.approx(expected, abs=1e-5)
        labels = [AnnotationIndex.open(folder / "round_0/pseudo_labels/labels.index") for folder in (one, other)]
        assert list(labels[0].iterate_names()) == list(labels[1].iterate_names())
        images = [
            json.loads((folder / "round_0/student/evaluation.json").read_text())["images"] for folder in (one, other)
        ]
        assert images[0] == images[1] == {"val": 5, "test": 5}


def without_boxes(annotations: Path, keep: int) -> None:
    """Leave the boxes of one image alone."""
    content = json.loads(annotations.read_text())
    content["annotations"] = [
        each for each in content["annotations"] if each["image_id"] == content["images"][keep]["id"]
    ]
    annotations.write_text(json.dumps(content))


def test_most_ranks_and_most_batches_without_a_box(labelled, tmp_path):
    recipe, finished = labelled
    if "annotations" not in recipe["data"]["labeled"]:
        pytest.skip("masks have no boxes")
    labeled = tiny_recipe(tmp_path / "data", labeled=7)["data"]["labeled"]
    without_boxes(Path(labeled["annotations"]), keep=3)
    found = {}
    for count in (1, 4):
        folder = tmp_path / str(count)
        folder.mkdir()
        here = {**recipe, "data": {**recipe["data"], "labeled": labeled}}
        words = fit_words(folder, here, finished / "round_0" / "pseudo_labels", "frozen")
        run_together(words, folder / "log", count)
        found[count] = losses(folder)
    assert found[4] == pytest.approx(found[1], abs=1e-5)


@pytest.mark.parametrize("dying", [0, 1])
def test_a_process_that_dies_takes_the_others_along(labelled, tmp_path, dying):
    recipe, _ = labelled
    words = ["self_train", "--config", write(tmp_path, recipe), "--output", str(tmp_path / "run")]
    moment = {dying: {"FAULTS": plan(tmp_path / "none", "gradient", 3, signal.SIGKILL)}}
    began = time.monotonic()
    statuses = run_together(words, tmp_path / "log", 2, moment)
    assert time.monotonic() - began < 60
    assert statuses[dying] == -signal.SIGKILL
    assert statuses[1 - dying] == 1
    said = (tmp_path / f"log.{1 - dying}").read_text().splitlines()[-1]
    assert re.match(r"lightning_st: another process of this run has ended \(.*\)\. Its own last words say why", said)


def test_the_refusal_of_one_process_is_said_by_it_and_ends_the_others(labelled, tmp_path):
    """Of the labelled images one cannot be read, which one of the two meets."""
    recipe, _ = labelled
    make_recipe = tiny_mask_recipe if "masks" in recipe["data"]["val"] else tiny_recipe
    labeled = make_recipe(tmp_path / "data", labeled=7)["data"]["labeled"]
    spoilt = sorted(Path(labeled["images"]).iterdir())[2]
    spoilt.write_bytes(spoilt.read_bytes()[:200])
    data = {**recipe["data"], "labeled": labeled, "max_bad_fraction": 0}
    words = ["self_train", "--config", write(tmp_path, {**recipe, "data": data}), "--output", str(tmp_path / "run")]
    statuses = run_together(words, tmp_path / "log", 2, {})
    assert sorted(statuses) in ([1, 2], [2, 2])
    refused = (tmp_path / f"log.{statuses.index(2)}").read_text()
    assert spoilt.name in refused.splitlines()[-1]
    assert "Traceback" not in refused
