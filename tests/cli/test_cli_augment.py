"""Every augmentation can be chosen in a config or on the command line: a policy, its options, an own one."""

import contextlib
import io

import pytest
import yaml

from lightning_st.cli import main
from lightning_st.cli.stage_commands import parse_recipe, read_recipe, recipe_parser
from lightning_st.data import SelfTrainingDataModule
from lightning_st.stages.building import build
from lightning_st.transforms import PaperPolicy
from lightning_st.transforms.albumentations_policy import AlbumentationsPolicy
from lightning_st.transforms.policy import AutoAugment, RandAugment

COMPOSE = """
class_path: albumentations.Compose
init_args:
  transforms:
  - class_path: albumentations.HorizontalFlip
    init_args: {p: 0.25}
"""


def policy_of(words):
    parser = recipe_parser("self_train", "")
    config = parse_recipe(parser, ["--output=x", "--model=lightning_st.RetinaNet", "--data.image_size=64", *words])
    return SelfTrainingDataModule(**build(read_recipe(config).data))._policy


@pytest.mark.parametrize(
    ("words", "policy"),
    [
        (
            ["--data.augment=S4", "--data.augment_options.magnitude=5", "--data.augment_options.layers=2"],
            PaperPolicy((64, 64), (0.5, 2.0), 0.5, RandAugment(5, 2)),
        ),
        (
            ["--data.augment=S2", "--data.augment_options={auto_augment: v3, scale_jitter: [0.1, 1.9]}"],
            PaperPolicy((64, 64), (0.1, 1.9), 0.5, AutoAugment("v3")),
        ),
        (["--data.augment_options.flip_probability=0"], PaperPolicy((64, 64), (0.8, 1.2), 0)),
    ],
)
def test_options_of_a_policy(words, policy):
    assert policy_of(words) == policy


def test_an_own_compose():
    policy = policy_of([f"--data.augment={COMPOSE}"])
    assert isinstance(policy, AlbumentationsPolicy)
    assert policy._compose.transforms[0].p == 0.25


@pytest.mark.parametrize("command", ["self_train", "fit"])
def test_print_config_shows_them(command, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lightning_st"])
    words = ["--data.augment=S4", "--data.augment_options.magnitude=5", "--print_config"]
    model = "lightning_st.TeacherModule" if command == "fit" else "lightning_st.RetinaNet"
    with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit):
        main([command, f"--model={model}", *words])
    data = yaml.safe_load(printed.getvalue())["data"]
    assert (data["augment"], data["augment_options"]) == ("S4", {"magnitude": 5})


def test_an_unknown_option_is_one_sentence(tmp_path, capsys):
    words = ["--model=lightning_st.RetinaNet", "--data.augment=S4", "--data.augment_options.magnitud=5"]
    assert main(["self_train", "--output", str(tmp_path / "run"), *words]) == 2
    assert "Unknown option of augment 'magnitud'. Did you mean 'magnitude'?" in capsys.readouterr().err
