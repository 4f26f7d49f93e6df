"""Disks that are full, read-only, or forget: one sentence, status 2, and later the same command goes on."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Command

from faults.injection import plan
from faults.runs import CASES, differing, left_behind, start, write_config

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("disk"), *CASES["boxes"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB, where this process may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or mount("-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def mount(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["mount", *words], check=False, capture_output=True)


def last_sentence(command: Command) -> str:
    """Wait for a command that is refused, and return what it says last."""
    assert command.status() == 2, command.log.read_text()[-3000:]
    assert "Traceback" not in command.log.read_text()
    return command.log.read_text().splitlines()[-1]


def test_a_full_disk(config: Path, small_disk: Path) -> None:
    run = small_disk / "run"
    sentence = last_sentence(start(config, run))
    assert sentence.startswith("lightning_st: ")
    assert "No space left on device" in sentence
    assert mount("-o", "remount,size=100m", str(small_disk)).returncode == 0
    start(config, run).finish()
    after_the_full_disk = left_behind(run)
    shutil.rmtree(run)
    start(config, run).finish()
    assert differing(after_the_full_disk, left_behind(run)) == []


def test_an_output_that_is_read_only(config: Path, small_disk: Path) -> None:
    assert mount("-o", "remount,ro", str(small_disk)).returncode == 0
    command = Command(["self_train", "--config", str(config), "--output", str(small_disk)], config.with_suffix(".log"))
    sentence = last_sentence(command)
    assert str(small_disk) in sentence
    assert "Read-only file system" in sentence


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_a_checkpoint_that_is_cut_short(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    start(config, run).finish()
    expected = left_behind(run)
    shutil.rmtree(run)
    moment = plan(tmp_path / "none", "gradient", 4 + 4, signal.SIGKILL)  # after four steps of the pre-training
    assert start(config, run, moment).status() == -signal.SIGKILL
    checkpoints = run / "round_0" / "teacher" / "checkpoints"
    cut(checkpoints / "last.ckpt")
    command = start(config, run)
    command.finish()
    assert f"{checkpoints / 'last.ckpt'}: not a readable checkpoint" in command.log.read_text()
    assert "goes on from previous.ckpt" in command.log.read_text()
    assert differing(left_behind(run), expected) == []
    assert not (checkpoints / "previous.ckpt").exists()


def test_no_checkpoint_that_can_be_read(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    moment = plan(tmp_path / "none", "gradient", 4 + 4, signal.SIGKILL)
    assert start(config, run, moment).status() == -signal.SIGKILL
    for path in (run / "round_0" / "teacher" / "checkpoints").glob("*.ckpt"):
        cut(path)
    sentence = last_sentence(start(config, run))
    assert "last.ckpt: not a readable checkpoint" in sentence
    assert "--restart" in sentence
