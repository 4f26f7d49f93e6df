"""Fixtures that every room shares."""

import logging
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import helpers
import pytest
import recipes

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or its import asks the network for its newest version

SHARED_DATA = Path(os.environ.get("LIGHTNING_ST_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the fault tests be run in full."""
    parser.addoption("--kills", type=int, default=8, help="how often tests/faults kills runs, in all")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Spell out what no UTF-8 can say, such as some names of files: pytest-xdist cannot send it."""
    report = yield
    report.sections = [(title, plain_text(text)) for title, text in report.sections]
    if report.longrepr is not None and not isinstance(report.longrepr, tuple):
        text = str(report.longrepr)
        report.longrepr = report.longrepr if text == plain_text(text) else plain_text(text)
    return report


def plain_text(text: str) -> str:
    """Return a text with escapes in the place of half surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.fixture(autouse=True)
def _cache_in_tmp(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("LIGHTNING_ST_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A command in one test does not decide what another logs."""
    yield
    log = logging.getLogger("lightning_st")
    log.setLevel(logging.NOTSET)
    log.handlers.clear()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the real development data sets; its README.md says what they are."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the development data sets in {SHARED_DATA} (or in LIGHTNING_ST_SHARED_DATA)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def make_coco() -> Callable[..., tuple[Path, Path]]:
    """Return `helpers.write_coco`: (folder, image_count, size, seed, classes, labeled) -> (images, annotations)."""
    return helpers.write_coco


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A tiny recipe, and the folder of its complete run with the control arm. Copy what you change."""
    from lightning_st.stages import self_train

    folder = tmp_path_factory.mktemp("tiny")
    recipe = {**recipes.tiny_recipe(folder / "data"), "control": True}
    recipe["data"]["cache_folder"] = str(folder / "cache")
    self_train(recipe, folder / "run")
    return recipe, folder / "run"


@pytest.fixture
def wandb_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """W&B without a network: `started`, the runs; `logged`, what each was told, by its id; the `artifacts` of all."""
    import wandb
    from wandb.sdk.wandb_run import Run  # older ones have no wandb.Run

    for name, value in {"MODE": "offline", "SILENT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path))
    runs, init, log = SimpleNamespace(started=[], logged={}, artifacts=[]), wandb.init, Run.log

    def noting_init(**options: Any) -> Any:
        runs.started.append(init(**options))
        return runs.started[-1]

    def noting_log(run: Any, data: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        runs.logged.setdefault(run.id, {}).update(data)
        log(run, data, *args, **kwargs)

    log_artifact = Run.log_artifact

    def noting_log_artifact(run: Any, artifact: Any, *args: Any, **kwargs: Any) -> Any:
        runs.artifacts.append(artifact)
        return log_artifact(run, artifact, *args, **kwargs)

    monkeypatch.setattr(Run, "log_artifact", noting_log_artifact)
    monkeypatch.setattr(wandb, "init", noting_init)
    monkeypatch.setattr(Run, "log", noting_log)
    yield runs
    if wandb.run is not None:
        wandb.run.finish()
    wandb.teardown()  # else the next test would have the environment of this one
