"""``lightning_st pretrain``: one model whose backbone others start from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from lightning_st.cli.console import prepare_console, say
from lightning_st.cli.parsing import RUN_KEYS, add_run_arguments, add_train_settings, make_parser, parse, parse_fields
from lightning_st.cli.vocabulary import pretrain_vocabulary
from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError
from lightning_st.modules import TeacherModule
from lightning_st.stages import PretrainRecipe, Recipe, TrackingSettings
from lightning_st.stages import pretrain as run_pretrain
from lightning_st.stages.owned import owned_in
from lightning_st.stages.pretrain_section import whole_section


def pretrain(words: Sequence[str]) -> None:
    """Pre-train a backbone and say which checkpoint to give."""
    config = parse_pretrain(words)
    prepare_console()
    checkpoint = run_pretrain(read_pretrain(config), Path(config["output"]), restart=config["restart"])
    say(f"For another model: --model.pretrained {checkpoint}")


def pretrain_parser() -> ArgumentParser:
    """Return the parser of the command."""
    about = (
        "Train a model whose backbone others start from: ImageClassifier on data.labeled (a folder a class), SimCLR on "
        "data.unlabeled, or JointDetector on data.labeled (boxes) and data.joint (a folder a class)."
    )
    parser = make_parser("pretrain", about)
    add_run_arguments(parser)
    parser.add_class_arguments(SelfTrainingDataModule, "data", skip=set(owned_in("data")), instantiate=False)
    skip = set(owned_in("model"))
    parser.add_subclass_arguments(torch.nn.Module, "model", skip=skip, required=True, instantiate=False)
    parser.add_class_arguments(TeacherModule, "training", skip=set(owned_in("training")), instantiate=False)
    add_train_settings(parser, "training")
    about_alpha = "in joint training: weight of the classes of whole images; null: 1"
    parser.add_argument("--training.alpha", type=float | None, default=None, help=about_alpha)
    parser.add_class_arguments(TrackingSettings, "tracking", instantiate=False)
    parser.add_class_arguments(Trainer, "trainer", skip=set(owned_in("trainer")), instantiate=False)
    return parser


def parse_pretrain(words: Sequence[str]) -> dict[str, Any]:
    """Return the words of the command as plain data: see ``parsing.parse``."""
    return parse(pretrain_parser(), words, pretrain_vocabulary, is_recipe=True)


def read_pretrain(config: dict[str, Any]) -> PretrainRecipe:
    """Return the recipe of a parsed config."""
    sections = {key: value for key, value in config.items() if key not in RUN_KEYS}
    return PretrainRecipe(**sections, seed=config["seed_everything"])


def check_pretrain(recipe: Recipe) -> None:
    """Refuse values in the section ``pretrain`` of a run's recipe that the command itself would refuse.

    Raises:
        ConfigError: One sentence with the key.
    """
    try:
        section = whole_section(recipe)
        if section is not None:
            parse_fields(pretrain_parser(), {**section, "output": ""}, pretrain_vocabulary)
    except ConfigError as error:
        raise ConfigError(f"pretrain: {error}") from error
