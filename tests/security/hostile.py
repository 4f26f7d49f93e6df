"""Files that a stranger could send, and the mark that the code in them would leave."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

CHECKPOINT = "round_0/teacher/checkpoints/last.ckpt"


class Runs:
    """Whoever unpickles it runs a program at once, which makes the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.check_call, (["touch", str(self.marker)],)


def call_of(marker: Path) -> dict[str, Any]:
    """Return the spec of an object whose making would leave the marker."""
    return {"class_path": "subprocess.check_call", "init_args": {"popenargs": ["touch", str(marker)]}}


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def with_code(checkpoint: Path, path: Path, marker: Path, **options: Any) -> Path:
    """Write a copy of a checkpoint that runs code where it is unpickled."""
    torch.save({**read(checkpoint), "callbacks": {"x": Runs(marker)}}, path, **options)
    return path


def saying(checkpoint: Path, path: Path, **said: Any) -> Path:
    """Write a copy of a checkpoint that says something else of its model's arguments."""
    content = copy.deepcopy(read(checkpoint))
    content["lightning_st"]["task"]["init_args"].update(said)
    torch.save(content, path)
    return path


def refused(arguments: list[str], capsys: Any, *, says: str) -> str:
    """Run a command that has to refuse: status 2, one sentence with `says`, no traceback; return the sentence."""
    from lightning_st.cli import main

    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lightning_st: ")]
    assert len(lines) == 1, lines
    assert says in lines[0]
    return lines[0]


PYTHON = sys.executable
