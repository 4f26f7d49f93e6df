"""Loggers of the user's own: one W&B run a stage, or one for all, and what each is told, beside the CSV file."""

import json
import sys
from types import SimpleNamespace

import pytest
from recipes import tiny_recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_st.stages import self_train
from lightning_st.stages.loggers import ending_wandb_run, make_loggers, wandb_run_id
from lightning_st.stages.manifest import Action, begin
from lightning_st.stages.titles import Title, title_of

wandb = pytest.importorskip("wandb")
TITLE = Title("round_0/student", "mine/round_0/student", "mine", "student", ("student", "seed_0"))
ADDED_BY_TENSORBOARD = {"hp_metric"}
ADDED_BY_WANDB = {"trainer/global_step"}


def logger(kind, **arguments):
    return {"class_path": f"lightning.pytorch.loggers.{kind}", "init_args": arguments}


def test_each_stage_is_a_run_of_its_own(tmp_path, wandb_runs):
    recipe, boards = tiny_recipe(tmp_path / "data"), tmp_path / "boards"
    recipe["trainer"]["logger"] = [
        logger("WandbLogger", save_dir=str(tmp_path)),
        logger("TensorBoardLogger", save_dir=str(boards)),
    ]
    recipe["tracking"] = {"pictures": 3, "artifacts": ["checkpoints", "pseudo_labels"]}
    run = tmp_path / "mine"
    self_train(recipe, run)
    teacher, student = wandb_runs.started
    assert [teacher.name, student.name] == ["mine/round_0/teacher", "mine/round_0/student"]
    assert (student.group, student.job_type, student.project) == ("mine", "student", "lightning_st")
    assert student.tags == ("student", "round_0", "seed_0")
    assert wandb.run is None
    artifacts = [artifact for artifact in wandb_runs.artifacts if artifact.type != "run_table"]  # tables are such too
    kept = [(artifact.type, artifact.name, sorted(artifact.manifest.entries)) for artifact in artifacts]
    assert kept == [
        ("checkpoint", "mine_round_0_teacher-checkpoint", ["best.ckpt"]),
        ("pseudo_labels", "mine_round_0_student-pseudo_labels", ["labels.index", "manifest.json"]),
        ("checkpoint", "mine_round_0_student-checkpoint", ["best.ckpt"]),
    ]
    assert artifacts[-1].metadata["scores"].keys() == {"val", "test"}
    for stage, started in (("teacher", teacher), ("student", student)):
        folder = run / "round_0" / stage
        assert (folder / "metrics.csv").is_file()
        assert json.loads((folder / "manifest.json").read_text())["wandb_run"] == started.id
        assert started.config["data"]["image_size"] == 64
        events = EventAccumulator(str(boards / "mine" / "round_0" / stage / "version_0")).Reload()
        logged = wandb_runs.logged[started.id]
        scalars = {name for name, value in logged.items() if isinstance(value, int | float)}
        assert set(events.Tags()["scalars"]) - ADDED_BY_TENSORBOARD == scalars - ADDED_BY_WANDB
        tables = {"teacher": ["val_predictions"], "student": ["pseudo_labels", "val_predictions"]}[stage]
        assert sorted(events.Tags()["images"]) == [f"{table}/{number:02d}" for table in tables for number in range(3)]
        for table in tables:
            assert len(logged[table].data) == 3
            assert isinstance(logged[table].data[0][1], wandb.Image)
        assert {"train/loss", "val/AP", "best/val/AP", "best/test/AP"} <= scalars
        best = json.loads((folder / "evaluation.json").read_text())["splits"]["val"]["AP"]
        assert logged["best/val/AP"] == best
        assert events.Scalars("best/val/AP")[-1].value == pytest.approx(best)


def test_what_the_user_named_stays(monkeypatch):
    given = {"name": "mine", "group": "g", "tags": ["t"], "project": "p", "id": "i", "job_type": "j"}
    (made,) = make_loggers(logger("WandbLogger", **given), TITLE, "run_id")
    assert given.items() <= made._wandb_init.items()
    for name, variable in (("group", "WANDB_RUN_GROUP"), ("tags", "WANDB_TAGS")):
        monkeypatch.setenv(variable, "from_the_environment")
        (made,) = make_loggers([logger("WandbLogger")], TITLE, "run_id")
        assert name not in made._wandb_init
    assert made._wandb_init["id"] == "run_id"


def test_tensorboard_alone_needs_no_wandb(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # so that importing it fails
    given = [logger("TensorBoardLogger", save_dir="boards"), logger("TensorBoardLogger", save_dir="boards", name="own")]
    with ending_wandb_run(of_sweep=False):
        assert [made.name for made in make_loggers(given, TITLE, "run_id")] == [TITLE.name, "own"]


def test_a_command_line_leaves_lightnings_own_settings(monkeypatch):
    """It names every argument, and `resume: None` would begin a run of the same id anew."""
    (made,) = make_loggers(logger("WandbLogger", resume=None, mode=None, tags=None), TITLE, "run_id")
    assert made._wandb_init["resume"] == "allow"
    assert made._wandb_init["tags"] == TITLE.tags


def test_a_training_that_was_cut_goes_on_in_its_run(tmp_path):
    run_id = wandb_run_id(tmp_path, Action.START)
    begin(tmp_path, "teacher", {}, Action.START, wandb_run=run_id)
    assert wandb_run_id(tmp_path, Action.RESUME) == run_id
    assert wandb_run_id(tmp_path, Action.START) != run_id


def test_a_failed_stage_ends_its_run_as_failed(monkeypatch):
    codes = []
    run = SimpleNamespace(finish=lambda exit_code: codes.append(exit_code))

    def stage():
        with ending_wandb_run(of_sweep=False):
            monkeypatch.setattr(wandb, "run", run)
            raise KeyboardInterrupt

    monkeypatch.setattr(wandb, "run", None)
    with pytest.raises(KeyboardInterrupt):
        stage()
    assert codes == [1]
    with pytest.raises(KeyboardInterrupt):  # a run that was open before is its owner's to end
        stage()
    assert codes == [1]


def test_stages_log_below_their_places_where_a_run_is_open(monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    (made,) = make_loggers(logger("WandbLogger", prefix="a"), TITLE, "run_id")
    assert made._prefix + made.LOGGER_JOIN_CHAR + "val/AP" == "a/round_0/student/val/AP"
    assert made._wandb_init["id"] is None
    assert made._wandb_init["name"] is None


def make_experiment(folder):
    """Two arms that share their teacher."""
    arms = [
        {"folder": f"arms/augment=S1,alpha={alpha}/seed_3", "levels": {"augment": "S1", "alpha": alpha}, "seed": 3}
        for alpha in ("0.5", "1")
    ]
    (folder / "shared" / "teacher_1").mkdir(parents=True)
    for arm in arms:
        (folder / arm["folder"] / "round_0").mkdir(parents=True)
        (folder / arm["folder"] / "round_0" / "teacher").symlink_to(folder / "shared" / "teacher_1")
    (folder / "experiment.json").write_text(json.dumps({"arms": arms}))
    return folder / arms[0]["folder"]


def test_an_arm_of_an_experiment_has_its_levels_as_tags(tmp_path):
    arm = make_experiment(tmp_path / "table")
    student = title_of(arm / "round_0" / "student", "student", 3)
    assert student.name == "table/augment=S1,alpha=0.5/seed_3/round_0/student"
    assert student.group == "table"
    assert student.tags == ("student", "round_0", "seed_3", "augment=S1", "alpha=0.5")
    teacher = title_of(arm / "round_0" / "teacher", "teacher", 3)
    assert teacher.name == "table/shared/teacher_1"
    assert teacher.tags == ("teacher", "round_0", "seed_3", "augment=S1")


def test_the_control_and_a_pretraining_lie_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    control = title_of(tmp_path / "run" / "control", "control", 0)
    assert (control.place, control.name, control.tags) == ("control", "run/control", ("control", "seed_0"))
    pretrained = title_of(tmp_path / "simclr", "pretrain", 0)
    assert (pretrained.place, pretrained.name, pretrained.group) == ("", "simclr", "simclr")
