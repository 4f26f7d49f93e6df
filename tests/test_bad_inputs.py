"""What a user can get wrong, one row a mistake: it costs a sentence, or what is wrong alone, and never a traceback."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recipes
import yaml
from bad_inputs import coco, configs, formats, paths
from bad_inputs.case import Bad, Case, Refused, Used

from lightning_st.data import SelfTrainingDataModule

TABLES = {"COCO": coco.TABLE, **formats.TABLES, "paths": paths.TABLE, **configs.TABLES}
ROWS = [pytest.param(row, id=f"{table}: {row.name}") for table, rows in TABLES.items() for row in rows]


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A recipe, and the folder of its data."""
    folder = tmp_path_factory.mktemp("clean")
    return recipes.tiny_recipe(folder / "data"), folder


@pytest.fixture
def case(clean, tmp_path):
    """A copy of the data that a row may spoil, with its recipe."""
    recipe, folder = clean
    shutil.copytree(folder / "data", tmp_path / "data")
    return Case(tmp_path, yaml.safe_load(yaml.safe_dump(recipe).replace(str(folder), str(tmp_path))))


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    errors = capsys.readouterr().err
    lines = [line for line in errors.splitlines() if line.startswith("lightning_st: ")]
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    assert len(lines[0]) < 1000
    return lines[0]


@pytest.mark.parametrize("row", ROWS)
def test_a_row(case: Case, capsys: pytest.CaptureFixture[str], row: Bad) -> None:
    row.spoil(case)
    status = case.run(row.command)
    if isinstance(row.outcome, Refused):
        sentence = one_sentence(capsys)
        assert status == 2
        assert re.search(row.outcome.sentence, sentence), sentence
        return
    said = capsys.readouterr()
    assert status in (0, 1), said.out + said.err  # 1: nothing is left of so small a set
    assert re.search(row.outcome.said, said.out), said.out
    if isinstance(row.outcome, Used):
        index = SelfTrainingDataModule(**case.recipe["data"]).open_sources(1.0)["labeled"].index
        facts = {name: np.asarray(getattr(index, name)).tolist() for name in row.outcome.facts}
        assert facts == row.outcome.facts
