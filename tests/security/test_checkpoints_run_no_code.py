"""Reading a checkpoint runs nothing: not what is pickled in it, not what it says that its model is made of."""

import ast
import copy
import json
import shutil
from pathlib import Path

import hostile
import pytest
import torch
import yaml

import lightning_st
from lightning_st import Predictor, TeacherModule
from lightning_st.cli import main
from lightning_st.errors import CheckpointError, StageError
from lightning_st.stages import self_train
from lightning_st.stages.building import build_factory

MORE_THAN_DATA = "more than tensors and plain values"


class Case:
    """A finished run, and a checkpoint that would leave `marker`."""

    def __init__(self, recipe: dict, run: Path, folder: Path) -> None:
        self.run, self.folder, self.marker = run, folder, folder / "marker"
        self.recipe = {**recipe, "control": False}
        self.good = run / hostile.CHECKPOINT
        self.evil = hostile.with_code(self.good, folder / "evil.ckpt", self.marker)
        self.images = recipe["data"]["val"]["images"]

    def config(self, **model: object) -> str:
        """Write a recipe whose model has other arguments."""
        recipe = copy.deepcopy(self.recipe)
        recipe["model"]["init_args"].update(model)
        path = self.folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return str(path)

    def config_of_fit(self, **model: object) -> str:
        """Write a config of `fit`."""
        data = {name: value for name, value in self.recipe["data"].items() if name != "unlabeled"}
        task = copy.deepcopy(self.recipe["model"])
        task["init_args"].update(model)
        trainer = {**self.recipe["trainer"], "max_steps": 1, "logger": False, "default_root_dir": str(self.folder)}
        module = {"class_path": "lightning_st.TeacherModule", "init_args": {"task": task}}
        path = self.folder / "fit.yaml"
        path.write_text(yaml.safe_dump({"data": data, "model": module, "trainer": trainer}))
        return str(path)


@pytest.fixture
def case(tiny_run, tmp_path) -> Case:
    return Case(*tiny_run, tmp_path)


def test_the_trap_works(case):
    assert torch.load(case.evil, weights_only=False)["callbacks"]["x"] == 0  # the status of a program that ran
    assert case.marker.exists()


COMMANDS = {
    "fit": lambda c: ["fit", "--config", c.config_of_fit(), "--ckpt_path", c.evil],
    "validate": lambda c: ["validate", "--config", c.config_of_fit(), "--ckpt_path", c.evil],
    "test": lambda c: ["test", "--config", c.config_of_fit(), "--ckpt_path", c.evil],
    "predict by Lightning": lambda c: ["predict", "--config", c.config_of_fit(), "--ckpt_path", c.evil],
    "predict": lambda c: ["predict", "--checkpoint", c.evil, "--images", c.images, "--output", c.folder / "out"],
    "pseudo_label": lambda c: [
        "pseudo_label", "--config", c.config(), "--checkpoint", c.evil, "--output", c.folder / "out",
    ],
    "export": lambda c: ["export", "--checkpoint", c.evil, "--output", c.folder / "out.pt2"],
    "pretrained": lambda c: ["fit", "--config", c.config_of_fit(pretrained=str(c.evil))],
    "pretrained, an old file": lambda c: [
        "fit", "--config",
        c.config_of_fit(pretrained=str(hostile.with_code(
            c.good, c.folder / "old.pth", c.marker, _use_new_zipfile_serialization=False))),
    ],
    "pretrained of a run": lambda c: [
        "self_train", "--config", c.config(pretrained=str(c.evil)), "--output", c.folder / "out",
    ],
    "student.init": lambda c: [
        "self_train", "--config", c.config(), "--output", c.folder / "out", "--student.init", c.evil,
    ],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_unpickles_a_checkpoint(case, capsys, monkeypatch, command):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # some set it for a library that needs it
    hostile.refused([str(word) for word in COMMANDS[command](case)], capsys, says=MORE_THAN_DATA)
    assert not case.marker.exists()


def test_inspect_does_not_open_a_file_of_weights(case):
    assert main(["inspect", "--config", case.config(pretrained=str(case.evil))]) == 0
    assert not case.marker.exists()


def test_show_disagreement(case, capsys):
    shutil.copytree(case.run, case.folder / "run")
    shutil.copy(case.evil, case.folder / "run/round_0/student/checkpoints/best.ckpt")
    words = ["show", "disagreement", str(case.folder / "run"), "--output", str(case.folder / "sheet")]
    hostile.refused(words, capsys, says=MORE_THAN_DATA)
    assert not case.marker.exists()


@pytest.mark.parametrize("stage", ["round_0/teacher", "round_0/student"])
def test_a_run_does_not_go_on_with_a_checkpoint_that_was_replaced(case, stage):
    run = case.folder / "run"
    shutil.copytree(case.run, run)
    manifest = json.loads((run / stage / "manifest.json").read_text())
    (run / stage / "manifest.json").write_text(json.dumps({**manifest, "state": "running"}))
    shutil.copy(case.evil, run / stage / "checkpoints/last.ckpt")
    with pytest.raises(StageError, match=MORE_THAN_DATA):
        self_train({**case.recipe, "control": True}, run)
    assert not case.marker.exists()


def test_the_trainer_is_told_to_load_plain_data_and_cannot_be_told_otherwise(case, capsys):
    words = ["validate", "--config", case.config_of_fit(), "--ckpt_path", str(case.good)]
    hostile.refused([*words, "--weights_only", "false"], capsys, says="--weights_only")


def test_python_does_not_either(case):
    with pytest.raises(CheckpointError, match=MORE_THAN_DATA):
        Predictor(case.evil)
    factory = build_factory(case.recipe["model"])
    with pytest.raises(CheckpointError, match=MORE_THAN_DATA):
        TeacherModule.load_from_checkpoint(case.evil, task=factory, classes=("square", "disc"), weights_only=False)
    assert not case.marker.exists()
    TeacherModule.load_from_checkpoint(case.good, task=factory, classes=("square", "disc"))


def test_hyper_parameters_name_no_code(case):
    content = hostile.read(case.good)
    content["hyper_parameters"]["_instantiator"] = "os.system"
    torch.save(content, case.folder / "named.ckpt")
    with pytest.raises(CheckpointError, match="hyper_parameters name code"):
        TeacherModule.load_from_checkpoint(case.folder / "named.ckpt", task=None, classes=("square", "disc"))


# What a checkpoint that is plain data says of its model, and what it is refused for.
SAID = {
    "a class among the arguments": (lambda c: {"score_threshold": hostile.call_of(c.marker)}, "an argument of its"),
    "a class in a list": (lambda c: {"aspect_ratios": [1.0, hostile.call_of(c.marker)]}, "an argument of its model"),
    "a class among the options": (lambda c: {"neck_options": {"x": hostile.call_of(c.marker)}}, "an argument of its"),
    "a function as neck": (lambda c: {"neck": "os.system"}, "its neck is a class of your own"),
    "a function as backbone": (lambda c: {"backbone": "os.system"}, "its backbone is a class of your own"),
    "a backbone from a hub": (lambda c: {"backbone": "hf-hub:some/one"}, "its backbone is a class of your own"),
    "a backbone from a folder": (lambda c: {"backbone": "local-dir:/tmp"}, "its backbone is a class of your own"),
    "another file of weights": (
        lambda c: {"backbone_options": {"checkpoint_path": str(c.evil)}}, "names other files",
    ),
    "weights from elsewhere": (
        lambda c: {"backbone_options": {"pretrained_cfg": {"file": str(c.evil)}}}, "names other files",
    ),
    "a function of timm": (lambda c: {"backbone_options": {"act_layer": "os.system"}}, "timm cannot make"),
    "a size that no memory holds": (lambda c: {"neck_width": 10**6}, "its weights are of another model"),
    "a word for a number": (lambda c: {"score_threshold": "low"}, "cannot be made from what it says"),
}  # fmt: skip


@pytest.mark.parametrize("what", SAID)
def test_a_checkpoint_does_not_say_which_code_runs(case, capsys, what):
    arguments, says = SAID[what]
    path = hostile.saying(case.good, case.folder / "said.ckpt", **arguments(case))
    words = ["predict", "--checkpoint", str(path), "--images", case.images, "--output", str(case.folder / "out")]
    hostile.refused(words, capsys, says=says)
    assert not case.marker.exists()
    with pytest.raises(lightning_st.errors.LightningSTError, match=says):
        Predictor(path)


DESCRIBED = {
    "no task": ("task", None),
    "a task that is a list": ("task", ["lightning_st.RetinaNet"]),
    "arguments that are a list": ("task", {"class_path": "lightning_st.RetinaNet", "init_args": [1]}),
    "a number of classes": ("classes", 2),
    "a size that is a word": ("image_size", "large"),
    "a size of no image": ("image_size", [10**6, 10**6]),
    "weights that are a number": ("weights", 7),
}


@pytest.mark.parametrize("what", DESCRIBED)
def test_what_a_checkpoint_says_of_itself_is_looked_at(case, capsys, what):
    key, value = DESCRIBED[what]
    content = hostile.read(case.good)
    content["lightning_st"][key] = value
    torch.save(content, case.folder / "said.ckpt")
    words = ["export", "--checkpoint", str(case.folder / "said.ckpt"), "--output", str(case.folder / "out.pt2")]
    hostile.refused(words, capsys, says=key)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda value: 7, "expected state_dict to hold tensors by name"),
        (lambda value: value[:1].clone().expand(value.shape), "expected whole tensors"),
        (lambda value: value[:1].clone().expand(10**9, *value.shape[1:]), "its weights are of another model"),
    ],
    ids=["a number", "repeated", "repeated without end"],
)
def test_weights_are_whole_tensors(case, capsys, make, says):
    content = hostile.read(case.good)
    name = next(name for name, value in content["state_dict"].items() if value.ndim == 4)
    content["state_dict"][name] = make(content["state_dict"][name])
    torch.save(content, case.folder / "said.ckpt")
    words = ["export", "--checkpoint", str(case.folder / "said.ckpt"), "--output", str(case.folder / "out.pt2")]
    hostile.refused(words, capsys, says=says)


def test_files_of_pytorch_are_read_as_plain_data():
    """In one place (and the samples of a program are tried in another), and wherever Lightning is asked to."""
    package = Path(lightning_st.__file__).parent
    loads = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name = ast.unparse(node.func)
            asks_lightning = node.func.attr in ("fit", "validate", "test", "predict") and "trainer" in name
            if name == "torch.load" or asks_lightning or node.func.attr == "load_checkpoint":
                said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert said.get("weights_only") == "True", f"{path}:{node.lineno}"
                loads += [path.name] * (name == "torch.load")
    assert sorted(loads) == ["plain_file.py", "program_scan.py"]
