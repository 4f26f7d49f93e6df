"""The examples: every command in their docstrings is run as it stands there, cut short; and the plain program."""

import importlib
import json
import shlex
from pathlib import Path

import pytest

from lightning_st.cli import main
from lightning_st.index import build_index

EXAMPLES = Path(__file__).parents[2] / "examples"
PARTS = sorted(path.stem for path in EXAMPLES.glob("own_*.py"))
SHORT = "--teacher.max_steps 1 --student.max_steps 1 --pseudo_label.score_threshold 0.0001 "
SHORT += "--model.score_threshold 0.0001 --trainer.enable_progress_bar false"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the examples and their data, where somebody works who tries them."""
    for path in EXAMPLES.glob("*.py"):
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("toy_data").write_toy_data(Path("toy"), labeled=6, unlabeled=6)
    return tmp_path


def command(name: str) -> list[str]:
    """Return the words of the command in the docstring of an example."""
    lines = (importlib.import_module(name).__doc__ or "").replace("\\\n", " ").splitlines()
    found = [line for line in lines if line.startswith("    lightning_st ")]
    assert len(found) == 1, found
    return shlex.split(found[0])[1:]


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_ones_own_is_chosen_on_the_command_line(name, here, capsys):
    words = command(name)
    if name == "own_reader":
        importlib.import_module(name).write_csv(Path("toy/boxes.json"), Path("toy/boxes.csv"))
    short = SHORT.split() if words[0] == "self_train" else []
    if name == "own_confidence_rule":  # which a threshold would stand in for
        short = [*short, "--pseudo_label.score_threshold", "null"]
    assert main([*words, *short]) == 0, capsys.readouterr().err
    if words[0] == "self_train":
        metrics = json.loads((here / "runs" / name / "report/metrics.json").read_text())
        assert metrics["rounds"][0]["student"]["val"]["AP"] >= 0


def test_the_reader_says_what_coco_says(here):
    own = importlib.import_module("own_reader")
    own.write_csv(Path("toy/boxes.json"), Path("toy/boxes.csv"))
    found = build_index("toy/photos", "toy/boxes.csv", "own_reader.read_csv")
    coco = build_index("toy/photos", "toy/boxes.json")
    names = [[index.classes[label] for label in index.labels] for index in (found, coco)]
    assert names[0] == names[1]
    assert (found.boxes == coco.boxes).all()


def test_a_line_that_makes_no_sense_is_one_sentence(here, capsys):
    Path("toy/boxes.csv").write_text("file,class,left,top,right,bottom\n000.jpg,disc,1,2,many,4\n")
    words = [*command("own_reader"), "--trainer.enable_progress_bar", "false"]
    assert main(words) == 2
    assert "boxes.csv: line 2: expected file, class, left, top, right, bottom" in capsys.readouterr().err


def test_the_plain_program_trains_a_student(here):
    result = importlib.import_module("plain_lightning").main(here / "run", steps=20, precision=0.02)
    assert 0 <= result["student"] <= 1
    assert (here / "run/student").is_dir()


def test_they_are_short():
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 120, path.name
