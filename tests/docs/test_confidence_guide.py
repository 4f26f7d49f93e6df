"""The commands of the guide, as they stand there: what each asks for, and its rule in a run on small images."""

import shutil
from pathlib import Path

import pytest
from guide_commands import DOCS, lines, words

from lightning_st.cli import main, stage_commands
from lightning_st.selftrain import PseudoLabels
from lightning_st.stages import Recipe, self_train
from lightning_st.stages.confidence import make_rule, rule_spec

GUIDE = DOCS / "confidence.md"


def commands() -> dict[str, list[str]]:
    """The words of each command, by the name of its run."""
    found = [words(line) for line in lines(GUIDE)]
    return {Path(each[each.index("--output") + 1]).name: each for each in found}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The working directory of a reader of the guide."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(DOCS.parent / "configs")
    (tmp_path / "own_confidence_rule.py").symlink_to(DOCS.parent / "examples" / "own_confidence_rule.py")
    return tmp_path


def test_the_commands_ask_for_what_the_guide_says(monkeypatch, capsys):
    asked: dict[str, Recipe] = {}
    monkeypatch.setattr(
        stage_commands, "run_self_train", lambda recipe, output, **options: asked.update({output.name: recipe})
    )
    monkeypatch.setattr(stage_commands, "write_report", lambda output: None)
    for each in commands().values():
        assert main(each) == 0, capsys.readouterr().err
    rules = {name: rule_spec(make_rule(recipe.labelling())) for name, recipe in asked.items()}
    assert rules["matched"]["class_path"].endswith("MatchedCounts")
    assert rules["matched"]["init_args"] == {"ratio": 0.8, "ignore_from": 0.05}
    assert rules["weighed"]["init_args"]["power"] == 1
    assert rules["weighed"]["init_args"]["rule"]["init_args"]["min_recall"] == 0.2
    assert asked["soft"].labelling().soft_nms == "gaussian"
    assert (asked["rounds"].rounds, asked["rounds"].patience) == (5, 1)
    assert rules["own"] == {"class_path": "own_confidence_rule.SurestShare", "init_args": {"share": 0.1}}
    assert rules.keys() == {"matched", "weighed", "soft", "rounds", "own"}


def test_the_rule_of_the_guide_runs(here, tiny_run):
    recipe, folder = tiny_run
    shutil.copytree(folder, here / "run")
    rule = {"class_path": "own_confidence_rule.SurestShare", "init_args": {"share": 0.1}}
    labelling = {**recipe["pseudo_label"], "score_threshold": None, "rule": rule, "weight_power": 0.5}
    self_train({**recipe, "pseudo_label": labelling, "control": False}, here / "run", restart=True)
    store = PseudoLabels.open(here / "run/round_0/pseudo_labels")
    assert store.manifest["rule"]["init_args"]["rule"] == rule
    assert 0 < store.statistics()["labels"] <= 0.1 * len(store.index.boxes)
