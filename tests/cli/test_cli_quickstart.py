"""The configs that come with the package are found by name in any folder, and copied for who wants to change them."""

from pathlib import Path

import pytest

from lightning_st.cli import main
from lightning_st.cli.shipped_configs import SHIPPED, find_shipped, shipped_names
from lightning_st.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_it_says_the_command_and_every_config(capsys):
    assert main(["quickstart"]) == 0
    out = capsys.readouterr().out
    assert "lightning_st self_train --config configs/quickstart.yaml" in out
    assert {line.strip() for line in out.splitlines() if line.strip().startswith("configs/")} == set(shipped_names())
    assert len(shipped_names()) == len(list((ROOT / "configs").rglob("*.yaml")))


@pytest.mark.usefixtures("_elsewhere")
def test_it_copies_them_to_a_new_or_empty_folder(capsys):
    assert main(["quickstart", "--output", "mine"]) == 0
    assert "lightning_st self_train --config mine/quickstart.yaml" in capsys.readouterr().out
    for path in (path for path in (ROOT / "configs").rglob("*") if path.is_file()):
        assert (Path("mine") / path.relative_to(ROOT / "configs")).read_bytes() == path.read_bytes()
    Path("empty").mkdir()
    assert main(["quickstart", "--output", "empty"]) == 0


@pytest.mark.usefixtures("_elsewhere")
def test_it_writes_over_nothing(capsys):
    Path("mine").mkdir()
    Path("mine", "quickstart.yaml").write_text("changed")
    for folder in ("mine", "mine/quickstart.yaml"):
        assert main(["quickstart", "--output", folder]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert Path("mine", "quickstart.yaml").read_text() == "changed"


@pytest.mark.usefixtures("_elsewhere")
def test_a_shipped_config_is_found_in_any_folder_and_said_to_be_one(capsys):
    quickstart = str(SHIPPED / "quickstart.yaml")
    words = [
        "--config",
        "configs/quickstart.yaml",
        "--config=configs/detection/cpu_small.yaml",
        "--output",
        "configs/x",
    ]
    found = ["--config", quickstart, f"--config={SHIPPED / 'detection' / 'cpu_small.yaml'}", "--output", "configs/x"]
    assert find_shipped(words) == found
    assert capsys.readouterr().err.splitlines()[0] == (
        "lightning_st: configs/quickstart.yaml is the one that comes with lightning_st."
    )


@pytest.mark.usefixtures("_elsewhere")
def test_a_file_of_the_user_comes_first(capsys):
    Path("configs").mkdir()
    Path("configs", "quickstart.yaml").write_text("seed_everything: 1\n")
    words = ["--config", "configs/quickstart.yaml", "--config"]
    assert find_shipped(words) == words
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("configs/quickstar.yaml", "Did you mean 'configs/quickstart.yaml'?"),
        ("configs/xyz", "`lightning_st quickstart`"),
    ],
)
def test_a_config_that_is_nowhere_is_one_sentence(capsys, name, hint):
    assert main(["self_train", "--config", name]) == 2
    error = capsys.readouterr().err
    assert name in error
    assert hint in error
    assert error.count("\n") == 1
    with pytest.raises(ConfigError, match="nor among the configs"):
        find_shipped([f"--config={name}"])


@pytest.mark.parametrize(
    "words", [["--config", "nowhere.yaml"], ["--config", "/configs/quickstart.yaml"], ["configs/x"]]
)
def test_other_names_are_left_to_the_command(words):
    assert find_shipped(words) == words
