"""metrics.json: the form that scripts rely on, whatever the run has left so far."""

import json
import math

import fake_runs
import pytest

from lightning_st.errors import StageError
from lightning_st.reports import write_report


def test_a_whole_run_has_the_documented_form(tmp_path):
    metrics = write_report(fake_runs.make_run(tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "report" / "metrics.json").read_text()) == metrics
    assert set(metrics) == {"metric", "rounds", "seconds"}
    assert metrics["metric"] == "AP"
    (first,) = metrics["rounds"]
    assert set(first) == {"round", "teacher", "student", "gain", "pseudo_labels"}
    assert first["round"] == 0
    assert first["teacher"]["test"] == fake_runs.scores(0.291)
    assert first["student"]["val"]["AP50"] == 0.575
    assert first["gain"] == {"val": 0.024, "test": 0.021}
    store = json.loads((tmp_path / "run" / "round_0" / "pseudo_labels" / "manifest.json").read_text())["statistics"]
    assert first["pseudo_labels"] == {
        key: store[key] for key in ("images", "images_with_labels", "labels", "mean_score")
    }
    assert metrics["seconds"] == {
        "round_0/teacher": 245.5,
        "round_0/pseudo_labels": 20.5,
        "round_0/student": 245.5,
        "total": 511.5,
    }


def test_the_control_arm_is_compared_with_the_student(tmp_path):
    metrics = write_report(fake_runs.make_run(tmp_path / "run", control={"val": 0.33, "test": 0.308}))
    control = metrics["control"]
    assert control["test"]["AP"] == 0.308
    assert control["max_steps"] == 3200
    assert control["gain_of_student"] == {"val": -0.005, "test": 0.004}
    assert metrics["seconds"]["control"] == 490.0


def test_the_teacher_of_a_later_round_is_the_student_before(tmp_path):
    run = fake_runs.make_run(tmp_path / "run")
    fake_runs.write_training(run / "round_1" / "student", {"val": 0.33, "test": 0.318})
    rounds = write_report(run)["rounds"]
    assert [r["round"] for r in rounds] == [0, 1]
    assert rounds[1]["teacher"] == rounds[0]["student"]
    assert rounds[1]["gain"] == {"val": 0.005, "test": 0.006}
    assert rounds[1]["pseudo_labels"] == {}


def test_an_undefined_score_is_null_and_gains_nothing(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", student={"val": 0.3, "test": None})
    evaluation = run / "round_0" / "teacher" / "evaluation.json"
    evaluation.write_text(evaluation.read_text().replace('"AP_small": null', '"AP_small": NaN'))
    metrics = write_report(run)
    text = (run / "report" / "metrics.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")) == metrics
    assert metrics["rounds"][0]["student"]["test"]["AP"] is None
    assert metrics["rounds"][0]["teacher"]["test"]["AP_small"] is None
    assert set(metrics["rounds"][0]["gain"]) == {"val"}


def test_another_primary_metric_is_taken_from_the_evaluation(tmp_path):
    run = fake_runs.make_run(tmp_path / "run")
    for who, value in (("teacher", 0.61), ("student", 0.64)):
        record = {"primary": "mIoU", "splits": {"test": {"mIoU": value, "mIoU/square": value}}}
        fake_runs.write_json(run / "round_0" / who / "evaluation.json", record)
    metrics = write_report(run)
    assert metrics["metric"] == "mIoU"
    assert metrics["rounds"][0]["gain"] == {"test": 0.03}
    assert "0.640 mIoU on test, 0.030 above its teacher" in (run / "report" / "report.md").read_text()


def test_a_stage_that_was_cut_has_no_seconds(tmp_path):
    run = fake_runs.make_run(tmp_path / "run")
    fake_runs.write_training(run / "round_0" / "student", None, state="running")
    metrics = write_report(run)
    assert set(metrics["seconds"]) == {"round_0/teacher", "round_0/pseudo_labels", "total"}
    assert metrics["rounds"][0]["student"] == {}
    assert math.isclose(metrics["seconds"]["total"], 266.0)


@pytest.mark.parametrize("name", ["manifest.json", "round_0/student/evaluation.json"])
def test_a_file_that_is_no_json_is_named(tmp_path, name):
    run = fake_runs.make_run(tmp_path / "run")
    (run / name).write_text("{")
    with pytest.raises(StageError, match=rf"{name}: cannot be read as JSON"):
        write_report(run)


def test_a_file_of_another_version_is_named(tmp_path):
    run = fake_runs.make_run(tmp_path / "run")
    fake_runs.write_json(run / "round_0" / "teacher" / "manifest.json", {"schema": 2})
    with pytest.raises(StageError, match=r"teacher/manifest.json: not a file of schema 1"):
        write_report(run)


def test_a_cell_that_is_no_number_is_named(tmp_path):
    run = fake_runs.make_run(tmp_path / "run")
    (run / "round_0" / "teacher" / "metrics.csv").write_text("step,val/AP\n40,0.1\n80,much\n")
    with pytest.raises(StageError, match=r"metrics.csv: column 'val/AP': .*much"):
        write_report(run)


@pytest.mark.parametrize("content", [None, {"stage": "teacher"}], ids=["no manifest", "a stage"])
def test_a_folder_that_is_no_run_is_refused(tmp_path, content):
    if content is not None:
        fake_runs.write_json(tmp_path / "manifest.json", content)
    with pytest.raises(StageError, match=r"is not a self-training run: it holds .* Give the folder"):
        write_report(tmp_path)
    assert not (tmp_path / "report").exists()
