"""What a row of the tables is made of: a data set that may be spoilt, how that is done, and what comes of it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lightning_st.cli import main


class Case:
    """A recipe with the folder of its data, which a row spoils, and the command that meets it.

    Attributes:
        folder: Everything lies below.
        recipe: A config of `self_train`.
        finished: A run of the same data that went well.
        words: Of the command line, behind the config.
        command_line: All of it, where a row decides it.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any], finished: Path | None = None) -> None:
        self.folder, self.recipe, self.finished = folder, recipe, finished
        self.words: list[str] = []
        self.command_line: list[str] = []

    @property
    def annotations(self) -> Path:
        """The COCO JSON of the labelled images."""
        return self.folder / "data" / "labeled" / "annotations.json"

    def images(self, name: str = "labeled") -> Path:
        return self.folder / "data" / name / "images"

    def first_image(self, name: str = "labeled") -> Path:
        return sorted(self.images(name).iterdir())[0]

    def edit(self, change: Callable[[dict[str, Any]], Any], name: str = "labeled") -> None:
        """Change the COCO JSON of a set."""
        path = self.folder / "data" / name / "annotations.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    def set(self, **sections: dict[str, Any]) -> None:
        for section, changes in sections.items():
            self.recipe[section] = {**self.recipe[section], **changes}

    def source(self, **keys: Any) -> None:
        """Change keys of `data.labeled`; `{}` stands for the folder."""
        placed = {
            key: str(value).format(self.folder) if isinstance(value, str) else value for key, value in keys.items()
        }
        self.recipe["data"]["labeled"] = {**self.recipe["data"]["labeled"], **placed}

    def only(self, **keys: Any) -> None:
        """Make `data.labeled` the one set, of these keys."""
        others = ("labeled", "val", "test", "unlabeled")
        self.recipe["data"] = {k: v for k, v in self.recipe["data"].items() if k not in others} | {"labeled": {}}
        self.source(**keys)

    def write(self, files: dict[str, bytes | str]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def run(self, command: str = "check", *words: str) -> int:
        """Run a command on the recipe, of which `check` reads the data alone; or what `command_line` says."""
        if command == "command_line":
            return main(self.command_line)
        config = self.folder / "recipe.yaml"
        content = self.recipe if command != "check" else {"data": self.recipe["data"]}
        config.write_text(yaml.safe_dump(content))
        output = ["--output", str(self.folder / "out")] if command != "check" else []
        return main([command, "--config", str(config), *output, *self.words, *words])

    def copy_of_run(self) -> Path:
        """Return a copy of the finished run."""
        assert self.finished is not None
        return Path(shutil.copytree(self.finished, self.folder / "run"))


@dataclass(frozen=True)
class Refused:
    """One sentence and status 2.

    Attributes:
        sentence: A regular expression: the file, the record, the field, and what is wrong.
    """

    sentence: str


@dataclass(frozen=True)
class Skipped:
    """Left out and counted; it would stop a run only above `data.max_bad_fraction`.

    Attributes:
        said: A regular expression for what `check` says: how many, and which.
    """

    said: str


@dataclass(frozen=True)
class Used:
    """Taken as it is, or mended without a doubt.

    Attributes:
        facts: Attributes of the index of the labelled images to their values, as lists.
        said: A regular expression for what `check` says of it besides.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    said: str = ""


@dataclass(frozen=True)
class Bad:
    """A row.

    Attributes:
        name: What is wrong, as a user would say it.
        spoil: Makes it so.
        outcome: What comes of it.
        command: What the user runs, or "command_line" for what `spoil` leaves there.
    """

    name: str
    spoil: Callable[[Case], Any]
    outcome: Refused | Skipped | Used
    command: str = "check"
