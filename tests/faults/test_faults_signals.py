"""Signals that ask to stop: a checkpoint within a step, the status that schedulers read, a resume without a flag."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from processes import Command, run_together
from recipes import TINY_MODEL, tiny_recipe

from faults.injection import plan
from faults.runs import CASES, differing, left_behind, start, write_config

pytestmark = [pytest.mark.slow, pytest.mark.faults]

PRETRAIN_BATCHES = 4
"""Of `runs.PRETRAIN`, which come before the teacher's."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("signals"), *CASES["boxes"])


def teacher_step(run: Path) -> int:
    return torch.load(run / "round_0/teacher/checkpoints/last.ckpt", weights_only=True)["global_step"]


@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_the_step_in_which_it_arrives_is_kept(config: Path, tmp_path: Path, number: signal.Signals, step: int) -> None:
    """Of 5 steps, validated after the second and the fourth."""
    command = start(config, tmp_path / "run", plan(tmp_path / "none", "gradient", PRETRAIN_BATCHES + step, number))
    assert command.status() == 128 + number
    assert teacher_step(tmp_path / "run") == step
    assert f"Stopped by {number.name} after step {step}" in command.log.read_text()
    assert "Traceback" not in command.log.read_text()


def test_slurm_is_asked_to_start_the_job_again(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/asked\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    job = {"JOB_ID": "77", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "NODELIST": "localhost"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    moment = plan(tmp_path / "none", "gradient", PRETRAIN_BATCHES + 3, signal.SIGUSR1)
    assert start(config, tmp_path / "run", moment).status() == 128 + signal.SIGUSR1
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    assert teacher_step(tmp_path / "run") == 3


def test_two_processes_stop_together_whichever_is_told(tmp_path: Path) -> None:
    config, run = write_config(tmp_path, tiny_recipe, 0, 1), tmp_path / "run"
    words = ["self_train", "--config", str(config), "--output", str(run)]
    run_together(words, tmp_path / "whole.log")
    expected = left_behind(run)
    shutil.rmtree(run)
    moment = plan(tmp_path / "none", "gradient", PRETRAIN_BATCHES + 3, signal.SIGTERM)
    assert run_together(words, tmp_path / "cut.log", 2, {1: {"FAULTS": moment}}) == [143, 143]
    assert teacher_step(run) == 4  # the processes agree on it while a step is computed
    run_together(words, tmp_path / "again.log")
    assert differing(left_behind(run), expected) == []


def test_the_arm_of_an_experiment_ends_with_it(config: Path, tmp_path: Path) -> None:
    recipe, output = yaml.safe_load(config.read_text()), tmp_path / "out"
    del recipe["control"], recipe["pretrain"]
    recipe["experiment"] = {"factors": {"alpha": [1.0]}, "seeds": [0]}
    recipe["teacher"]["max_steps"] = 10_000
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(recipe))
    words = ["experiment", "--config", str(tmp_path / "experiment.yaml"), "--output", str(output)]
    command = Command(words, tmp_path / "log")
    while not list(output.rglob("metrics.csv")):
        assert command.process.is_alive(), command.log.read_text()
        time.sleep(0.1)
    os.kill(command.process.pid, signal.SIGTERM)
    assert command.status() == 143
    (log,) = output.rglob("log.txt")
    assert "Stopped by SIGTERM after step" in log.read_text()


@pytest.mark.parametrize("step", [1, 2])
def test_fit_leaves_a_checkpoint_to_go_on_from(tmp_path: Path, step: int) -> None:
    """Validated after the second step: that validation is made up for."""
    recipe = tiny_recipe(tmp_path / "data")
    module = {"class_path": "TeacherModule", "init_args": {"task": TINY_MODEL, "lr": 0.01}}
    trainer = {"max_steps": 3, "val_check_interval": 2, "check_val_every_n_epoch": None, "log_every_n_steps": 1}
    trainer |= {"num_sanity_val_steps": 0, "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "logs"}}}
    checkpoints = {"class_path": "ModelCheckpoint", "init_args": {"every_n_train_steps": 3, "save_top_k": -1}}
    trainer["callbacks"] = [checkpoints]
    config = tmp_path / "fit.yaml"
    config.write_text(yaml.safe_dump({"data": recipe["data"], "model": module, "trainer": trainer}))

    def fit(name: str, *words: str, **environment: str) -> Command:
        there = ["--trainer.logger.save_dir", str(tmp_path / name)]
        return Command(["fit", "--config", str(config), *there, *words], tmp_path / f"{name}.log", **environment)

    def weights(name: str) -> object:
        (path,) = (tmp_path / name).rglob("*step=3.ckpt")
        return torch.load(path, weights_only=True)["state_dict"]

    fit("whole").finish()
    stopped = fit("stopped", FAULTS=plan(tmp_path / "none", "gradient", step, signal.SIGTERM))
    assert stopped.status() == 143
    (checkpoint,) = (tmp_path / "stopped").rglob("stopped.ckpt")
    assert f"--ckpt_path {checkpoint}" in stopped.log.read_text()
    fit("again", "--ckpt_path", str(checkpoint)).finish()
    assert differing(weights("again"), weights("whole")) == []
    (numbers,) = (tmp_path / "again").rglob("metrics.csv")
    assert "val/AP" in numbers.read_text()
