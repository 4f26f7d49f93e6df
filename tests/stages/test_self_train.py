"""The main job on tiny images: what it leaves, what it skips, what it refuses, and what it goes on with."""

import json
import shutil
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from recipes import tiny_recipe

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import CheckpointError, ConfigError, StageError
from lightning_st.modules import checkpoint_fingerprint
from lightning_st.reports import write_report
from lightning_st.selftrain import PseudoLabels, PseudoLabelWriter
from lightning_st.stages import Recipe, pseudo_label, self_train

STAGES = ("round_0/teacher", "round_0/pseudo_labels", "round_0/student")


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of that run, to be changed."""
    recipe, folder = tiny_run
    shutil.copytree(folder, tmp_path / "run")
    return deepcopy(recipe), tmp_path / "run"


def states(folder):
    return json.loads((folder / "manifest.json").read_text())["stages"]


def written(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*.ckpt")}


def test_it_leaves_what_the_readme_says(tiny_run):
    _, folder = tiny_run
    assert states(folder) == dict.fromkeys(("control", *STAGES), "complete")
    for stage in ("round_0/teacher", "round_0/student", "control"):
        for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "metrics.csv", "evaluation.json"):
            assert (folder / stage / name).is_file(), (stage, name)
    assert not list(folder.rglob("*.new"))


def test_the_labelled_images_are_listed_for_others(tiny_run, tmp_path):
    recipe, _ = tiny_run
    data = {**recipe["data"], "labeled": {**recipe["data"]["labeled"], "fraction": 0.5}}
    with pytest.raises(ConfigError, match="stop here"):
        self_train(
            {**recipe, "data": data, "trainer": {"logger": {"class_path": "test_self_train.no_logger"}}}, tmp_path
        )
    listed = tmp_path / "labeled.txt"
    again = {**data["labeled"], "fraction": 1.0, "list": str(listed)}
    whole, part = SelfTrainingDataModule(labeled=data["labeled"]), SelfTrainingDataModule(labeled=again)
    names = [[m.index("labeled").name(row) for row in m.rows("labeled")] for m in (whole, part)]
    assert names[0] == names[1] == listed.read_text().split()
    assert len(names[0]) == 4


def no_logger():
    """Ends a run where its first training begins."""
    raise ConfigError("stop here")


def test_the_report_and_its_numbers(run):
    _, folder = run
    metrics = write_report(folder)
    assert metrics == json.loads((folder / "report" / "metrics.json").read_text())
    first = metrics["rounds"][0]
    assert first["pseudo_labels"]["images"] == 10
    for who in ("teacher", "student"):
        for split in ("val", "test"):
            assert 0 <= first[who][split]["AP"] <= 1
    assert first["gain"]["val"] == pytest.approx(
        first["student"]["val"]["AP"] - first["teacher"]["val"]["AP"], abs=1e-6
    )
    assert metrics["control"]["max_steps"] == 6


def test_the_same_recipe_again_runs_nothing(run):
    recipe, folder = run
    before = written(folder)
    self_train(recipe, folder)
    assert written(folder) == before


def test_a_changed_student_refuses_and_restart_runs_it_alone(run):
    recipe, folder = run
    before = written(folder)
    recipe["student"] = {**recipe["student"], "max_steps": 4}
    with pytest.raises(StageError, match=r"student\.max_steps was 6, is now 4"):
        self_train(recipe, folder)
    assert written(folder) == before
    self_train(recipe, folder, restart=True)
    after = written(folder)
    changed = {
        path.parts[1] if path.parts[0] == "round_0" else path.parts[0] for path in after if after[path] != before[path]
    }
    assert changed == {"student", "control"}


def test_changed_data_refuse_by_their_fingerprint(run):
    recipe, folder = run
    recipe["data"] = {**recipe["data"], "labeled": {**recipe["data"]["labeled"], "fraction": 0.5}}
    with pytest.raises(StageError, match=r"fingerprints\.labeled was"):
        self_train(recipe, folder)


def test_changed_options_of_the_augmentation_refuse(run):
    recipe, folder = run
    recipe["data"] = {**recipe["data"], "augment_options": {"flip_probability": 0.0}}
    with pytest.raises(StageError, match=r"data\.augment_options.* is now 0\.0"):
        self_train(recipe, folder)


def test_another_threshold_needs_no_new_labelling(run):
    recipe, folder = run
    store = folder / "round_0" / "pseudo_labels"
    stamp = (store / "labels.index").stat().st_mtime_ns
    recipe["pseudo_label"] = {**recipe["pseudo_label"], "score_threshold": 0.003}
    self_train(recipe, folder, restart=True)
    assert (store / "labels.index").stat().st_mtime_ns == stamp
    assert PseudoLabels.open(store).thresholds.keep.tolist() == pytest.approx([0.003, 0.003])


def test_another_threshold_leaves_the_store_of_a_student_as_it_is(run):
    recipe, folder = run
    manifest = (folder / "round_0" / "pseudo_labels" / "manifest.json").read_text()
    recipe["pseudo_label"] = {**recipe["pseudo_label"], "score_threshold": 0.003}
    with pytest.raises(StageError, match=r"chosen otherwise: rule\.init_args\.score was 0\.002, is now 0\.003"):
        self_train(recipe, folder)
    assert (folder / "round_0" / "pseudo_labels" / "manifest.json").read_text() == manifest


def test_a_control_that_would_differ_refuses_before_a_further_round(run):
    recipe, folder = run
    with pytest.raises(StageError, match=r"control was made from other inputs: control\.max_steps was 6, is now 12"):
        self_train({**recipe, "rounds": 2}, folder)
    assert not (folder / "round_1").exists()


def test_a_teacher_that_finds_nothing_stops_before_the_student(run):
    recipe, folder = run
    recipe["pseudo_label"] = {**recipe["pseudo_label"], "score_threshold": 1.0}
    with pytest.raises(StageError, match=r"none of 10 images has a pseudo-label.*disc 1\.00.*Train the teacher longer"):
        self_train(recipe, folder, restart=True)


def test_a_class_that_is_never_right_often_enough_is_named(run):
    recipe, folder = run
    recipe["pseudo_label"] = {"rule": "calibrated", "precision": 1.0}
    with pytest.raises(StageError, match=r"disc none: the rule trusts no score of it"):
        self_train(recipe, folder, restart=True)


def test_a_wanted_precision_sets_the_thresholds(run):
    recipe, folder = run
    recipe["pseudo_label"] = {"rule": "calibrated", "precision": 0.01}
    self_train(recipe, folder, restart=True)
    store = PseudoLabels.open(folder / "round_0" / "pseudo_labels")
    assert store.manifest["rule"]["init_args"]["precision"] == 0.01
    for keep, name in zip(store.thresholds.keep, store.index.classes, strict=True):
        measured = store.manifest["calibration"][name]
        assert measured["precision"][np.float32(measured["thresholds"]).tolist().index(keep)] >= 0.01


def test_a_second_round_takes_the_first_student_as_its_teacher(run):
    recipe, folder = run
    recipe |= {"rounds": 2, "control": False}
    self_train(recipe, folder)
    store = json.loads((folder / "round_1" / "pseudo_labels" / "manifest.json").read_text())
    student = folder / "round_0" / "student" / "checkpoints" / "best.ckpt"
    assert store["teacher"]["fingerprint"] == checkpoint_fingerprint(student)
    assert (folder / "round_1" / "student" / "evaluation.json").is_file()
    assert not (folder / "round_1" / "teacher").exists()


def test_labels_of_a_checkpoint_equal_those_of_the_run(tiny_run, tmp_path):
    recipe, folder = tiny_run
    checkpoint = folder / "round_0" / "teacher" / "checkpoints" / "best.ckpt"
    store = pseudo_label(
        {key: recipe[key] for key in ("data", "model", "pseudo_label", "trainer")}, checkpoint, tmp_path / "s"
    )
    assert store.index.fingerprint == PseudoLabels.open(folder / "round_0" / "pseudo_labels").index.fingerprint


@pytest.mark.parametrize("finished", [1, 2])
def test_a_labelling_that_was_cut_ends_with_the_same_bits(tiny_run, tmp_path, monkeypatch, finished):
    recipe, folder = tiny_run
    checkpoint = folder / "round_0" / "teacher" / "checkpoints" / "best.ckpt"
    # Batches of 3 do not fit into shards of 4.
    recipe = {**recipe, "data": {**recipe["data"], "eval_batch_size": 3}}
    whole = pseudo_label(recipe, checkpoint, tmp_path / "whole")
    write = PseudoLabelWriter.write_shard

    def write_or_stop(writer, number, *args):
        if number == finished:
            raise RuntimeError("cut")
        write(writer, number, *args)

    monkeypatch.setattr(PseudoLabelWriter, "write_shard", write_or_stop)
    with pytest.raises(RuntimeError, match="cut"):
        pseudo_label(recipe, checkpoint, tmp_path / "cut")
    monkeypatch.undo()
    assert pseudo_label(recipe, checkpoint, tmp_path / "cut").index.fingerprint == whole.index.fingerprint


def test_labelling_needs_nothing_but_images_and_a_checkpoint(tiny_run, tmp_path):
    recipe, folder = tiny_run
    checkpoint = folder / "round_0" / "teacher" / "checkpoints" / "best.ckpt"
    data = {key: value for key, value in recipe["data"].items() if key not in ("labeled", "val", "test")}
    store = pseudo_label({**recipe, "data": data}, checkpoint, tmp_path / "store")
    assert store.index.fingerprint == PseudoLabels.open(folder / "round_0" / "pseudo_labels").index.fingerprint
    assert store.index.classes == ("square", "disc")
    assert "calibration" not in store.manifest


def test_the_order_of_the_classes_of_val_changes_no_number(tiny_run, tmp_path):
    """The same val images and labels, their categories numbered the other way round."""
    recipe, folder = deepcopy(tiny_run[0]), tiny_run[1]
    path = Path(recipe["data"]["val"]["annotations"])
    said = json.loads(path.read_text())
    other_id = {2: 5, 5: 2}
    for category in said["categories"]:
        category["id"] = other_id[category["id"]]
    for annotation in said["annotations"]:
        annotation["category_id"] = other_id[annotation["category_id"]]
    (tmp_path / "val.json").write_text(json.dumps(said))
    recipe["data"]["val"]["annotations"] = str(tmp_path / "val.json")
    store = pseudo_label(recipe, folder / "round_0/teacher/checkpoints/best.ckpt", tmp_path / "store")
    first = PseudoLabels.open(folder / "round_0/pseudo_labels")
    assert store.manifest["calibration"] == first.manifest["calibration"]
    assert SelfTrainingDataModule(**recipe["data"]).index("val").classes == ("disc", "square")


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
def test_without_val_the_last_checkpoint_stands_and_calibration_refuses(tmp_path):
    recipe = tiny_recipe(tmp_path / "data")
    del recipe["data"]["val"]
    self_train(recipe, tmp_path / "run")
    evaluation = json.loads((tmp_path / "run/round_0/student/evaluation.json").read_text())
    assert evaluation["checkpoint"] == "checkpoints/last.ckpt"
    assert list(evaluation["splits"]) == ["test"]
    recipe["pseudo_label"] = {"rule": "calibrated"}
    with pytest.raises(ConfigError, match=r"measures precision on labelled val images.*data\.val\.images"):
        self_train(recipe, tmp_path / "another")
    assert not (tmp_path / "another").exists()


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("data", {"labeled": None}, r"self_train needs data\.labeled\.images"),
        ("data", {"unlabeled": None}, r"self_train needs data\.unlabeled\.images"),
        (
            "pseudo_label",
            {"score_threshold": None, "rule": "hrd"},
            r"Unknown pseudo_label\.rule 'hrd'\. Did you mean 'hard'",
        ),
        ("student", {"init": "nowhere.ckpt"}, r"Expected student\.init to be random, teacher, or a checkpoint file"),
        (
            "student",
            {"init": "teacher", "model": {"class_path": "lightning_st.RetinaNet"}},
            "cannot start from its teacher",
        ),
        ("student", {"alpha": -1.0}, r"student: Expected alpha to be at least 0"),
        ("student", {"init": "random", "model": {"class_path": "lightning_st.RetinaNett"}}, "RetinaNett"),
        ("pseudo_label", {"score_threshold": None, "rule": {"class_path": "nowhere.Rule"}}, r"nowhere\.Rule"),
        ("trainer", {"devices": "x"}, r"trainer: `devices` selected"),
    ],
)
def test_what_cannot_be_run_refuses_before_the_teacher_trains(tmp_path, section, changes, message):
    recipe = tiny_recipe(tmp_path / "data")
    recipe[section] = {**recipe[section], **changes}
    with pytest.raises(ConfigError, match=message):
        self_train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "round_0").exists()


def test_a_student_knows_the_file_that_it_started_from_by_its_weights(run, tmp_path):
    recipe, folder = run
    start = tmp_path / "start.ckpt"
    shutil.copyfile(folder / "round_0/teacher/checkpoints/best.ckpt", start)
    recipe |= {"student": {**recipe["student"], "init": str(start)}, "control": False}
    self_train(recipe, folder, restart=True)
    self_train(recipe, folder)
    shutil.copyfile(folder / "round_0/student/checkpoints/best.ckpt", start)
    with pytest.raises(StageError, match=r"student was made from other inputs: parents\.init was"):
        self_train(recipe, folder)


def test_weights_that_do_not_fit_the_student_are_refused_before_the_teacher_trains(run, tmp_path):
    recipe, folder = run
    checkpoint = folder / "round_0" / "teacher" / "checkpoints" / "best.ckpt"
    model = {**recipe["model"], "init_args": {**recipe["model"]["init_args"], "neck_width": 16}}
    recipe["student"] = {**recipe["student"], "init": str(checkpoint), "model": model}
    with pytest.raises(CheckpointError, match=r"best\.ckpt: its weights are of another model"):
        self_train(recipe, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_recipe_and_its_dict_are_the_same(tmp_path):
    fields = tiny_recipe(tmp_path)
    assert Recipe(**fields).to_json()["teacher"] == fields["teacher"]


@pytest.mark.filterwarnings("ignore:trainer.precision=bf16-mixed makes this CPU many times slower")
def test_mixed_precision_runs_to_the_numbers_and_keeps_weights_in_float32(tmp_path):
    recipe = tiny_recipe(tmp_path / "data", labeled=4, unlabeled=4)
    recipe["trainer"]["precision"] = "bf16-mixed"
    for section in ("teacher", "student"):
        recipe[section] |= {"max_steps": 2, "validate_every": 2}
    checkpoint = self_train(recipe, tmp_path / "run")
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float32}
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert set(states(tmp_path / "run").values()) == {"complete"}
