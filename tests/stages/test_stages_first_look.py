"""The look at the data that a run begins with: told, kept, not repeated, and never the end of a run."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from recipes import tiny_recipe

from lightning_st.reports.contents import data_check
from lightning_st.reports.run_folder import read_json
from lightning_st.stages import first_look
from lightning_st.stages.recipe import Recipe
from lightning_st.stages.train import make_data


@pytest.fixture
def case(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "lightning_st")
    recipe = tiny_recipe(tmp_path / "data")
    shutil.copy(tmp_path / "data/val/images/image_003.jpg", tmp_path / "data/unlabeled/images/zz.jpg")
    (tmp_path / "data/unlabeled/images/cut.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "run").mkdir()
    return tmp_path / "run", lambda: make_data(Recipe(**recipe)), caplog


def test_what_matters_is_told_and_written_once(case, monkeypatch):
    run, make, log = case
    data = make()
    state = torch.random.get_rng_state()
    first_look.look_at_data(run, data)
    assert torch.equal(torch.random.get_rng_state(), state)
    found = json.loads((run / "check.json").read_text())
    assert [(item["severity"], item["kind"], item["split"]) for item in found["findings"]] == [
        ("error", "copies", "unlabeled"),
        ("warning", "unreadable_images", "unlabeled"),
    ]
    assert found["quick"]
    assert "1 image of data.unlabeled also stands in data.val, with the same bytes" in log.text
    assert "zz.jpg = image_003.jpg of val" in log.text

    log.clear()
    monkeypatch.setattr(first_look, "check_splits", None)
    first_look.look_at_data(run, data)
    assert log.text == "", "the same data are not looked at again"


def test_other_data_are_looked_at_again(case):
    run, make, _ = case
    (run / "check.json").write_text('{"schema": 1, "inputs": {"fingerprints": {}}}')
    first_look.look_at_data(run, make())
    assert json.loads((run / "check.json").read_text())["findings"]


def test_a_check_that_fails_does_not_end_the_run(case, monkeypatch):
    run, make, log = case

    def fail(*arguments):
        raise RuntimeError("a fault")

    monkeypatch.setattr(first_look, "check_splits", fail)
    first_look.look_at_data(run, make())
    assert not (run / "check.json").exists()
    assert "The check of the data failed; the run goes on without it." in log.text


def test_a_run_shows_it_in_its_report(tiny_run):
    _, run = tiny_run
    shown = data_check(read_json(run / "check.json"))
    assert shown is not None
    assert [row[:3] for row in shown.counts.rows][:2] == [["data.labeled", "8", "8"], ["data.unlabeled", "10", "10"]]
    assert shown.note.startswith("Every image was looked at")
    from lightning_st.reports import write_report

    write_report(run)
    page = (run / "report" / "index.html").read_text()
    assert "What the data look like" in page
    assert 'href="../check.json"' in page
    assert "## What the data look like" in (run / "report" / "report.md").read_text()


def test_a_run_without_it_has_no_such_part():
    assert data_check(None) is None
