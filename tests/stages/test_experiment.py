"""Experiments: arms from factors, stages that arms share, several processes, dead ones, and the tables in the end."""

import json
import os
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from recipes import tiny_recipe

from lightning_st.cli import main
from lightning_st.errors import ConfigError, StageError
from lightning_st.reports import write_experiment_report
from lightning_st.stages import self_train
from lightning_st.stages.arms import ExperimentSettings, make_arms
from lightning_st.stages.experiment import run_experiment


def config(folder):
    recipe = deepcopy(tiny_recipe(folder / "data"))
    recipe["data"]["cache_folder"] = str(folder / "cache")
    return recipe


def here(arm, folder, restart):
    """Run an arm in this process: it spares the imports."""
    self_train(arm.recipe, folder, restart)


def test_every_combination_for_every_seed(tmp_path):
    pretrained = {"model": {"init_args": {"neck_width": 16}}}
    factors = {"augment": ["S1", "S4"], "init": {"random": {}, "other": pretrained}, "student.alpha": [0.5]}
    arms = make_arms(config(tmp_path), ExperimentSettings(factors, [3, 4]))
    assert len(arms) == 8
    assert arms[1].name == "augment=S1,init=other,student.alpha=0.5/seed_3"
    assert [arm.seed for arm in arms] == [3] * 4 + [4] * 4
    recipe = arms[3].recipe
    assert (recipe.data["augment"], recipe.student["alpha"], recipe.control) == ("S4", 0.5, "epochs")
    assert recipe.model["init_args"]["neck_width"] == 16
    assert recipe.model["init_args"]["backbone"] == "resnet10t"  # what a level does not name stays
    assert arms[2].recipe.model["init_args"]["neck_width"] == 8


def test_another_class_takes_none_of_the_arguments_of_the_old_one(tmp_path):
    other = {"model": {"class_path": "my.Model", "init_args": {"size": 1}}}
    (arm,) = make_arms(config(tmp_path), ExperimentSettings({"model": {"mine": other}}, [0]))
    assert arm.recipe.model == other["model"]


def test_a_class_that_is_derived_from_the_old_one_keeps_its_arguments(tmp_path):
    other = {"model": {"class_path": "lightning_st.JointDetector"}}
    (arm,) = make_arms(config(tmp_path), ExperimentSettings({"joint": {"joint": other}}, [0]))
    assert arm.recipe.model == {**config(tmp_path)["model"], "class_path": "lightning_st.JointDetector"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factors": {"augmnt": ["S1"]}}, "Unknown factor of experiment.factors 'augmnt'. Did you mean 'augment'"),
        ({"factors": {"augment": "S1"}}, "Expected experiment.factors.augment to be a list of values"),
        ({"factors": {"a": {"x": {"modle": {}}}}}, "Unknown section in experiment.factors.a.x 'modle'. Did you mean"),
        ({"factors": {"augment": ["S1", "S1"]}}, "Two arms of the experiment would be augment=S1/seed_0"),
        ({"factors": {"rounds": [0]}}, "rounds=0: Expected rounds to be at least 1"),
        ({"seeds": [1, 1]}, "Expected experiment.seeds to be one or several, each once"),
        ({"budget": "time"}, "Unknown experiment.budget 'time'"),
    ],
)
def test_what_leaves_nothing_to_compare_is_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        make_arms(config(tmp_path), ExperimentSettings(**settings))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """The folder of a complete experiment of two weights of the pseudo-labels and two seeds, and what made it."""
    folder = tmp_path_factory.mktemp("experiment")
    settings = ExperimentSettings({"alpha": [0.5, 1.0]}, [0, 1])
    run_experiment(config(folder), settings, folder / "out", run_arm=here)
    return folder / "out", config(folder), settings


def test_arms_that_begin_alike_share_teacher_and_control(experiment):
    output, _, _ = experiment
    shared = sorted(path.name for path in (output / "shared").iterdir() if path.is_dir())
    assert [name.partition("_")[0] for name in shared] == ["control"] * 2 + ["teacher"] * 2  # one of each a seed
    for stage in ("round_0/teacher", "control"):
        one, other = (output / "arms" / f"alpha={alpha}" / "seed_0" / stage for alpha in ("0.5", "1"))
        assert one.resolve() == other.resolve()
        assert not os.path.isabs(os.readlink(one))
    metrics = [json.loads(path.read_text()) for path in sorted(output.glob("arms/*/seed_0/manifest.json"))]
    assert [record["stages"]["round_0/teacher"] for record in metrics] == ["complete", "complete"]


def test_the_tables(experiment):
    output, _, _ = experiment
    results = write_experiment_report(output)
    assert results["metric"] == "AP"
    assert results["split"] == "test"
    assert [cell["levels"] for cell in results["cells"]] == [{"alpha": "0.5"}, {"alpha": "1"}]
    for cell in results["cells"]:
        assert cell["supervised"]["seeds"] == cell["self_training"]["seeds"] == 2
        gains = [scores["self-training"] - scores["supervised"] for scores in cell["seeds"].values()]
        assert cell["difference"]["mean"] == pytest.approx(sum(gains) / 2)
    one, other = (cell["supervised"] for cell in results["cells"])
    assert one == other  # what weighs pseudo-labels is of no effect on it
    assert results["claims"][0]["claim"].startswith("Self-training beats the supervised model")
    assert results["unfinished"] == []
    page = (output / "report" / "index.html").read_text()
    assert "What alpha changes" in page
    assert main(["report", str(output)]) == 0


def test_a_complete_experiment_is_not_run_again(experiment, monkeypatch):
    output, recipe, settings = experiment

    def never(arm, folder, restart):
        raise AssertionError(arm.name)

    run_experiment(recipe, settings, output, run_arm=never)


def test_another_seed_may_come_later(experiment):
    output, recipe, settings = experiment
    ran = []

    def note(arm, folder, restart):
        ran.append(arm.name)

    run_experiment(recipe, ExperimentSettings(settings.factors, [2]), output, run_arm=note)
    assert ran == ["alpha=0.5/seed_2", "alpha=1/seed_2"]
    record = json.loads((output / "experiment.json").read_text())
    assert len(record["arms"]) == 6
    results = write_experiment_report(output)
    assert results["unfinished"] == ["arms/alpha=0.5/seed_2", "arms/alpha=1/seed_2"]
    run_experiment(recipe, settings, output, run_arm=here)  # as it was, for the tests that follow


def test_an_arm_that_fails_is_told_at_once_and_leaves_the_others_alone(tmp_path, caplog):
    caplog.set_level("INFO", "lightning_st")
    ran = []

    def fail(arm, folder, restart):
        ran.append(arm.name)
        if len(ran) <= 2:
            raise StageError(f"the power is out, {len(ran)}.")

    settings = ExperimentSettings({"alpha": [0.5, 1.0, 2.0]}, [0])
    end = r"2 of 3 arms failed\. alpha=0\.5/seed_0: the power is out, 1\. The others: alpha=1/seed_0\."
    with pytest.raises(StageError, match=end):
        run_experiment(config(tmp_path), settings, tmp_path / "out", run_arm=fail)
    assert len(ran) == 3
    assert "alpha=1/seed_0 failed: the power is out, 2." in caplog.text


def test_what_others_are_at_is_waited_for_and_taken_over(tmp_path, monkeypatch):
    """The lock of a process that has died is gone, and its arm is free."""
    monkeypatch.setattr("lightning_st.stages.experiment._SECONDS_BETWEEN_LOOKS", 0.01)
    settings, ran = ExperimentSettings({"alpha": [0.5, 1.0]}, [0]), []
    folder = tmp_path / "out" / "arms" / "alpha=0.5" / "seed_0"
    folder.mkdir(parents=True)
    other = FileLock(folder / ".lock")
    other.acquire()

    def note(arm, folder, restart):
        ran.append(arm.name)
        other.release()

    run_experiment(config(tmp_path), settings, tmp_path / "out", run_arm=note)
    assert ran == ["alpha=1/seed_0", "alpha=0.5/seed_0"]


def test_two_runs_in_one_folder_are_refused(experiment):
    output, _, _ = experiment
    folder = output / "arms" / "alpha=1" / "seed_0"
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["seed"] = recipe.pop("seed_everything")
    with (
        FileLock(folder / ".lock"),
        pytest.raises(StageError, match=r"\.lock: another process is at work there"),
    ):
        self_train(recipe, folder)


@pytest.mark.slow
def test_two_processes_share_the_arms_of_a_command(tmp_path):
    """Each arm is run once, in a process of its own; one of the two commands is killed on the way."""
    recipe = config(tmp_path)
    recipe["experiment"] = {"factors": {"alpha": [0.5, 1.0]}, "seeds": [0], "budget": "steps"}
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(recipe))
    words = ["experiment", "--config", str(tmp_path / "experiment.yaml"), "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "lightning_st", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    deadline = time.monotonic() + 300
    while not list(Path(tmp_path / "out").glob("arms/*/*/manifest.json")):
        assert time.monotonic() < deadline
        assert first.poll() is None, first.stderr.read().decode()[-1000:]
        time.sleep(0.1)
    first.kill()
    first.communicate()
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=environment)
    assert second.returncode == 0, second.stderr[-2000:]
    results = json.loads((tmp_path / "out" / "report" / "results.json").read_text())
    assert results["unfinished"] == []
    assert len(results["cells"]) == 2
