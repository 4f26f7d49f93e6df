"""Pre-training as a stage: what each arm leaves, that it goes on exactly, and that others start from its backbone."""

import json
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from recipes import TINY_BACKBONE, TINY_MODEL, pretrain_recipe, tiny_recipe

from lightning_st import RetinaNet, pretrain, self_train
from lightning_st.errors import ConfigError, DataError, StageError
from lightning_st.modules import read_checkpoint

pytestmark = [
    # SimCLR has nothing to validate.
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]

ARMS = ("ImageClassifier", "SimCLR", "JointDetector")


@pytest.fixture(scope="module", params=ARMS)
def arm(request, tmp_path_factory):
    """A tiny recipe of each arm, and the folder that it left."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = pretrain_recipe(folder / "data", request.param)
    checkpoint = pretrain(deepcopy(recipe), folder / "run")
    return request.param, recipe, folder / "run", checkpoint


def backbone_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    state = read_checkpoint(checkpoint)["state_dict"]
    prefix = "task.backbone."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def require_same_backbone(model: RetinaNet, checkpoint: Path) -> None:
    own, found = model.backbone.state_dict(), backbone_of(checkpoint)
    assert own
    for name, value in own.items():
        assert torch.equal(value, found[name]), name


def test_it_leaves_what_the_guide_says(arm):
    name, _, folder, checkpoint = arm
    assert checkpoint == folder / "checkpoints" / ("last.ckpt" if name == "SimCLR" else "best.ckpt")
    for file in ("checkpoints/last.ckpt", "metrics.csv", "evaluation.json", "manifest.json"):
        assert (folder / file).is_file(), file
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["stage"], manifest["state"]) == ("pretrain", "complete")
    evaluation = json.loads((folder / "evaluation.json").read_text())
    primary = {"ImageClassifier": "top1", "SimCLR": None, "JointDetector": "AP"}[name]
    assert evaluation["primary"] == primary
    assert evaluation["splits"].keys() == ({"val"} if primary else set())
    policy = {"ImageClassifier": "RandomResizedCrop", "SimCLR": "SimCLR", "JointDetector": "S1"}[name]
    assert manifest["inputs"]["data"]["augment"] == policy  # also where the recipe names none
    about = read_checkpoint(checkpoint)["lightning_st"]
    assert about["weights"] == "ema"


def test_a_detector_starts_from_its_backbone(arm):
    checkpoint = arm[3]
    require_same_backbone(RetinaNet(["a"], **{**TINY_MODEL["init_args"], "pretrained": str(checkpoint)}), checkpoint)


def test_the_same_recipe_again_runs_nothing(arm):
    _, recipe, folder, checkpoint = arm
    before = checkpoint.stat().st_mtime_ns
    assert pretrain(deepcopy(recipe), folder) == checkpoint
    assert checkpoint.stat().st_mtime_ns == before


def test_changed_inputs_refuse_until_it_is_to_start_anew(arm, tmp_path):
    _, recipe, folder, _ = arm
    shutil.copytree(folder, tmp_path / "run")
    changed = deepcopy(recipe)
    changed["training"]["max_steps"] = 4
    with pytest.raises(StageError, match=r"training\.max_steps was 6, is now 4"):
        pretrain(changed, tmp_path / "run")
    pretrain(changed, tmp_path / "run", restart=True)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["max_steps"] == 4
    source = {"ImageClassifier": "labeled", "SimCLR": "unlabeled", "JointDetector": "joint"}[arm[0]]
    changed["data"][source] = {**changed["data"][source], "fraction": 0.5}
    with pytest.raises(StageError, match=rf"fingerprints\.{source} was"):
        pretrain(changed, tmp_path / "run")


class StopError(Exception):
    """Stands for a power cut."""


class StopAt(Callback):
    """Stops a training in a step, once."""

    step: int | None = None

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == StopAt.step:
            StopAt.step = None
            raise StopError


def require_average_is_taken(cut: Path) -> None:
    """A checkpoint in the middle of a training holds two sets of weights; the average is the one that others take."""
    content = read_checkpoint(cut)
    assert content["global_step"] == 4
    raw = content["current_model_state"]
    assert any(not torch.equal(value, raw[name]) for name, value in content["state_dict"].items() if "backbone" in name)
    require_same_backbone(RetinaNet(["a"], **{**TINY_MODEL["init_args"], "pretrained": str(cut)}), cut)


def test_a_run_that_is_cut_ends_with_the_same_bits(arm, tmp_path):
    name, recipe, folder, _ = arm
    recipe = deepcopy(recipe)
    recipe["trainer"]["callbacks"] = [{"class_path": "test_pretrain.StopAt"}]
    StopAt.step = 5
    with pytest.raises(StopError):
        pretrain(recipe, tmp_path / "run")
    cut = tmp_path / "run" / "checkpoints" / "last.ckpt"
    require_average_is_taken(cut)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["state"] == "running"
    pretrain(recipe, tmp_path / "run")
    ends = [read_checkpoint(each / "checkpoints" / "last.ckpt") for each in (folder, tmp_path / "run")]
    for key in ("state_dict", "current_model_state"):
        for tensor_name, value in ends[0][key].items():
            assert torch.equal(value, ends[1][key][tensor_name]), (name, tensor_name)
    assert (tmp_path / "run" / "metrics.csv").read_text() == (folder / "metrics.csv").read_text()


def test_spinenet_can_be_pretrained_too(tmp_path):
    """All of it: a detector that reads the same levels finds every tensor."""
    recipe = pretrain_recipe(tmp_path / "data", "ImageClassifier")
    recipe["model"]["init_args"] = {"backbone": "spinenet-49s"}
    recipe["training"] |= {"max_steps": 2, "validate_every": 2}
    recipe["data"]["batch_size"] = 2
    checkpoint = pretrain(recipe, tmp_path / "run")
    arguments = {"backbone": "spinenet-49s", "neck": "identity", "head_depth": 1, "head_width": 8}
    require_same_backbone(RetinaNet(["a"], pretrained=str(checkpoint), **arguments), checkpoint)


def test_a_run_of_self_training_starts_from_it(arm, tmp_path):
    recipe = tiny_recipe(tmp_path / "data", labeled=4, unlabeled=4)
    arguments = {**TINY_MODEL["init_args"], "pretrained": str(arm[3])}
    recipe["model"] = {**TINY_MODEL, "init_args": arguments}
    for section in ("teacher", "student"):
        recipe[section] |= {"max_steps": 1, "validate_every": 1, "lr": 1e-12, "ema_decay": None}
    self_train(recipe, tmp_path / "run")
    found = backbone_of(tmp_path / "run" / "round_0" / "teacher" / "checkpoints" / "last.ckpt")
    for name, value in backbone_of(arm[3]).items():
        if name in found and name.endswith("weight"):
            torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-6)


def test_self_training_and_joint_training_together(tmp_path):
    """Table 7: the teacher is "+ joint", and the student "+ both", whose images have pseudo-boxes and their classes."""
    recipe = tiny_recipe(tmp_path / "data", labeled=4)
    joint = pretrain_recipe(tmp_path / "joint", "JointDetector")["data"]["joint"]
    recipe["data"] |= {"unlabeled": joint, "joint": joint}
    recipe["model"] = {**TINY_MODEL, "class_path": "lightning_st.JointDetector"}
    recipe["pseudo_label"]["score_threshold"] = 0.001
    for section in ("teacher", "student"):
        recipe[section] |= {"max_steps": 2, "validate_every": 2}
    self_train(recipe, tmp_path / "run")
    header = {
        stage: (tmp_path / "run" / "round_0" / stage / "metrics.csv").read_text().partition("\n")[0]
        for stage in ("teacher", "student")
    }
    assert "train/pseudo_image_loss" in header["teacher"]
    assert "train/pseudo_image_loss" in header["student"]
    for stage in header:
        inputs = json.loads((tmp_path / "run" / "round_0" / stage / "manifest.json").read_text())["inputs"]
        assert inputs["fingerprints"]["joint"]
        assert "pseudo_ratio" in inputs["data"]


@pytest.mark.parametrize(
    ("arm_name", "change", "error", "message"),
    [
        ("SimCLR", {"data": {"unlabeled": None}}, ConfigError, r"data\.unlabeled\.images to be given"),
        ("ImageClassifier", {"data": {"labeled": None}}, ConfigError, r"data\.labeled\.images to be given"),
        ("JointDetector", {"data": {"joint": None}}, ConfigError, r"give data\.joint\.images"),
        ("ImageClassifier", {"training": {"alpha": 2.0}}, ConfigError, r"training\.alpha to be left out, got 2\.0"),
        ("ImageClassifier", {"training": {"normalize_loss": True}}, ConfigError, r"Unknown key of training"),
        ("ImageClassifier", {"training": {"max_step": 2}}, ConfigError, r"Did you mean 'max_steps'"),
        ("SimCLR", {"data": {"augment": "S9"}}, ConfigError, r"Unknown augment 'S9'"),
        ("ImageClassifier", {"seed": -1}, ConfigError, r"seed_everything to be from 0"),
    ],
)
def test_refusals(tmp_path, arm_name, change, error, message):
    recipe = pretrain_recipe(tmp_path / "data", arm_name)
    for key, value in change.items():
        recipe[key] = {**recipe[key], **value} if isinstance(value, dict) else value
    with pytest.raises(error, match=message):
        pretrain(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_self_training_is_for_boxes_and_masks(tmp_path):
    recipe = tiny_recipe(tmp_path / "data", labeled=2, unlabeled=2)
    classes = pretrain_recipe(tmp_path / "classes", "ImageClassifier")["data"]
    recipe["data"] |= {name: classes[name] for name in ("labeled", "val")}
    recipe["data"].pop("test")
    recipe["model"] = {"class_path": "lightning_st.ImageClassifier", "init_args": TINY_BACKBONE}
    with pytest.raises(ConfigError, match=r"one of boxes or masks, .*lightning_st pretrain"):
        self_train(recipe, tmp_path / "run")


def test_a_data_error_is_said_before_anything_is_left(tmp_path):
    recipe = pretrain_recipe(tmp_path / "data", "ImageClassifier")
    recipe["data"]["val"] = recipe["data"]["labeled"]
    with pytest.raises(DataError, match=r"12 images of data\.labeled are also in data\.val"):
        pretrain(recipe, tmp_path / "run")
