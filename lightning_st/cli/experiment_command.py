"""``lightning_st experiment``: every combination of the levels of some factors, for every seed, and their tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from lightning_st.cli.console import prepare_console
from lightning_st.cli.stage_commands import parse_recipe, recipe_parser
from lightning_st.errors import StageError
from lightning_st.reports.experiment_page import write_experiment_report
from lightning_st.stages.arms import ExperimentSettings
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
        run_experiment(_shared(config), settings, output, restart=config["restart"])
    except StageError as error:
        if not (output / "experiment.json").exists():
            raise
        failure = error
    write_experiment_report(output)
    print(f"Report: {output / 'report' / 'index.html'}")
    if failure is not None:
        raise failure


def experiment_parser() -> ArgumentParser:
    """Return a parser of recipes with factors."""
    about = (
        "Run self-training for every combination of factors and seeds, and hold the paper's claims against the "
        "results. Takes the config of self_train, and a section experiment: factors, seeds, budget."
    )
    parser = recipe_parser("experiment", about)
    parser.add_class_arguments(ExperimentSettings, "experiment", instantiate=False)
    return parser


def _shared(config: dict[str, Any]) -> dict[str, Any]:
    """Return what all arms share."""
    return {key: value for key, value in config.items() if key not in ("config", "output", "restart", "control")}
