"""What a manifest decides: start, resume, skip, or a refusal that names what differs."""

import json

import pytest

from lightning_st.errors import StageError
from lightning_st.stages.manifest import Action, begin, complete, decide, differences, read_manifest, write_json

INPUTS = {"data": {"image_size": 256, "augment": "S1"}, "seed": 0}


def test_a_stage_starts_resumes_and_is_skipped(tmp_path):
    folder = tmp_path / "teacher"
    assert decide(folder, INPUTS, restart=False) is Action.START
    begin(folder, "teacher", INPUTS, Action.START)
    assert decide(folder, INPUTS, restart=False) is Action.RESUME
    complete(folder, evaluated="checkpoints/best.ckpt")
    assert decide(folder, INPUTS, restart=False) is Action.SKIP
    manifest = read_manifest(folder)
    assert manifest["state"] == "complete"
    assert manifest["evaluated"] == "checkpoints/best.ckpt"
    assert manifest["seconds"] >= 0


@pytest.mark.parametrize("finished", [False, True])
def test_a_changed_input_refuses_and_names_it(tmp_path, finished):
    begin(tmp_path / "s", "teacher", INPUTS, Action.START)
    if finished:
        complete(tmp_path / "s")
    changed = {**INPUTS, "data": {"image_size": 128, "augment": "S1"}}
    with pytest.raises(StageError, match=r"data\.image_size was 256, is now 128"):
        decide(tmp_path / "s", changed, restart=False)
    assert decide(tmp_path / "s", changed, restart=True) is Action.START


def test_restart_leaves_a_stage_whose_inputs_are_the_same(tmp_path):
    begin(tmp_path / "s", "teacher", INPUTS, Action.START)
    complete(tmp_path / "s")
    assert decide(tmp_path / "s", INPUTS, restart=True) is Action.SKIP


def test_starting_anew_empties_the_folder_and_resuming_does_not(tmp_path):
    folder = tmp_path / "s"
    begin(folder, "teacher", INPUTS, Action.START)
    (folder / "metrics.csv").write_text("step\n1\n")
    begin(folder, "teacher", INPUTS, Action.RESUME)
    assert (folder / "metrics.csv").exists()
    begin(folder, "teacher", INPUTS, Action.START)
    assert not (folder / "metrics.csv").exists()


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_with_other_things_in_it_is_never_emptied(tmp_path, restart):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StageError, match=r"is not empty and holds no manifest\.json, but 'thesis\.tex'"):
        decide(tmp_path, INPUTS, restart=restart)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99}'])
def test_an_unreadable_manifest_refuses(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StageError, match="manifest"):
        decide(tmp_path, INPUTS, restart=False)
    assert decide(tmp_path, INPUTS, restart=True) is Action.START


def test_differences_see_through_tuples_and_missing_keys():
    assert differences({"size": (1, 2), "a": None}, {"size": [1, 2]}) == []
    assert differences({"size": [1, 2]}, {"size": [1, 3], "new": "x"}) == [
        'new was not set, is now "x"',
        "size was [1, 2], is now [1, 3]",
    ]


def test_json_holds_no_nan_and_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "evaluation.json"
    write_json(path, {"AP": float("nan"), "AP50": 0.5})
    assert json.loads(path.read_text()) == {"AP": None, "AP50": 0.5}
    loop = []
    loop.append(loop)
    with pytest.raises(RecursionError):
        write_json(path, loop)
    assert json.loads(path.read_text()) == {"AP": None, "AP50": 0.5}
    assert [child.name for child in tmp_path.iterdir()] == ["evaluation.json"]


def test_a_clock_that_is_set_back_makes_no_time_negative(tmp_path, monkeypatch):
    begin(tmp_path / "stage", "teacher", {}, Action.START)
    monkeypatch.setattr("time.time", lambda: 0.0)
    complete(tmp_path / "stage")
    assert read_manifest(tmp_path / "stage")["seconds"] == 0.0
