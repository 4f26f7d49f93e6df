"""Runs with every stage that there is, started as processes, and what they leave."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import yaml
from processes import Command
from recipes import tiny_mask_recipe, tiny_recipe

from lightning_st.index import AnnotationIndex

CASES = {
    "boxes": (tiny_recipe, 0, 1),
    "masks, 2 workers": (tiny_mask_recipe, 2, 1),
    "boxes, 2 workers, accumulating 2": (tiny_recipe, 2, 2),
    "masks, accumulating 2": (tiny_mask_recipe, 0, 2),
}
PRETRAIN = {"model": {"class_path": "lightning_st.SimCLR"}, "data": {"batch_size": 4}, "training": {"max_steps": 4}}


def write_config(folder: Path, make_recipe: Any, workers: int, accumulate: int) -> Path:
    """Write a recipe with every stage that there is, moving averages of the weights, and shards of 2 images."""
    recipe = make_recipe(folder / "data", num_workers=workers)
    for section in ("teacher", "student"):
        recipe[section] |= {"max_steps": 5, "validate_every": 2, "ema_decay": 0.9}
    recipe["pseudo_label"]["shard_size"] = 2
    recipe["trainer"] = {**recipe.get("trainer", {}), "accumulate_grad_batches": accumulate, "log_every_n_steps": 1}
    recipe |= {"control": True, "pretrain": PRETRAIN if make_recipe is tiny_recipe else {}}
    recipe["data"]["cache_folder"] = str(folder / "cache")
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def start(config: Path, output: Path, faults: str = "") -> Command:
    words = ["self_train", "--config", str(config), "--output", str(output)]
    return Command(words, output.with_suffix(".log"), **({"FAULTS": faults} if faults else {}))


def left_behind(run: Path) -> dict[str, Any]:
    """Return all that a run leaves and that says what it found, by file."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.suffix == ".ckpt":
            found[name] = torch.load(path, weights_only=True)
            # Two things that Lightning saves and that decide nothing: how many batches were ever validated, also by
            # validations that were cut, and the score that a ModelCheckpoint last saw, which it does not restore.
            del found[name]["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            for state in found[name]["callbacks"].values():
                state.pop("current_score", None)
        elif path.suffix == ".index":
            found[name] = AnnotationIndex.open(path).fingerprint
        elif path.name == "evaluation.json":
            found[name] = json.loads(path.read_text())["splits"]
        elif path.name == "metrics.csv":
            found[name] = path.read_text()
        elif path.name == "metrics.json":
            found[name] = {key: value for key, value in json.loads(path.read_text()).items() if key != "seconds"}
    return found


def differing(one: Any, other: Any, where: str = "") -> list[str]:
    """Return where two results differ; tensors bit for bit, and NaN is as good as NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        both, lone = one.keys() & other.keys(), one.keys() ^ other.keys()
        parts = [differing(one[key], other[key], f"{where}/{key}") for key in both]
        return [f"{where}/{key}" for key in lone] + list(chain.from_iterable(parts))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return list(chain.from_iterable(differing(*pair, where) for pair in zip(one, other, strict=True)))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        is_same = one.dtype == other.dtype and one.shape == other.shape
        return [] if is_same and one.numpy().tobytes() == other.numpy().tobytes() else [where]
    return [] if one == other or (one != one and other != other) else [where]
