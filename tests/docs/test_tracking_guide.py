"""The commands of the guide, as they stand there, are understood; its tables name what there is."""

import re
import shlex
from pathlib import Path

import yaml

from lightning_st.cli.stage_commands import parse_recipe, read_recipe, self_train_parser

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "tracking.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def commands():
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def test_the_commands_are_understood(monkeypatch):
    monkeypatch.chdir(ROOT)
    parser, loggers = self_train_parser(), []
    for program, command, *words in commands():
        if program == "lightning_st":
            assert command == "self_train"
            given = read_recipe(parse_recipe(parser, words)).trainer["logger"]
            loggers.append([spec["class_path"].rpartition(".")[2] for spec in ([given], given)[type(given) is list]])
    assert loggers == [["WandbLogger"], ["TensorBoardLogger"], ["WandbLogger", "TensorBoardLogger"]]


def test_the_sweeps_are_those_that_there_are():
    named = set(re.findall(r"`(sweeps/\w+\.yaml)` \|", GUIDE))
    assert named == {f"sweeps/{path.name}" for path in (ROOT / "sweeps").iterdir()}
    (started,) = [words[-1] for words in commands() if words[:2] == ["wandb", "sweep"]]
    assert started in named


def test_the_parameters_are_keys(monkeypatch):
    monkeypatch.chdir(ROOT)
    (block,) = blocks("yaml")
    words = [
        f"--{key}={parameter.get('values', [parameter.get('min')])[0]}"
        for key, parameter in yaml.safe_load(block)["parameters"].items()
    ]
    config = ["--config=configs/quickstart.yaml", "--data.augment=S4"]
    recipe = read_recipe(parse_recipe(self_train_parser(), [*config, *words]))
    assert recipe.pseudo_label["score_threshold"] == 0.3
    assert recipe.data["augment_options"] == {"magnitude": 3}
