"""Every figure of benchmarks/ runs, a missing peer is no win, and the README has the table of the results."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks import change_works, changes, measuring, results
from benchmarks.__main__ import main
from benchmarks.measuring import Comparison
from benchmarks.running import figures


def skip_without_history(folder):
    """Skip where the checkout has no git history, as an sdist."""
    try:
        changes.unpack(changes.CHANGES["index"].before, folder)
    except measuring.NotMeasured as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def tiny_results(tmp_path_factory):
    """The results of the tiny forms of all figures, and what was said about those that failed."""
    folder = tmp_path_factory.mktemp("tiny")
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--repetitions", "1", "--output", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=results.HERE.parent, env=environment, capture_output=True, text=True)
    return folder, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("figure", figures())
def test_the_tiny_form_of_a_figure_runs_and_saves_its_turns(figure, tiny_results, tmp_path):
    if figure == "changes":
        skip_without_history(tmp_path)
    folder, said = tiny_results
    assert (folder / f"{figure}.json").is_file(), said
    result = json.loads((folder / f"{figure}.json").read_text())
    assert result["figure"] == figure
    assert result["comparisons"]
    for comparison in result["comparisons"]:
        assert comparison["ours"]
        assert all(value >= 0 for value in comparison["ours"])


@pytest.mark.parametrize(
    ("work", "amount", "is_done"),
    [
        ("evaluate", 20, lambda precision: 0 < precision < 1),
        ("index", 20, lambda index: len(index) == 20),
        ("open_fold", 20, lambda rows: len(rows) == 2),
        ("suppress", 20, lambda counts: len(counts) == 8),
        ("decode", 2, lambda images: [image.shape for image in images] == [(480, 640, 3)] * 2),
        ("step", 64, lambda images_per_second: images_per_second > 0),
    ],
)
def test_what_changes_are_measured_on_works_with_the_package_of_now(work, amount, is_done, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    do = change_works.WORKS[work](amount)
    assert is_done(do())
    assert is_done(do())


def test_the_figure_of_a_gpu_imports_where_there_is_little_more_than_torch():
    absent = ["albumentations", "cv2", "jsonargparse", "msgspec", "platformdirs", "pycocotools", "wandb"]
    code = f"import sys\nfor name in {absent}: sys.modules[name] = None\nimport benchmarks.gpu"
    done = subprocess.run([sys.executable, "-c", code], cwd=results.HERE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_change_has_its_work():
    assert set(changes.CHANGES) == set(change_works.WORKS)


def test_sides_take_turns_in_changing_order_and_the_first_does_not_count():
    seen = []

    def side(name):
        return lambda turn: seen.append((turn, name)) or turn

    values = measuring.interleave({"a": side("a"), "b": side("b"), "gone": None}, 5)
    assert values == {"a": [1, 2, 3, 4, 5], "b": [1, 2, 3, 4, 5], "gone": None}
    assert [turn for turn, _ in seen] == sorted(2 * list(range(6)))
    assert len({tuple(name for _, name in seen[i : i + 2]) for i in range(0, 12, 2)}) == 2


def test_a_peer_that_is_missing_is_reported_as_missing():
    assert measuring.optional("no_such_package.inner") is None
    comparison = Comparison("case", "s", "less", ours=[1.0], peers={"gone": None}, goals={"gone": 2.0})
    (row,) = results.rows_of(comparison)
    assert row[2:] == ["gone: not installed", "", "not measured"]
    with pytest.raises(ValueError, match="gone was not measured"):
        comparison.ratios("gone")


def test_a_peer_that_is_there_and_broken_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "broken_peer.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        measuring.optional("broken_peer")


@pytest.mark.parametrize(("better", "theirs", "times"), [("less", 3.0, 1.5), ("more", 1.0, 2.0)])
def test_a_ratio_says_how_many_times_better_we_are(better, theirs, times):
    assert Comparison("case", "unit", better, ours=[2.0], peers={"peer": [theirs]}).ratios("peer") == [times]


def test_goals_are_judged_by_the_median():
    comparison = Comparison("case", "s", "less", [1.0, 1.0, 1.0], {"peer": [1.0, 3.0, 9.0]}, {"peer": 2.9}, limit=0.5)
    own, beside = results.rows_of(comparison)
    assert own[-1] == "<= 0.500: not yet"
    assert beside[2:] == ["peer 3.00 (2.00-6.00)", "3.00 (2.00-6.00)", ">= 2.90: yes"]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.00123, "0.00123"), (1.234, "1.23"), (99.96, "100.0"), (12345.6, "12,346")]
)
def test_numbers_have_three_digits_that_count(value, text):
    assert results.number(value) == text


def test_an_unknown_figure_is_named_with_those_that_are_there(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["no_such_figure"])
    assert "there is no figure no_such_figure; choose from" in capsys.readouterr().err


def test_the_readme_has_the_table_of_the_results():
    text = (results.HERE / "README.md").read_text()
    assert results.table(results.load()) in text
