"""The guide's examples, run as they stand there."""

import json
import re
from pathlib import Path

import pytest
import yaml
from recipes import TINY_MODEL, tiny_recipe

from lightning_st.cli import main

GUIDE = Path(__file__).parents[2] / "docs" / "any_detector.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def test_a_detector_of_torchvision_teaches_a_retinanet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # the command finds my_detector.py where it is started
    (tmp_path / "my_detector.py").write_text(blocks("python")[0])
    sections = yaml.safe_load(blocks("yaml")[1])
    recipe = tiny_recipe(tmp_path / "data", labeled=4, unlabeled=4)
    recipe["model"] = {**sections["model"], "init_args": {"image_size": 64}}
    recipe["student"] |= {**sections["student"], "model": TINY_MODEL, "max_steps": 2}
    recipe["teacher"] |= {"max_steps": 2, "validate_every": 2}
    recipe["pseudo_label"]["score_threshold"] = 0.05
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    status = main(["self_train", "--config", "recipe.yaml", "--output", "run"])
    assert status == 0, capsys.readouterr().err
    metrics = json.loads((tmp_path / "run/report/metrics.json").read_text())["rounds"][0]
    assert metrics["pseudo_labels"]["labels"] > 0
    assert 0 <= metrics["student"]["val"]["AP"] <= 1


def test_a_student_of_another_model_by_config_alone(tmp_path):
    from lightning_st.stages import self_train

    sections = yaml.safe_load(blocks("yaml")[0])
    recipe = tiny_recipe(tmp_path / "data", labeled=4, unlabeled=4)
    smaller = {**TINY_MODEL["init_args"], "neck_width": 4}
    assert sections["student"]["model"]["class_path"] == TINY_MODEL["class_path"]
    recipe["student"] |= {**sections["student"], "model": {**TINY_MODEL, "init_args": smaller}, "max_steps": 2}
    recipe["teacher"] |= {"max_steps": 2, "validate_every": 2}
    assert self_train(recipe, tmp_path / "run").is_file()


@pytest.mark.parametrize("number", [0, 1])
def test_the_guides_configs_are_yaml(number):
    assert yaml.safe_load(blocks("yaml")[number])["student"]["init"] == "random"
