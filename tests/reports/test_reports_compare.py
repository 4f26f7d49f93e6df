"""Several runs side by side: means and standard errors worked out by hand, and no seed counted twice."""

import math
from pathlib import Path

import fake_runs
import pytest

from lightning_st.errors import StageError
from lightning_st.reports import compare_runs


def make(folder: Path, seed: int, teacher: float, student: float, control: float | None = None, **settings) -> Path:
    config = {"seed": seed, "student": {"max_steps": 1600, **settings}}
    arm = None if control is None else {"test": control}
    return fake_runs.make_run(folder, {"test": teacher}, {"test": student}, arm, image_count=1, config=config)


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_runs_of_several_seeds_are_one_row_with_paired_errors(tmp_path):
    runs = [
        make(tmp_path / "a", 0, 0.30, 0.32, 0.31),
        make(tmp_path / "b", 1, 0.32, 0.35, 0.33),
        make(tmp_path / "c", 2, 0.28, 0.29, 0.29),
    ]
    text = compare_runs(runs)
    ((names, settings, split, seeds, teacher, student, gain, control, over_control),) = rows(text)
    assert names == ", ".join(map(str, runs))
    assert (settings, split, seeds) == ("-", "test", "3")
    # teacher: mean 0.30, squares 0 + 0.0004 + 0.0004 over 2, root 0.02, over root 3: 0.0115
    assert teacher == "0.300 ± 0.012"
    # student: mean 0.32, deviations 0, 0.03, -0.03: root of 0.0018 / 2 = 0.03, over root 3
    assert student == f"0.320 ± {0.03 / math.sqrt(3):.3f}"
    # gains 0.02, 0.03, 0.01: mean 0.02, deviation 0.01, over root 3: 0.0058; unpaired it would be 0.021
    assert gain == "+0.020 ± 0.006"
    assert control == "0.310 ± 0.012"
    # 0.01, 0.02, 0.00
    assert over_control == "+0.010 ± 0.006"


def test_runs_of_other_settings_stand_apart_and_say_which(tmp_path):
    runs = [make(tmp_path / "a", 0, 0.3, 0.32), make(tmp_path / "b", 0, 0.3, 0.34, init="teacher")]
    first, second = rows(compare_runs(runs))
    assert (first[1], second[1]) == ("student.init=null", "student.init=teacher")
    assert (first[5], second[5]) == ("0.320", "0.340")
    assert (first[3], second[3]) == ("1", "1")
    assert first[7] == "-"


def test_other_data_are_other_settings(tmp_path):
    runs = [make(tmp_path / "a", 0, 0.3, 0.32), make(tmp_path / "b", 1, 0.3, 0.34)]
    config = {"seed": 1, "student": {"max_steps": 1600}}
    fake_runs.write_run_manifest(runs[1], config=config, fingerprints={"labeled": "ff" * 32})
    assert len(rows(compare_runs(runs))) == 2


def test_a_seed_counts_once(tmp_path):
    runs = [make(tmp_path / name, seed, 0.3, 0.32) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    text = compare_runs(runs)
    ((names, _, _, seeds, *_),) = rows(text)
    assert (names, seeds) == (f"{runs[0]}, {runs[2]}", "2")
    assert f"Left out, for a run with the same settings and seed is in the table: {runs[1]}." in text


def test_seed_everything_is_the_seed_too(tmp_path):
    runs = [make(tmp_path / "a", 0, 0.3, 0.32), make(tmp_path / "b", 0, 0.3, 0.34)]
    for number, run in enumerate(runs):
        fake_runs.write_run_manifest(run, config={"seed_everything": number})
    ((_, _, _, seeds, *_),) = rows(compare_runs(runs))
    assert seeds == "2"


def test_an_unfinished_run_is_counted_where_it_has_numbers(tmp_path):
    runs = [make(tmp_path / "a", 0, 0.30, 0.32), make(tmp_path / "b", 1, 0.32, 0.35)]
    fake_runs.write_training(runs[1] / "round_0" / "student", None, state="running")
    ((_, _, _, seeds, teacher, student, gain, *_),) = rows(compare_runs(runs))
    assert (seeds, teacher, student, gain) == ("2", "0.310 ± 0.010", "0.320 (of 1)", "+0.020 (of 1)")


def test_a_run_without_scores_has_a_row_all_the_same(tmp_path):
    run = fake_runs.make_run(tmp_path / "a", None, None, image_count=1)
    assert rows(compare_runs([run])) == [[str(run), "-", "-", "1", "-", "-", "-", "-", "-"]]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(StageError, match="is not a self-training run"):
        compare_runs([tmp_path])
