"""Every figure of benchmarks/ runs, a missing peer is no win, and the README has the table of the results."""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys

import pytest

from benchmarks import change_works, changes, measuring, results, running
from benchmarks.__main__ import main
from benchmarks.measuring import Comparison
from benchmarks.running import figures


def has_history(folder):
    """Whether the checkout has git's history; an sdist has none."""
    try:
        changes.unpack(changes.CHANGES["index"].before, folder)
    except measuring.NotMeasured:
        return False
    return True


@pytest.mark.slow
def test_the_tiny_form_of_each_figure_runs_and_saves_its_turns(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--repetitions", "1", "--output", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=results.HERE.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-20000:]
    without = set() if has_history(tmp_path / "history") else {"changes"}
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert found.keys() == set(figures()) - without
    for figure, result in found.items():
        assert result["figure"] == figure
        assert result["comparisons"]
        for comparison in result["comparisons"]:
            assert comparison["ours"]
            assert all(value >= 0 for value in comparison["ours"]), comparison


def say_where(queue):
    """Put the number of this process, and how it starts others."""
    queue.put((os.getpid(), multiprocessing.get_start_method()))


def say_nothing(queue):
    """Put nothing."""


def test_a_turn_in_a_process_of_its_own_starts_workers_as_a_command_does(tmp_path):
    process, method = measuring.Settings(tmp_path).in_process(say_where)
    assert process != os.getpid()
    assert method == multiprocessing.get_all_start_methods()[0]
    assert measuring.Settings(tmp_path, tiny=True).in_process(say_where)[0] == os.getpid()
    with pytest.raises(RuntimeError, match="the process of say_nothing ended with status 0 and no answer"):
        measuring.Settings(tmp_path).in_process(say_nothing)


def test_figures_run_in_processes_of_their_own_and_those_that_fail_are_counted(tmp_path, capfd):
    arguments = argparse.Namespace(folder=tmp_path, tiny=False, repetitions=1, images=None, output=tmp_path)
    assert running.run_all(["no_such_figure", "nor_this"], arguments) == 2
    arguments.tiny = True
    assert running.run_all(["no_such_figure"], arguments) == 1
    assert capfd.readouterr().err.count("No module named 'benchmarks.no_such_figure'") == 2


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


def test_sides_take_turns_in_changing_order_and_the_first_does_not_count(monkeypatch):
    seen = []

    def side(name):
        return lambda turn: seen.append((turn, name)) or turn

    monkeypatch.setattr("gc.collect", lambda: 0)  # a second each where the whole suite lives
    values = measuring.interleave({"a": side("a"), "b": side("b"), "gone": None}, 5)
    assert values == {"a": [1, 2, 3, 4, 5], "b": [1, 2, 3, 4, 5], "gone": None}
    assert [turn for turn, _ in seen] == sorted(2 * list(range(6)))
    assert len({tuple(name for _, name in seen[i : i + 2]) for i in range(0, 12, 2)}) == 2
    seen.clear()
    measuring.interleave({"a": side("a")}, 2, warms_up=False)
    assert seen == [(1, "a"), (2, "a")]


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
