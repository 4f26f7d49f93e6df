"""A run that is killed (SIGKILL) and started again ends with the very weights of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
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
LONGEST_SECONDS = 300


def write_config(folder: Path, workers: int, make_recipe: Callable[..., dict[str, Any]] = tiny_recipe) -> Path:
    recipe = make_recipe(folder / "data", num_workers=workers)
    recipe["teacher"] |= {"max_steps": 12}
    recipe["student"] |= {"max_steps": 12}
    recipe["pseudo_label"]["shard_size"] = 2
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def start(config: Path, output: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "lightning_st", "self_train", "--config", str(config), "--output", str(output)]
    # A process group of its own, so that the loaders' workers are killed with it.
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=LONGEST_SECONDS)
    assert process.returncode == 0, errors.decode()[-2000:]


def kill_when(process: subprocess.Popen, path: Path) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not path.exists():
        assert process.poll() is None, f"the run ended before {path} was there"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


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
    finish(start(config, tmp_path / "whole"))
    for moment, path in MOMENTS.items():
        process = start(config, tmp_path / "killed")
        if (tmp_path / "killed" / path).exists():  # a faster machine was further already
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            continue
        kill_when(process, tmp_path / "killed" / path)
        state = json.loads((tmp_path / "killed" / "manifest.json").read_text())["state"]
        assert state == "running", moment
    finish(start(config, tmp_path / "killed"))
    assert stores(tmp_path / "killed") == stores(tmp_path / "whole")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")
    logs = [(tmp_path / name / "round_0" / "student" / "metrics.csv").read_text() for name in ("killed", "whole")]
    assert logs[0] == logs[1]
