"""The words of pretrain: what they become, and what is wrong with them in one sentence."""

import re

import pytest
import yaml
from recipes import pretrain_recipe, tiny_recipe, write_data

from lightning_st.cli import main
from lightning_st.cli.pretrain_command import parse_pretrain, read_pretrain
from lightning_st.cli.stage_commands import parse_recipe, read_recipe, recipe_parser
from lightning_st.errors import ConfigError


def parsed(*words):
    return parse_pretrain(["--output", "out", "--model", "lightning_st.ImageClassifier", *words])


def test_a_recipe_comes_out(tmp_path):
    config = parsed("--training.lr", "0.1", "--training.ema_decay=0.99", "--data.labeled.images", "photos")
    recipe = read_pretrain(config)
    assert (recipe.training["lr"], recipe.training["ema_decay"], recipe.seed) == (0.1, 0.99, 0)
    assert recipe.data["labeled"]["images"] == "photos"
    assert recipe.model["init_args"]["label_smoothing"] == 0.1
    assert "classes" not in recipe.model["init_args"]


def test_the_whole_config_can_be_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        parsed("--print_config")
    assert ended.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["training"]["max_steps"] == 1000
    assert {"labeled", "unlabeled", "val", "test", "joint"} <= printed["data"].keys()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--training.lrr=1"], r"Did you mean '--training\.lr'"),
        (["--model.dropuot=0.1"], r"Unknown key model\.dropuot\. Did you mean 'dropout'"),
        (["--model=ImageClassifer"], r"Did you mean 'lightning_st\.ImageClassifier'"),
        (["--model.image_class_count=3"], r"model\.image_class_count|image_class_count"),
        (["--training.init=x.ckpt"], r"training\.init is not .* Give model\.pretrained"),
        (["--trainer.max_steps=3"], r"In pretrain it is training\.max_steps"),
        (["--data.joint=photos"], r"Expected data\.joint to be a group .* Write --data\.joint\.images DIR"),
        (["--training.max_steps=many"], r"Expected training\.max_steps to be a whole number, got 'many'"),
        (["--teacher.lr=1"], r"Unknown option --teacher\.lr"),
    ],
)
def test_the_parsers_own_messages_become_sentences(words, sentence):
    with pytest.raises(ConfigError, match=sentence) as refusal:
        parsed(*words)
    assert "\n" not in str(refusal.value)


def run(folder, recipe, command="pretrain"):
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return main([command, "--config", str(folder / "recipe.yaml"), "--output", str(folder / "run")])


def flat_folder(recipe, folder):
    recipe["data"]["labeled"] = {"images": write_data(folder)["labeled"]["images"]}


def boxes_for_classes(recipe, folder):
    recipe["data"]["labeled"] = write_data(folder)["labeled"]


def masks_for_classes(recipe, folder):
    recipe["data"]["labeled"]["masks"] = str(folder)


def another_class_in_val(recipe, folder):
    (folder / "data/classes_val/disc").rename(folder / "data/classes_val/ring")


def no_unlabelled_images(recipe, folder):
    del recipe["data"]["unlabeled"]


def labels_for_views(recipe, folder):
    recipe["data"]["labeled"] = recipe["data"]["unlabeled"]


def a_detector_that_learns_no_classes(recipe, folder):
    recipe["model"]["class_path"] = "lightning_st.RetinaNet"


@pytest.mark.parametrize(
    ("arm", "spoil", "sentence"),
    [
        ("ImageClassifier", flat_folder, r"image_000\.jpg: the image lies in no folder, so it has no class"),
        ("ImageClassifier", boxes_for_classes, r"Expected data\.labeled\.annotations to be left out"),
        ("ImageClassifier", masks_for_classes, r"Expected data\.labeled\.masks to be left out"),
        ("ImageClassifier", another_class_in_val, r"data\.val has classes that data\.labeled does not have: ring"),
        ("SimCLR", no_unlabelled_images, r"Expected data\.unlabeled\.images to be given"),
        ("SimCLR", labels_for_views, r"Expected data\.labeled to be left out"),
        ("JointDetector", a_detector_that_learns_no_classes, r"RetinaNet does not learn the classes of data\.joint"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, capsys, arm, spoil, sentence):
    recipe = pretrain_recipe(tmp_path / "data", arm)
    spoil(recipe, tmp_path)
    assert run(tmp_path, recipe) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lightning_st: ")]
    assert len(lines) == 1
    assert re.search(sentence, lines[0])
    assert not (tmp_path / "run").exists()


def test_a_recipe_of_pretrain_is_no_config_of_fit(tmp_path, capsys):
    recipe = pretrain_recipe(tmp_path / "data", "SimCLR")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["fit", "--config", str(tmp_path / "recipe.yaml")]) == 2
    assert "the key training belongs to a recipe of pretrain" in capsys.readouterr().err


def test_a_report_of_it_is_one_sentence(tmp_path, capsys):
    recipe = pretrain_recipe(tmp_path / "data", "SimCLR")
    recipe["training"] |= {"max_steps": 1}
    assert run(tmp_path, recipe) == 0
    assert f"--model.pretrained {tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


SIMCLR = {"model": {"class_path": "lightning_st.SimCLR"}, "training": {"max_steps": 2}}


def run_with(folder, section, *words):
    """Give self_train a recipe with a section pretrain; data and Trainer are those of the tiny recipe."""
    recipe = {**tiny_recipe(folder / "data", labeled=2, unlabeled=2), "pretrain": section}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return main(["self_train", "--config", str(folder / "recipe.yaml"), "--output", str(folder / "run"), *words])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"training": {"max_steps": "many"}},
            r"pretrain: Expected training\.max_steps to be a whole number, got 'many'",
        ),
        ({"training": {"lrr": 1}}, r"pretrain: Unknown key training\.lrr\. Did you mean 'training\.lr'"),
        ({"trainning": {"lr": 1}}, r"pretrain\.trainning"),
        ({"data": {"unlabeled": {"imagse": "x"}}}, r"pretrain: .*imagse"),
        ({"model": {"class_path": "lightning_st.SimCRL"}}, r"SimCRL"),
        ({"model": {"init_args": {}}}, r"Expected pretrain\.model\.class_path to be given"),
    ],
)
def test_what_is_wrong_with_the_section_of_a_run_is_one_sentence(tmp_path, capsys, change, sentence):
    assert run_with(tmp_path, {**SIMCLR, **change}) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lightning_st: ")]
    assert re.search(sentence, line)
    assert not (tmp_path / "run").exists()


def test_the_section_may_be_changed_by_words():
    words = ["--pretrain.model.class_path", "lightning_st.SimCLR", "--pretrain.training.max_steps", "7"]
    words = ["--output", "out", "--model", "lightning_st.RetinaNet", *words, "--pretrain.data.batch_size=64"]
    section = read_recipe(parse_recipe(recipe_parser("self_train", "about"), words)).pretrain
    assert section == {
        "model": {"class_path": "lightning_st.SimCLR"},
        "data": {"batch_size": 64},
        "training": {"max_steps": 7},
    }


def test_a_level_of_an_experiment_is_looked_at_as_well(tmp_path, capsys):
    level = {"pretrain": {**SIMCLR, "training": {"max_steps": "many"}}}
    recipe = tiny_recipe(tmp_path / "data", labeled=2, unlabeled=2)
    recipe["experiment"] = {"factors": {"initialisation": {"random": {}, "simclr": level}}, "seeds": [0]}
    assert run(tmp_path, recipe, "experiment") == 2
    assert "pretrain: Expected training.max_steps to be a whole number, got 'many'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
