"""Loggers of the user's own: one run a stage, beside the CSV file that every stage writes."""

import pytest
from recipes import tiny_recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_st.stages import self_train


def recipe_with(folder, *loggers):
    recipe = tiny_recipe(folder / "data")
    recipe["trainer"]["logger"] = list(loggers)
    return recipe


def logger(kind, **arguments):
    return {"class_path": f"lightning.pytorch.loggers.{kind}", "init_args": arguments}


def test_tensorboard_has_each_stage_by_its_name(tmp_path):
    boards = tmp_path / "boards"
    self_train(recipe_with(tmp_path, logger("TensorBoardLogger", save_dir=str(boards))), tmp_path / "run")
    for stage in ("teacher", "student"):
        events = EventAccumulator(str(boards / "round_0" / stage / "version_0")).Reload()
        assert {"train/loss", "val/AP"} <= set(events.Tags()["scalars"])
        assert (tmp_path / "run" / "round_0" / stage / "metrics.csv").is_file()


def test_wandb_offline_has_a_run_for_each_stage(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    started = []
    init = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **options: started.append(init(**options)) or started[-1])
    runs = tmp_path / "runs"
    runs.mkdir()
    self_train(recipe_with(tmp_path, logger("WandbLogger", save_dir=str(runs), offline=True)), tmp_path / "run")
    assert [run.name for run in started] == ["round_0/teacher", "round_0/student"]
    assert len(list(runs.glob("wandb/offline-run-*/*.wandb"))) == 2
    assert wandb.run is None


def test_a_name_of_the_users_own_stays(tmp_path):
    boards = tmp_path / "boards"
    spec = logger("TensorBoardLogger", save_dir=str(boards), name="mine")
    self_train(recipe_with(tmp_path, spec), tmp_path / "run")
    assert sorted(path.name for path in (boards / "mine").iterdir()) == ["version_0", "version_1"]
