"""The commands of the guide are understood, every level of theirs too."""

import re
import shlex
from pathlib import Path

from lightning_st.cli.experiment_command import arm_reader, experiment_parser
from lightning_st.cli.stage_commands import parse_recipe, read_recipe, recipe_parser
from lightning_st.stages.arms import ExperimentSettings, make_arms

ROOT = Path(__file__).parents[2]


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "experiments.md").read_text(), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip()]


def test_the_commands_are_understood(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = []
    for name, *words in commands():
        names.append(name)
        if name == "self_train":
            recipe = read_recipe(parse_recipe(recipe_parser(name, ""), words))
            assert recipe.data["labeled"]["split_file"] == "COCO_supervision.txt"
            continue
        config = parse_recipe(experiment_parser(), words)
        settings = ExperimentSettings(**config.pop("experiment"))
        arms = make_arms(config, settings, arm_reader())
        assert len(arms) in (12, 24)
    assert names == ["experiment", "experiment", "self_train"]
