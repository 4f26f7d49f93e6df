"""docs/guides/migrating.md: the keys of this package in its tables exist, and its commands are understood."""

import re
from pathlib import Path

import pytest
from guide_commands import DOCS, lines, words

from lightning_st.cli.stage_commands import parse_recipe, recipe_parser

GUIDE = DOCS / "guides" / "migrating.md"
SECTIONS = ("data", "model", "teacher", "student", "pseudo_label", "trainer")


def named_keys() -> list[str]:
    """Return each `section.key` that a table's right column names."""
    cells = [line.rsplit(" | ", 1)[1] for line in GUIDE.read_text().splitlines() if line.startswith("| ")]
    return sorted(set(re.findall(rf"`((?:{'|'.join(SECTIONS)})\.[a-z_.]+)", " ".join(cells))))


def test_the_keys_exist():
    parser = recipe_parser("self_train", "")
    start = ["--model", "lightning_st.RetinaNet", "--output", "runs/x"]
    known = parse_recipe(parser, start)
    keys = named_keys()
    assert len(keys) > 25
    for key in keys:
        section, name, *below = key.split(".")
        held = known[section]["init_args"] if section == "model" else known[section]
        assert name in held, key
        if below:
            value = {"fraction": "0.5"}.get(below[0], "FILE")
            images = [f"--data.{name}.images", "photos"]
            assert parse_recipe(recipe_parser("self_train", ""), [*start, *images, f"--{key}", value])


@pytest.mark.parametrize("line", [line for line in lines(GUIDE) if " self_train " in line])
def test_the_commands_are_understood(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("configs").symlink_to(DOCS.parent / "configs")
    _, *rest = words(line)
    assert parse_recipe(recipe_parser("self_train", ""), rest)["data"]["labeled"]["images"] == "yolo"
