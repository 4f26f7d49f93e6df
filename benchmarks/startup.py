"""From the command to what one waits for: the help, a report without torch, the first training step.

Each turn is a process of its own, started as a shell starts it. The help and the report are timed by the clock on the
wall. The first step is that of a detector of some thousand weights on eight images, so that it is all imports, parsing
and setting up; it is timed by the processor, of the process itself. Beside it a script of Lightning's own: LightningCLI
with the same module and data, which parses the same file and ends the same way.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measuring import OURS, Comparison, Settings, interleave
from benchmarks.tiny_sets import MODEL, TRAINER, TRAINING, recipe_of, write_sets

ROOT = Path(__file__).parents[1]

PLAIN_CLI = """
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning_st import SelfTrainingDataModule
from lightning_st.modules import TaskModule

class CLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.classes", "model.init_args.classes", apply_on="instantiate")

CLI(TaskModule, SelfTrainingDataModule, subclass_mode_model=True, seed_everything_default=0, save_config_callback=None,
    trainer_defaults={"use_distributed_sampler": False})
"""

FIRST_STEP = """
import os, sys, time
from lightning.pytorch import Callback

class FirstStep(Callback):
    def on_train_batch_end(self, *arguments):
        print("first step", time.process_time(), flush=True)
        os._exit(0)
"""

REPORT = """
import sys
from lightning_st.cli import main
status = main(["report", sys.argv[1]])
heavy = [name for name in ("torch", "lightning", "torchvision") if name in sys.modules]
sys.exit(f"imported: {heavy}" if heavy else status)
"""


def run(words: list[str], folder: Path) -> str:
    """Run Python in a process of its own, and return what it wrote.

    Raises:
        RuntimeError: It failed.
    """
    paths = [str(ROOT), str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    environment["NO_ALBUMENTATIONS_UPDATE"] = "1"
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with status {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def seconds_of(words: list[str], folder: Path) -> float:
    """Return the seconds of the wall that a run takes."""
    begun = time.perf_counter()
    run(words, folder)
    return time.perf_counter() - begun


def seconds_to_step(words: list[str], folder: Path) -> float:
    """Return the seconds of the processor from a process's start to the end of its first training step."""
    said = [line for line in run(words, folder).splitlines() if line.startswith("first step")]
    if not said:
        raise RuntimeError(f"{' '.join(words)} came to no training step")
    return float(said[0].rpartition(" ")[2])


def write_configs(folder: Path) -> dict[str, list[str]]:
    """Write scripts and configs, and return the words that start each side."""
    data = write_sets(folder)
    fit_data = {key: value for key, value in data.items() if key != "unlabeled"}
    trainer = {**TRAINER, "max_steps": 2, "logger": False, "enable_checkpointing": False, "num_sanity_val_steps": 0}
    trainer["callbacks"] = [{"class_path": "first_step.FirstStep"}]
    arguments = {"task": MODEL, "optimizer": "adamw", "warmup_steps": 2}
    recipe = recipe_of(data) | {"trainer": {**TRAINER, "callbacks": trainer["callbacks"]}}
    files: dict[str, Any] = {
        "fit.json": {
            "data": fit_data,
            "model": {"class_path": "lightning_st.TeacherModule", "init_args": arguments},
            "trainer": trainer,
        },
        "recipe.json": recipe | {"teacher": {**TRAINING, "max_steps": 2}},
        "whole.json": recipe_of(data),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "plain_cli.py").write_text(PLAIN_CLI)
    (folder / "first_step.py").write_text(FIRST_STEP)
    ours = ["-m", "lightning_st"]
    return {
        OURS: [*ours, "fit", "--config", "fit.json"],
        "LightningCLI": ["plain_cli.py", "fit", "--config", "fit.json"],
        "self_train": [*ours, "self_train", "--config", "recipe.json", "--output"],
        "run": [*ours, "self_train", "--config", "whole.json", "--output", "run"],
    }


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield the help, the report, and the first steps of ``fit`` and ``self_train``."""
    folder = settings.folder.absolute()
    words = write_configs(folder)
    turns = 1 if settings.tiny else settings.repetitions
    helps = interleave({OURS: lambda turn: seconds_of(["-m", "lightning_st", "--help"], folder)}, turns)[OURS]
    yield Comparison("lightning_st --help, wall", "s", "less", helps, limit=0.5)

    if not settings.tiny:  # a run takes half a minute
        run(words["run"], folder)
        reports = interleave({OURS: lambda turn: seconds_of(["-c", REPORT, "run"], folder)}, turns)[OURS]
        yield Comparison("lightning_st report of a run, wall", "s", "less", reports, note="neither torch nor lightning")

    # Once before, so that the indexes are built: not through `interleave`, whose first turn would count for one alone.
    sides = {name: lambda turn, name=name: seconds_to_step(words[name], folder) for name in (OURS, "LightningCLI")}
    seconds = {name: [side(0)] for name, side in sides.items()} if settings.tiny else interleave(sides, turns)
    case = "to the end of the first step of fit, CPU"
    yield Comparison.of(seconds, case=case, unit="s", better="less", goals={"LightningCLI": 1.0})
    if not settings.tiny:
        steps = [seconds_to_step([*words["self_train"], f"run_{turn}"], folder) for turn in range(turns)]
        yield Comparison("to the end of the teacher's first step of self_train, CPU", "s", "less", steps)
