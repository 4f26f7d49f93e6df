"""``lightning_st self_train`` and ``lightning_st pseudo_label``: one recipe file serves both."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from lightning_st.cli.console import prepare_console, say
from lightning_st.cli.parsing import RUN_KEYS, add_run_arguments, add_train_settings, make_parser, parse
from lightning_st.cli.pretrain_command import check_pretrain
from lightning_st.cli.vocabulary import recipe_vocabulary
from lightning_st.data import SelfTrainingDataModule
from lightning_st.modules import StudentModule, TeacherModule
from lightning_st.reports import write_report
from lightning_st.stages import PseudoLabelSettings, Recipe, TrackingSettings
from lightning_st.stages import pseudo_label as run_pseudo_label
from lightning_st.stages import self_train as run_self_train
from lightning_st.stages.owned import owned_in

_PRETRAIN = {
    "model": "a pre-training to begin with: ImageClassifier, SimCLR or JointDetector by class_path; the backbone is "
    "that of model",
    "data": "as in lightning_st pretrain; what is missing is the run's, such as data.unlabeled for SimCLR",
    "training": "as in lightning_st pretrain: max_steps, lr ...",
    "trainer": "what differs from trainer",
}


def self_train(words: Sequence[str]) -> None:
    """Run the whole of self-training and write its report."""
    parser = self_train_parser()
    config = parse_recipe(parser, words)
    prepare_console()
    output = Path(config["output"])
    run_self_train(read_recipe(config), output, restart=config["restart"], shared=config["shared"])
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        write_report(output)
        say(f"Report: {output / 'report' / 'index.html'}")


def pseudo_label(words: Sequence[str]) -> None:
    """Label the unlabelled images with a checkpoint."""
    about = (
        "Label images with a checkpoint. Takes the config of self_train: data, model, pseudo_label, trainer are read."
    )
    parser = recipe_parser("pseudo_label", about)
    parser.add_argument("--checkpoint", type=str, required=True, help="a checkpoint of a teacher or a student")
    config = parse_recipe(parser, words)
    prepare_console()
    run_pseudo_label(read_recipe(config), Path(config["checkpoint"]), Path(config["output"]), restart=config["restart"])


def self_train_parser() -> ArgumentParser:
    """Return the parser of ``self_train``."""
    parser = recipe_parser("self_train", "Train a teacher, label with it, train a student on both; then report.")
    about = "a folder for teachers, pseudo-labels and controls that several runs have in common, as those of a sweep"
    parser.add_argument("--shared", type=str | None, default=None, help=about)
    return parser


def recipe_parser(command: str, about: str) -> ArgumentParser:
    """Return a parser of recipes: the keys that both commands share."""
    parser = make_parser(command, about)
    add_run_arguments(parser)
    parser.add_argument("--rounds", type=int, default=1, help="times that labels are made and a student is trained")
    parser.add_argument(
        "--patience",
        type=int | None,
        default=None,
        help="stop after so many rounds in a row that did not help on val, and take the best; null: run all",
    )
    parser.add_argument(
        "--control",
        type=bool | Literal["epochs", "compute"],
        default=False,
        help="also train a teacher for as many steps as both (true or epochs), or on as many images (compute)",
    )
    parser.add_class_arguments(SelfTrainingDataModule, "data", skip=set(owned_in("data")), instantiate=False)
    skip = set(owned_in("model"))
    parser.add_subclass_arguments(torch.nn.Module, "model", skip=skip, required=True, instantiate=False)
    for name, module in (("teacher", TeacherModule), ("student", StudentModule)):
        parser.add_class_arguments(module, name, skip={*owned_in(name), "init"}, instantiate=False)
        add_train_settings(parser, name)
    parser.add_argument("--student.init", type=str, default="random", help="random, teacher, or a checkpoint file")
    parser.add_subclass_arguments(torch.nn.Module, "student.model", skip=skip, required=False, instantiate=False)
    parser.add_class_arguments(PseudoLabelSettings, "pseudo_label", instantiate=False)
    for name, about_part in _PRETRAIN.items():
        parser.add_argument(f"--pretrain.{name}", type=dict[str, Any], default={}, help=about_part)
    parser.add_class_arguments(TrackingSettings, "tracking", instantiate=False)
    parser.add_class_arguments(Trainer, "trainer", skip=set(owned_in("trainer")), instantiate=False)
    return parser


def parse_recipe(parser: ArgumentParser, words: Sequence[str]) -> dict[str, Any]:
    """Return the words of a command that takes a recipe as plain data: see ``parsing.parse``."""
    return parse(parser, words, recipe_vocabulary, is_recipe=True)


def read_recipe(config: dict[str, Any]) -> Recipe:
    """Return the recipe of a parsed config."""
    sections = {key: value for key, value in config.items() if key not in RUN_KEYS}
    recipe = Recipe(**sections, seed=config["seed_everything"])
    check_pretrain(recipe)
    return recipe
