"""The blocks of a guide, and the commands in them."""

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def blocks(guide: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", guide.read_text(), re.DOTALL)


def lines(guide: Path) -> list[str]:
    """Return the command lines of a guide, those that go on after a backslash in one."""
    text = "".join(blocks(guide, "bash")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def words(line: str) -> list[str]:
    """Return what `main` takes of a line that begins with `lightning_st`."""
    name, *rest = shlex.split(line, comments=True)
    assert name == "lightning_st", line
    return rest
