"""Runs that share stages: what has the same inputs is made once, and never by two processes at a time."""

import json
from copy import deepcopy

import pytest
from filelock import FileLock
from recipes import tiny_recipe

from lightning_st.errors import ConfigError, StageError
from lightning_st.reports import write_report
from lightning_st.stages import self_train


@pytest.fixture(scope="module")
def shared_runs(tmp_path_factory):
    """A recipe, the folder of what is shared, and two complete runs that differ in the weight of pseudo-labels."""
    folder = tmp_path_factory.mktemp("shared")
    recipe = tiny_recipe(folder / "data", labeled=4, unlabeled=4)
    recipe["data"]["cache_folder"] = str(folder / "cache")
    for name in ("teacher", "student"):
        recipe[name] |= {"max_steps": 2, "validate_every": 2}
    runs = []
    for alpha in (0.5, 1.0):
        runs.append(folder / f"alpha_{alpha}")
        self_train(with_alpha(recipe, alpha), runs[-1], shared=folder / "common")
    return recipe, folder / "common", runs


def with_alpha(recipe, alpha):
    return {**deepcopy(recipe), "student": {**recipe["student"], "alpha": alpha}}


def test_what_has_the_same_inputs_is_made_once(shared_runs):
    _, common, runs = shared_runs
    kinds = sorted(path.name.rpartition("_")[0] for path in common.iterdir() if path.is_dir())
    assert kinds == ["pseudo_labels", "teacher"]
    for stage in ("teacher", "pseudo_labels"):
        first, second = (run / "round_0" / stage for run in runs)
        assert first.is_symlink()
        assert first.resolve() == second.resolve()
        assert json.loads((second / "manifest.json").read_text())["state"] == "complete"
    students = [(run / "round_0" / "student").resolve() for run in runs]
    assert students[0] != students[1]
    write_report(runs[1])
    metrics = json.loads((runs[1] / "report" / "metrics.json").read_text())
    assert metrics["rounds"][0]["teacher"]["val"].keys() == metrics["rounds"][0]["student"]["val"].keys()


def test_other_inputs_make_another_teacher(shared_runs):
    recipe, common, runs = shared_runs
    other = with_alpha(recipe, 1.0)
    other["teacher"]["weight_decay"] = 2e-4
    with pytest.raises(StageError, match="was made from other inputs"):  # the student has learnt from the first
        self_train(other, runs[1], shared=common)
    assert len(list(common.glob("teacher_*/manifest.json"))) == 2
    self_train(with_alpha(recipe, 1.0), runs[1], shared=common)  # as it was: nothing to do


def test_a_stage_that_another_run_is_at_is_waited_for(shared_runs, monkeypatch):
    recipe, common, runs = shared_runs
    store = (runs[0] / "round_0" / "pseudo_labels").resolve()
    other = FileLock(store.with_name(f"{store.name}.lock"))
    other.acquire()
    said = []

    def announce(text):
        said.append(text)
        other.release()

    monkeypatch.setattr("lightning_st.stages.locks.announce", announce)
    self_train(with_alpha(recipe, 0.5), runs[0], shared=common)
    assert len(said) == 1
    assert "another run is at this stage, which both share" in said[0]


def test_a_run_that_was_made_alone_does_not_begin_to_share(tiny_run, tmp_path):
    recipe, run = tiny_run
    with pytest.raises(StageError, match=r"teacher was made without --shared\."):
        self_train(recipe, run, shared=tmp_path / "common")


def test_processes_that_would_not_wait_are_refused(shared_runs, tmp_path, monkeypatch):
    recipe, common, _ = shared_runs
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"^--shared takes one process for each run"):
        self_train(recipe, tmp_path / "run", shared=common)
