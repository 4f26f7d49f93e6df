"""The recipes of configs/pretrain: parsed, of the published size, with the published learning rates."""

from pathlib import Path

import pytest
import torch

from lightning_st.cli import main
from lightning_st.cli.pretrain_command import parse_pretrain, read_pretrain
from lightning_st.modules import Schedule
from lightning_st.stages import PretrainRecipe
from lightning_st.stages.building import build_factory

FOLDER = Path(__file__).parents[1] / "configs" / "pretrain"

# Trainable parameters: torchvision counts 25,557,032 for a ResNet-50 with 1000 classes; SimCLR's has, instead of the
# 2,049,000 of its classes, a head of 2048 x 2048 and 2048 x 128 weights; a detector of B7 has 72,050,727.
SIZES = {
    "classification": 25_557_032,
    "simclr": 25_557_032 - 2_049_000 + 2048 * 2048 + 2 * 2048 + 2048 * 128 + 128,
    "joint": 72_050_727 + 1000 * 640 + 1000,
}
RATES = {
    "classification": {0: 0.1, 6256: 0.4, 112_603: 0.0},
    "simclr": {0: 0.0067, 12_511: 0.2, 250_228: 0.0},
    "joint": {0: 0.0032, 1000: 0.32, 95_086: 0.0},
}


def read(name: str) -> PretrainRecipe:
    return read_pretrain(parse_pretrain(["--config", str(FOLDER / f"{name}.yaml"), "--output", "out"]))


def test_no_file_is_left_out():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == SIZES.keys() == RATES.keys()


@pytest.mark.parametrize("name", SIZES)
def test_the_model_has_the_published_size(name):
    recipe = read(name)
    classes = [str(number) for number in range(91 if name == "joint" else 1000)]
    more = {"image_class_count": 1000} if name == "joint" else {}
    with torch.device("meta"):
        model = build_factory(recipe.model)(classes, **more)
    assert sum(parameter.numel() for parameter in model.parameters()) == SIZES[name]


@pytest.mark.parametrize("name", RATES)
def test_the_learning_rate_is_the_published_one(name):
    section = read(name).training
    warmup_lr = section["warmup_lr"] or 0.0067
    keys = ("schedule", "warmup_steps")
    schedule = Schedule(section["lr"], section["max_steps"], *(section[key] for key in keys), warmup_lr)
    assert {step: schedule.learning_rate(step) for step in RATES[name]} == pytest.approx(RATES[name], abs=1e-9)


def test_joint_training_adds_the_losses():
    settings = read("joint").settings(is_joint=True)
    assert (settings.module["alpha"], settings.module["normalize_loss"]) == (1.0, False)


@pytest.mark.parametrize("name", SIZES)
def test_inspect_takes_them(name, capsys):
    assert main(["inspect", "--config", str(FOLDER / f"{name}.yaml"), "--data.image_size=64"]) == 0
    assert "backbone" in capsys.readouterr().out
