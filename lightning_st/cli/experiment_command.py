"""``lightning_st experiment``: every combination of the levels of some factors, for every seed, and their tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from lightning_st.cli.console import prepare_console, say
from lightning_st.cli.parsing import parse_fields
from lightning_st.cli.stage_commands import parse_recipe, read_recipe, recipe_parser
from lightning_st.cli.vocabulary import recipe_vocabulary
from lightning_st.errors import StageError
from lightning_st.reports.experiment_page import write_experiment_report
from lightning_st.stages import Recipe
from lightning_st.stages.arms import ExperimentSettings, RecipeReader
from lightning_st.stages.experiment import run_experiment


def experiment(words: Sequence[str]) -> None:
    """Run all arms, or what is left of them, and write the tables; they are written too where arms have failed.

    Raises:
        StageError: If arms failed.
    """
    parser = experiment_parser()
    config = parse_recipe(parser, words)
    prepare_console()
    settings = ExperimentSettings(**config.pop("experiment"))
    output = Path(config["output"])
    failure: StageError | None = None
    try:
        run_experiment(_shared(config), settings, output, restart=config["restart"], read=arm_reader())
    except StageError as error:
        if not (output / "experiment.json").exists():
            raise
        failure = error
    write_experiment_report(output)
    say(f"Report: {output / 'report' / 'index.html'}")
    if failure is not None:
        raise failure


def experiment_parser() -> ArgumentParser:
    """Return a parser of recipes with factors."""
    about = (
        "Run self-training for every combination of factors and seeds, and hold the paper's claims against the "
        "results. Takes the config of self_train, and a section experiment: factors, seeds, budget."
    )
    parser = recipe_parser("experiment", about)
    parser.add_class_arguments(ExperimentSettings, "experiment", skip={"factors"}, instantiate=False)
    about_factors = "each factor's levels: a list of values, or by name the parts of a recipe in which they differ"
    parser.add_argument("--experiment.factors", type=dict, default={}, help=about_factors)  # as they were given
    return parser


def arm_reader() -> RecipeReader:
    """Return what reads the recipe of an arm as the command line reads that of a run: the parser saw no level's values.

    What it returns raises a ConfigError of one sentence, with the key.
    """
    parser = recipe_parser("experiment", "")

    def read(fields: Mapping[str, Any]) -> Recipe:
        named = {key: value for key, value in fields.items() if key != "seed"}
        return read_recipe(
            parse_fields(parser, {**named, "seed_everything": fields["seed"], "output": ""}, recipe_vocabulary)
        )

    return read


def _shared(config: dict[str, Any]) -> dict[str, Any]:
    """Return what all arms share."""
    return {key: value for key, value in config.items() if key not in ("config", "output", "restart", "control")}
