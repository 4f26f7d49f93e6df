"""The section `pretrain` of a recipe: what it takes from the run, the stage that it becomes, and arms that share it."""

import json
import shutil
from copy import deepcopy

import pytest
import torch
from recipes import TINY_BACKBONE, TINY_MODEL, TINY_SEGMENTER, pretrain_recipe, tiny_recipe
from test_pretrain import backbone_of

from lightning_st.errors import ConfigError, DataError, StageError
from lightning_st.reports import write_report
from lightning_st.stages import Recipe, self_train
from lightning_st.stages.arms import ExperimentSettings
from lightning_st.stages.experiment import run_experiment
from lightning_st.stages.locks import lock_files
from lightning_st.stages.pretrain_section import pretrain_recipe as section_of

pytestmark = [
    # SimCLR has nothing to validate.
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]

SIMCLR = {
    "model": {"class_path": "lightning_st.SimCLR"},
    "training": {"max_steps": 2, "optimizer": "adamw", "lr": 0.01},
}


def short(folder, **sections):
    """Return a recipe of one step a stage that hardly moves the weights."""
    recipe = tiny_recipe(folder / "data", labeled=4, unlabeled=4)
    recipe["data"]["cache_folder"] = str(folder / "cache")
    for name in ("teacher", "student"):
        recipe[name] |= {"max_steps": 1, "validate_every": 1, "lr": 1e-12, "ema_decay": None}
    recipe["student"]["init"] = "random"
    return {**recipe, **deepcopy(sections)}


def require_backbone_of(checkpoint, pretrained):
    found, wanted = backbone_of(checkpoint), backbone_of(pretrained)
    names = [name for name in found if name.endswith("weight")]
    assert names
    for name in names:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-6, rtol=1e-6)


def manifest_of(stage):
    return json.loads((stage / "manifest.json").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A recipe with a pre-training, and the folder of its complete run."""
    folder = tmp_path_factory.mktemp("pretrain_section")
    recipe = short(folder, pretrain=SIMCLR, control=True)
    self_train(deepcopy(recipe), folder / "run")
    return recipe, folder / "run"


def test_every_model_starts_from_the_backbone(run):
    _, folder = run
    pretrained = folder / "pretrain" / "checkpoints" / "last.ckpt"
    for stage in ("round_0/teacher", "round_0/student", "control"):
        require_backbone_of(folder / stage / "checkpoints" / "last.ckpt", pretrained)
    parents = {stage: manifest_of(folder / stage)["parents"] for stage in ("round_0/teacher", "round_0/student")}
    assert parents["round_0/teacher"]["pretrain"] == manifest_of(folder / "pretrain")["fingerprint"]
    assert parents["round_0/student"]["init"] == "random"
    assert parents["round_0/student"]["pretrain"] == parents["round_0/teacher"]["pretrain"]
    inputs = json.dumps(manifest_of(folder / "round_0" / "teacher")["inputs"])
    assert str(folder) not in inputs  # so that it may be moved
    assert manifest_of(folder)["stages"]["pretrain"] == "complete"
    seconds = write_report(folder)["seconds"]
    assert seconds["pretrain"] > 0


def test_a_complete_run_that_was_moved_runs_nothing(run, tmp_path):
    recipe, folder = run
    shutil.copytree(folder, tmp_path / "moved")
    stages = ("pretrain", "round_0/teacher", "round_0/student", "control")
    before = {stage: (tmp_path / "moved" / stage / "manifest.json").read_text() for stage in stages}
    self_train(deepcopy(recipe), tmp_path / "moved")
    assert before == {stage: (tmp_path / "moved" / stage / "manifest.json").read_text() for stage in stages}


def test_changed_inputs_refuse_until_all_that_follows_is_made_anew(run, tmp_path):
    recipe, folder = run
    shutil.copytree(folder, tmp_path / "run")
    recipe = deepcopy(recipe)
    recipe["pretrain"]["training"]["max_steps"] = 3
    with pytest.raises(StageError, match=r"pretrain was made from other inputs: training\.max_steps was 2, is now 3"):
        self_train(recipe, tmp_path / "run")
    self_train(recipe, tmp_path / "run", restart=True)
    new = manifest_of(tmp_path / "run" / "pretrain")["fingerprint"]
    assert new != manifest_of(folder / "pretrain")["fingerprint"]
    assert manifest_of(tmp_path / "run" / "round_0" / "teacher")["inputs"]["parents"] == {"pretrain": new}


def test_what_is_left_out_is_the_runs(tmp_path):
    recipe = Recipe(**short(tmp_path, pretrain={**SIMCLR, "data": {"batch_size": 2}}))
    found = section_of(recipe)
    assert found.model["init_args"] == {**TINY_BACKBONE, "max_level": TINY_MODEL["init_args"]["max_level"]}
    assert found.data["unlabeled"] == recipe.data["unlabeled"]
    assert (found.data["batch_size"], found.data["image_size"]) == (2, 64)
    assert not {"labeled", "val", "augment"} & found.data.keys()
    assert (found.trainer, found.seed) == (recipe.trainer, recipe.seed)


def test_joint_training_begins_as_the_runs_detector_on_its_labels(tmp_path):
    classes = pretrain_recipe(tmp_path / "joint", "SimCLR")["data"]["unlabeled"]
    section = {"model": {"class_path": "lightning_st.JointDetector"}, "data": {"joint": classes}}
    recipe = Recipe(**short(tmp_path, pretrain=section))
    found = section_of(recipe)
    assert found.model["init_args"] == TINY_MODEL["init_args"]
    assert found.data["labeled"] == recipe.data["labeled"]
    assert found.data["test"] == recipe.data["test"]
    own = deepcopy(section)
    own["data"]["labeled"] = {"images": "others", "annotations": "others.json"}
    found = section_of(Recipe(**short(tmp_path, pretrain=own)))
    assert "val" not in found.data  # which is of other classes


def test_a_segmenter_starts_from_views_too(tmp_path):
    recipe = Recipe(**short(tmp_path, model=TINY_SEGMENTER, pretrain=SIMCLR))
    assert section_of(recipe).model["init_args"].keys() == {"backbone", "backbone_options", "max_level"}


def test_an_empty_section_is_none(tmp_path):
    for empty in (None, {}, {"data": {}, "model": {}, "training": {}, "trainer": {}}):
        assert Recipe(**short(tmp_path, pretrain=empty)).pretrain is None


def spoiled(**changes):
    section = deepcopy(SIMCLR)
    for name, change in changes.items():
        section[name] = {**section.get(name, {}), **change}
    return section


@pytest.mark.parametrize(
    ("section", "error", "message"),
    [
        ({"trainning": {}}, ConfigError, r"Unknown section of pretrain 'trainning'\. Did you mean 'training'"),
        ({"data": {"batch_size": 4}}, ConfigError, r"Expected pretrain\.model\.class_path to be given"),
        (spoiled(model={"temperature": 1}), ConfigError, r"Unknown key of pretrain\.model 'temperature'"),
        (spoiled(training={"max_step": 1}), ConfigError, r"pretrain: Unknown key of training 'max_step'"),
        (spoiled(model={"class_path": "lightning_st.SimCRL"}), ConfigError, r"importable class, got 'lightning_st\.S"),
        (spoiled(model={"init_args": {"backbone": "resnet18"}}), ConfigError, r"pretrain\.model has another backbone"),
        (spoiled(model={"init_args": {"temprature": 1}}), ConfigError, r"pretrain: .*Did you mean 'temperature'"),
        (spoiled(data={"unlabeled": "val"}), DataError, r"pretrain: .*data\.unlabeled are also in data\.val"),
        (
            spoiled(model={"class_path": "lightning_st.ImageClassifier"}),
            ConfigError,
            r"pretrain: Expected data\.labeled\.images to be given",
        ),
    ],
)
def test_refusals_come_before_anything_is_left(tmp_path, section, error, message):
    recipe = short(tmp_path)
    if (section.get("data") or {}).get("unlabeled") == "val":
        section = {**section, "data": {"unlabeled": {"images": recipe["data"]["val"]["images"]}}}
    with pytest.raises(error, match=message):
        self_train({**recipe, "pretrain": section}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_place_says_where_the_weights_come_from(tmp_path):
    recipe = short(tmp_path, pretrain=SIMCLR)
    recipe["model"] = {**TINY_MODEL, "init_args": {**TINY_MODEL["init_args"], "pretrained": "a.ckpt"}}
    with pytest.raises(ConfigError, match=r"Expected model\.pretrained to be left out beside it, got 'a\.ckpt'"):
        section_of(Recipe(**recipe))


def test_arms_share_one_pre_training_of_a_seed(tmp_path):
    recipe = short(tmp_path)
    factors = {"fraction": [0.5, 1.0], "initialisation": {"random": {}, "simclr": {"pretrain": SIMCLR}}}
    ran = []

    def here(arm, folder, restart):
        ran.append((arm.name, [path.parent.name for path in lock_files(folder)[1:]]))
        if arm.levels["initialisation"] == "simclr":
            self_train(arm.recipe, folder, restart)

    run_experiment(recipe, ExperimentSettings(factors, [0], budget="steps"), tmp_path / "out", run_arm=here)
    shared = sorted(path.name.partition("_")[0] for path in (tmp_path / "out" / "shared").iterdir() if path.is_dir())
    assert shared == ["pretrain", *["teacher"] * 4]
    arms = tmp_path / "out" / "arms"
    links = [arms / f"fraction={fraction},initialisation=simclr/seed_0/pretrain" for fraction in ("0.5", "1")]
    assert links[0].resolve() == links[1].resolve()
    assert manifest_of(links[0])["state"] == "complete"
    assert not (arms / "fraction=1,initialisation=random/seed_0/pretrain").exists()
    locks = dict(ran)
    assert len(locks["fraction=0.5,initialisation=simclr/seed_0"]) == 2
    assert len(locks["fraction=1,initialisation=simclr/seed_0"]) == 1  # what is complete is only read: no lock
