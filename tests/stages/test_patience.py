"""Rounds stop where several in a row did not help, a run that is cut decides likewise, and everything says so."""

import json
import math
import shutil
from copy import deepcopy

import pytest
from recipes import tiny_recipe

from lightning_st.errors import ConfigError
from lightning_st.reports import write_report
from lightning_st.stages import Recipe, self_train
from lightning_st.stages.patience import RoundsSoFar


@pytest.mark.parametrize(
    ("teacher", "students", "patience", "done", "best"),
    [
        (0.4, [0.3, 0.5], 1, 1, None),
        (0.4, [0.5, 0.5, 0.6], 1, 2, 0),  # as good as before is no gain
        (0.4, [0.3, 0.5, 0.45, 0.49, 0.6], 2, 4, 1),
        (0.4, [0.5, 0.6, 0.7], 1, 3, 2),
        (math.nan, [0.0, math.nan], 1, 2, 0),  # an undefined score is below any other
        (0.4, [0.3, 0.2], 2, 2, None),
    ],
)
def test_when_rounds_stop(teacher, students, patience, done, best):
    rounds = RoundsSoFar(patience, "AP", teacher)
    for score in students:
        rounds.add(score)
        if rounds.is_over:
            break
    assert (rounds.done, rounds.best_round) == (done, best)
    assert rounds.stopped(wanted=done) is None
    assert (rounds.stopped(done + 1) is not None) == rounds.is_over


def test_the_sentence_says_who_was_best():
    rounds = RoundsSoFar(2, "AP", 0.4)
    for score in (0.5, 0.45, 0.41):
        rounds.add(score)
    expected = (
        "3 of 9 rounds were run: the last 2 rounds did not raise AP on val above the 0.500 of the student of round 0"
    )
    assert rounds.stopped(9) == f"{expected} (patience 2)."


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of that run, whose first student is made out to be no better than its teacher."""
    recipe, folder = tiny_run
    shutil.copytree(folder, tmp_path / "run")
    set_score(tmp_path / "run/round_0/teacher", 0.5)
    set_score(tmp_path / "run/round_0/student", 0.5)
    return {**deepcopy(recipe), "rounds": 3, "patience": 1}, tmp_path / "run"


def set_score(folder, value):
    path = folder / "evaluation.json"
    evaluation = json.loads(path.read_text())
    evaluation["splits"]["val"]["AP"] = value
    path.write_text(json.dumps(evaluation))


def test_a_run_stops_says_so_and_decides_the_same_when_it_is_run_again(run, caplog):
    recipe, folder = run
    caplog.set_level("INFO", logger="lightning_st")
    sentence = "1 of 3 rounds were run: the last round did not raise AP on val above the 0.500 of its first teacher"
    for _ in range(2):
        caplog.clear()
        assert self_train(recipe, folder) == folder / "round_0/student/checkpoints/best.ckpt"
        assert sentence in caplog.text
        assert not (folder / "round_1").exists()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["patience"] == {"best_round": None, "stopped": f"{sentence} (patience 1)."}
    assert manifest["stages"]["control"] == "complete"  # as long as what was run, so it is what was there before
    assert write_report(folder)["patience"] == manifest["patience"]
    page = (folder / "report" / "report.md").read_text()
    assert sentence in page
    assert "rounds have begun" not in page


def test_with_more_patience_it_goes_on_and_the_best_round_stands_for_the_run(run):
    recipe, folder = run
    recipe |= {"patience": 2, "control": False}
    set_score(folder / "round_0/student", 0.75)
    best = folder / "round_0/student/checkpoints/best.ckpt"
    assert self_train(recipe, folder) == best  # tiny students do not reach 0.75
    assert (folder / "round_2/student/evaluation.json").exists()
    shutil.rmtree(folder / "control")
    metrics = write_report(folder)
    assert metrics["patience"] == {"best_round": 0, "stopped": None}
    assert "The student reaches" in (folder / "report" / "report.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patience": 0, "rounds": 2}, "Expected patience to be at least 1"),
        ({"patience": 1}, "Expected rounds to be above 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(**tiny_recipe(tmp_path, 2, 2), **changes)


def test_without_val_there_is_no_patience(tmp_path):
    recipe = {**tiny_recipe(tmp_path / "data", 2, 2), "rounds": 2, "patience": 1}
    del recipe["data"]["val"]
    with pytest.raises(ConfigError, match=r"Expected patience to be left out, got 1\. It goes by .*data\.val\.images"):
        self_train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
