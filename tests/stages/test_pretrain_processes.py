"""Two processes pre-train as one does, with shares of different sizes; also where each sees one kind of image only."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from processes import run, run_together
from recipes import pretrain_recipe

pytestmark = pytest.mark.slow


def losses(folder: Path, recipe: dict, name: str, start: Callable[[list[str], Path], None]) -> list[float]:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    output = folder / name
    start(["pretrain", "--config", str(folder / "recipe.yaml"), "--output", str(output)], folder / f"{name}.log")
    assert (output / "evaluation.json").is_file()
    with (output / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def sgd_recipe(folder: Path, arm: str, batch_size: int) -> dict:
    recipe = pretrain_recipe(folder, arm, batch_size=batch_size)
    recipe["model"]["init_args"]["batch_norm"] = "sync"
    # Adam would blow rounding up.
    recipe["training"] |= {"max_steps": 8, "validate_every": 8, "optimizer": "sgd", "lr": 0.0005, "ema_decay": None}
    recipe["trainer"]["log_every_n_steps"] = 1
    return recipe


@pytest.mark.parametrize("arm", ["ImageClassifier", "SimCLR", "JointDetector"])
def test_two_processes_do_what_one_does(tmp_path, arm):
    recipe = sgd_recipe(tmp_path / "data", arm, batch_size=3)
    if arm == "SimCLR":
        # Over so few values the two ways to compute batch statistics differ by 1e-5, which a low temperature blows up;
        # tests/models/test_simclr.py compares the gradients.
        recipe["model"]["init_args"]["temperature"] = 1.0
        recipe["training"]["lr"] = 0.0001
    one, two = losses(tmp_path, recipe, "one", run), losses(tmp_path, recipe, "two", run_together)
    assert len(one) == 8
    assert two == pytest.approx(one, rel=1e-4)


def test_each_process_may_see_one_kind_of_image_only(tmp_path):
    """One image with boxes and one with a class in a global batch: every part still gets its gradient on both."""
    recipe = sgd_recipe(tmp_path / "data", "JointDetector", batch_size=1)
    found = losses(tmp_path, recipe, "two", run_together)
    assert len(found) == 8
    assert all(math.isfinite(loss) for loss in found)
