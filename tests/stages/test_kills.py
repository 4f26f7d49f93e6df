"""A run that is killed (SIGKILL) and started again ends with the very weights of one that was not."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import LONGEST_SECONDS, Command
from recipes import tiny_mask_recipe, tiny_recipe

from lightning_st.index import AnnotationIndex
from lightning_st.modules import checkpoint_fingerprint

pytestmark = pytest.mark.slow

# When to kill: as soon as a file that matches is there.
MOMENTS = {
    "teacher": "round_0/teacher/checkpoints/last.ckpt",
    "labelling": "round_0/pseudo_labels/shards/00000.index",
    "student": "round_0/student/checkpoints/last.ckpt",
    "evaluation": "round_0/student/checkpoints/best.ckpt",
}


def write_config(folder: Path, workers: int, make_recipe: Callable[..., dict[str, Any]] = tiny_recipe) -> Path:
    recipe = make_recipe(folder / "data", num_workers=workers)
    recipe["teacher"] |= {"max_steps": 12}
    recipe["student"] |= {"max_steps": 12}
    recipe["pseudo_label"]["shard_size"] = 2
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def start(config: Path, output: Path) -> Command:
    return Command(["self_train", "--config", str(config), "--output", str(output)], output.with_suffix(".log"))


def kill_when(command: Command, path: Path) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not path.exists():
        assert command.process.is_alive(), f"the run ended before {path} was there"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    command.kill()


def weights(run: Path) -> dict[str, str]:
    return {str(path.relative_to(run)): checkpoint_fingerprint(path) for path in sorted(run.rglob("*.ckpt"))}


def stores(run: Path) -> list[str]:
    return [AnnotationIndex.open(path).fingerprint for path in sorted(run.rglob("labels.index"))]


def numbers(run: Path) -> list[dict]:
    return [json.loads(path.read_text())["splits"] for path in sorted(run.rglob("evaluation.json"))]


@pytest.mark.parametrize(
    ("workers", "make_recipe"), [(0, tiny_recipe), (2, tiny_recipe), (2, tiny_mask_recipe)], ids=["0", "2", "2 masks"]
)
def test_killed_in_every_stage_it_ends_with_the_same_weights(tmp_path, workers, make_recipe):
    config = write_config(tmp_path, workers, make_recipe)
    start(config, tmp_path / "whole").finish()
    for moment, path in MOMENTS.items():
        if (tmp_path / "killed" / path).exists():  # a faster machine was further already
            continue
        kill_when(start(config, tmp_path / "killed"), tmp_path / "killed" / path)
        state = json.loads((tmp_path / "killed" / "manifest.json").read_text())["state"]
        assert state == "running", moment
    start(config, tmp_path / "killed").finish()
    assert stores(tmp_path / "killed") == stores(tmp_path / "whole")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")
    logs = [(tmp_path / name / "round_0" / "student" / "metrics.csv").read_text() for name in ("killed", "whole")]
    assert logs[0] == logs[1]
