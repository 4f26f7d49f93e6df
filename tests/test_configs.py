"""Every shipped config runs, shrunk: the whole of self-training, or a fit with its validation, test and prediction."""

from pathlib import Path

import pytest
import yaml
from recipes import write_mask_data

from lightning_st.cli import main
from lightning_st.cli.experiment_command import arm_reader, experiment_parser
from lightning_st.cli.stage_commands import parse_recipe
from lightning_st.stages.arms import ExperimentSettings, make_arms

ROOT = Path(__file__).parent.parent
# Those of paper/ and pretrain/ are for machines of many GPUs: test_paper_configs.py, test_pretrain_configs.py; those of
# experiments/ go with a recipe: below.
ELSEWHERE = ("paper", "pretrain", "experiments")
CONFIGS = sorted(
    path for path in (ROOT / "configs").rglob("*.yaml") if path.parts[len(ROOT.parts) + 1] not in ELSEWHERE
)
# The recipes of self_train have a model that is a task; the configs of fit one that is a LightningModule.
FITS = [path for path in CONFIGS if "Module" in yaml.safe_load(path.read_text())["model"]["class_path"]]
RECIPES = [path for path in CONFIGS if path not in FITS]
MASKS = "segmentation/cpu_small.yaml"
SMALL_DATA = ["--data.image_size=64", "--data.batch_size=4", "--data.num_workers=0"]


def name(path):
    return str(path.relative_to(ROOT / "configs"))


def source_words(recipe, *splits):
    return [f"--data.{split}.{key}={value}" for split in splits for key, value in recipe["data"][split].items()]


def test_all_configs_are_known():
    assert {name(path) for path in FITS} == {
        "detection/coco_retinanet_r50_student.yaml",
        "detection/coco_retinanet_r50_teacher.yaml",
    }
    recipes = {"detection/cpu_small.yaml", "detection/distillation.yaml", "quickstart.yaml", MASKS}
    assert {name(path) for path in RECIPES} == recipes


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_a_recipe_goes_the_whole_way(tiny_run, tmp_path, path):
    if name(path) == MASKS:
        recipe, more = {"data": write_mask_data(tmp_path / "data")}, []
    else:
        recipe, more = tiny_run[0], ["--model.score_threshold=0.001"]
    words = [
        *("--config", str(path), "--output", str(tmp_path / "run"), *SMALL_DATA, "--data.example=null"),
        *source_words(recipe, "labeled", "unlabeled", "val", "test"),
        *("--teacher.max_steps=2", "--student.max_steps=2", "--pseudo_label.score_threshold=0.001", *more),
        *("--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.precision=32-true"),
    ]
    assert main(["self_train", *words]) == 0
    assert (tmp_path / "run" / "report" / "index.html").is_file()


# The configs are for GPUs; a checkpoint is evaluated without the callbacks that wrote it.
@pytest.mark.filterwarnings("ignore:trainer.precision=bf16-mixed makes this CPU many times slower")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")
@pytest.mark.parametrize("path", FITS, ids=name)
def test_a_fit_and_what_follows_it(tiny_run, tmp_path, monkeypatch, path):
    recipe, run = tiny_run
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning_st"])
    words = ["--config", str(path), *SMALL_DATA, *source_words(recipe, "labeled", "val"), "--trainer.accelerator=cpu"]
    words += ["--trainer.devices=1", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    if "pseudo_labels" in yaml.safe_load(path.read_text())["data"]:
        words += [f"--data.pseudo_labels={run}/round_0/pseudo_labels", "--data.score_threshold=0.002"]
    short = [
        "--trainer.max_steps=1",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.log_every_n_steps=1",
        "--trainer.logger=CSVLogger",
    ]
    assert main(["fit", *words, *short, "--trainer.logger.save_dir=logs"]) == 0
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    (saved,) = tmp_path.rglob("config.yaml")
    for command, splits in (("validate", ["val"]), ("test", ["test"]), ("predict", ["unlabeled"])):
        more = [
            *source_words(recipe, *splits),
            "--trainer.logger=false",
            "--trainer.enable_checkpointing=false",
            "--ckpt_path",
            str(checkpoint),
        ]
        assert main([command, "--config", str(saved), *more]) == 0


EXPERIMENTS = {
    "augmentation": 24,
    "confidence": 18,
    "joint_loss": 24,
    "label_fractions": 24,
    "methods": 12,
    "rounds": 9,
    "student_start": 9,
}
"""How many arms each compares."""


@pytest.mark.parametrize(("path", "arm_count"), EXPERIMENTS.items())
def test_the_factors_of_an_experiment_go_with_a_recipe(path, arm_count):
    parser = experiment_parser()
    configs = [ROOT / "configs" / "detection" / "cpu_small.yaml", ROOT / "configs" / "experiments" / f"{path}.yaml"]
    words = [word for config in configs for word in ("--config", str(config))]
    config = parse_recipe(parser, [*words, "--output", "out"])
    arms = make_arms(config, ExperimentSettings(**config["experiment"]), arm_reader())
    assert len(arms) == len({arm.name for arm in arms}) == arm_count
    assert all(arm.recipe.model["init_args"]["backbone"] == "resnet10t" for arm in arms)
    assert {arm.recipe.control for arm in arms} == {"epochs"}


def test_no_experiment_is_left_out():
    names = {path.stem for path in (ROOT / "configs" / "experiments").iterdir()}
    assert names == EXPERIMENTS.keys()
