"""The files of sweeps/, given to W&B's own agent, offline: what it would start is parsed, and some of it is run."""

import json
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from lightning_st.cli import main
from lightning_st.cli.stage_commands import parse_recipe, read_recipe, self_train_parser
from lightning_st.errors import ConfigError
from lightning_st.stages.building import build_factory

wandb_agent = pytest.importorskip("wandb.wandb_agent")

ROOT = Path(__file__).parent.parent
SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
PROGRAM = ["/usr/bin/env", "python", "-m", "lightning_st", "self_train"]
KNOWN = {"program", "command", "method", "metric", "parameters", "run_cap"}


def name(path):
    return path.stem


def levels(parameter):
    """Return the values of a parameter, or the ends of its distribution."""
    return parameter["values"] if "values" in parameter else [parameter["min"], parameter["max"]]


def combinations(sweep):
    names = list(sweep["parameters"])
    return [dict(zip(names, values, strict=True)) for values in product(*map(levels, sweep["parameters"].values()))]


@pytest.fixture
def agent(monkeypatch, tmp_path):
    """Return a function from a sweep, a run's id and its parameters to the words that the agent would start."""
    for variable in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # it sets these
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    started = []
    monkeypatch.setattr(wandb_agent, "AgentProcess", lambda **options: started.append(options) or SimpleNamespace())

    def command(sweep, run_id, parameters):
        one = wandb_agent.Agent(api=None, queue=None, sweep_id="sweep")
        one._sweep_command = list(sweep["command"])
        args = {key: {"value": value} for key, value in parameters.items()}
        answer = one._process_command({"type": "run", "run_id": run_id, "program": sweep["program"], "args": args})
        assert "exception" not in answer, answer
        assert started[-1]["command"][: len(PROGRAM)] == PROGRAM
        return started[-1]["command"][len(PROGRAM) :]

    return command


@pytest.mark.parametrize("path", SWEEPS, ids=name)
def test_a_sweep_is_one_that_wandb_takes(path):
    sweep = yaml.safe_load(path.read_text())
    assert sweep.keys() <= KNOWN
    assert sweep["method"] in ("grid", "random", "bayes")
    for parameter in sweep["parameters"].values():
        if sweep["method"] == "grid":
            assert parameter.keys() == {"values"}
        assert parameter.keys() in ({"values"}, {"distribution", "min", "max"})
        assert parameter.get("distribution", "log_uniform_values") == "log_uniform_values"


@pytest.mark.parametrize("path", SWEEPS, ids=name)
def test_a_sweep_has_the_published_schema(path):
    """The package `sweeps` has it, which cannot be installed beside numpy 2 but with `pip install --no-deps sweeps`."""
    jsonschema = pytest.importorskip("jsonschema")
    from importlib.metadata import PackageNotFoundError, files

    try:
        (schema,) = [file for file in files("sweeps") or [] if file.name == "schema.json"]
    except PackageNotFoundError:
        pytest.skip("needs `pip install --no-deps sweeps`")
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(schema.read_text()))


@pytest.mark.parametrize("path", SWEEPS, ids=name)
def test_every_command_line_of_a_sweep_is_understood(agent, monkeypatch, path):
    monkeypatch.chdir(ROOT)
    sweep = yaml.safe_load(path.read_text())
    parser, recipes = self_train_parser(), []
    for parameters in combinations(sweep):
        config = parse_recipe(parser, agent(sweep, "a1b2", parameters))
        assert config["output"] == f"runs/{path.stem}/a1b2"
        recipes.append(read_recipe(config).to_json())
    assert len({json.dumps(recipe) for recipe in recipes}) == len(recipes) > 1
    for model in {json.dumps(recipe["model"]): recipe["model"] for recipe in recipes}.values():
        with torch.device("meta"):
            build_factory(model)(["tree"])


# W&B leaves the file of a sweep's parameters to the garbage collector to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", SWEEPS, ids=name)
def test_a_run_of_a_sweep_reports_its_metric(agent, tiny_run, tmp_path, monkeypatch, wandb_runs, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    sweep = yaml.safe_load(path.read_text())
    words = agent(sweep, "a1b2", combinations(sweep)[0])
    sources = [
        f"--data.{split}.{key}={value}"
        for split in ("labeled", "unlabeled", "val")
        for key, value in tiny_run[0]["data"][split].items()
    ]
    small = ["--data.example=null", "--data.image_size=64", "--data.num_workers=0", "--model.score_threshold=0.001"]
    short = ["--teacher.max_steps=2", "--student.max_steps=2", "--pseudo_label.score_threshold=0.001"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    assert main(["self_train", *words, *sources, *small, *short, *quiet]) == 0
    (run,) = wandb_runs.started
    assert run.id == "a1b2"
    logged = wandb_runs.logged["a1b2"]
    evaluation = json.loads((tmp_path / f"runs/{path.stem}/a1b2/round_0/student/evaluation.json").read_text())
    assert logged[sweep["metric"]["name"]] == evaluation["splits"]["val"]["AP"]
    assert {"round_0/teacher/train/loss", "round_0/student/train/loss"} <= logged.keys()
    assert run.config["round_0/student"]["student"]["max_steps"] == 2


def test_a_variable_that_is_not_there_is_named(monkeypatch):
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    words = ["--output", "runs/$WANDB_RUN_ID", "--model", "lightning_st.RetinaNet"]
    with pytest.raises(ConfigError, match="there is no environment variable WANDB_RUN_ID"):
        parse_recipe(self_train_parser(), words)
