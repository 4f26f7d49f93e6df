"""An experiment's tables: means, paired differences, which supervised model counts, and where the claims stand."""

import json
import math
from pathlib import Path

import fake_runs
import pytest

from lightning_st.errors import StageError
from lightning_st.reports import write_experiment_report
from lightning_st.reports.estimates import estimate

GAINS = {0: 0.02, 1: 0.022, 2: 0.018}


def make_experiment(folder: Path, cells: dict[tuple[str, ...], dict[int, tuple]], factors=("augment",)) -> Path:
    """Write an experiment; a cell is by its levels, and holds for each seed (teacher, control, student) on test."""
    arms = []
    for levels, seeds in cells.items():
        named = dict(zip(factors, levels, strict=True))
        for seed, scores in seeds.items():
            name = f"arms/{','.join(levels)}/seed_{seed}"
            arms.append({"folder": name, "levels": named, "seed": seed})
            if scores is not None:
                teacher, control, student = ({"test": score, "val": score} for score in scores)
                fake_runs.make_run(folder / name, teacher, student, control=control, image_count=1)
    record = {"schema": 1, "budget": "epochs", "factors": list(factors), "arms": arms}
    (folder / "experiment.json").write_text(json.dumps(record))
    return folder


def seeds(teacher: float, gain: float, spread: float = 0.001) -> dict[int, tuple]:
    """Return three seeds whose student is ``gain`` better than its supervised model, more or less."""
    return {
        seed: (teacher + 0.01 * seed, teacher + 0.01 * seed - 0.002, teacher + 0.01 * seed + gain + spread * (seed - 1))
        for seed in range(3)
    }


def standings(results) -> dict[str, str]:
    return {claim["claim"]: claim["standing"] for claim in results["claims"]}


def test_numbers_are_those_of_students_t():
    found = estimate([0.1, 0.2, 0.3, 0.4])
    error = math.sqrt(0.05 / 3) / 2
    assert found.error == pytest.approx(error)
    assert found.half_width == pytest.approx(3.182 * error)
    assert found.sign == 1
    assert estimate([-0.1, 0.1]).sign == estimate([5.0]).sign == 0
    assert estimate([-0.1, -0.11, -0.1]).sign == -1
    assert estimate([]) is None


def test_a_cell_holds_means_and_differences_within_a_seed(tmp_path):
    results = write_experiment_report(make_experiment(tmp_path, {("S1",): seeds(0.3, 0.02)}))
    (cell,) = results["cells"]
    assert cell["supervised"]["mean"] == pytest.approx(0.31)
    assert cell["supervised"]["standard_error"] == pytest.approx(0.01 / math.sqrt(3))
    assert cell["difference"]["mean"] == pytest.approx(0.02)
    assert cell["difference"]["standard_error"] == pytest.approx(0.001 / math.sqrt(3))  # the seeds' own spread is gone
    assert list(standings(results).values()) == ["reproduced"]


def test_the_supervised_model_is_taken_at_its_better_length(tmp_path):
    """A student that beats a teacher which stopped early, and not one that trained on, shows nothing."""
    results = write_experiment_report(make_experiment(tmp_path, {("S1",): dict.fromkeys(range(3), (0.3, 0.34, 0.33))}))
    assert results["cells"][0]["supervised"]["mean"] == pytest.approx(0.34)
    assert list(standings(results).values()) == ["not reproduced"]


def test_what_is_within_the_noise_is_not_decided(tmp_path):
    results = write_experiment_report(make_experiment(tmp_path, {("S1",): seeds(0.3, 0.005, spread=0.02)}))
    assert list(standings(results).values()) == ["not decided at this size"]


def test_a_single_seed_decides_nothing(tmp_path):
    folder = make_experiment(tmp_path, {("S1",): {0: (0.3, 0.3, 0.4)}})
    results = write_experiment_report(folder)
    assert list(standings(results).values()) == ["not decided at this size"]
    assert "| S1 | 0.300 | 0.400 | +0.100 | 1 |" in (folder / "report" / "report.md").read_text()


PAPER = {
    ("S1", "random"): seeds(0.39, 0.017),
    ("S1", "imagenet"): seeds(0.40, 0.015),
    ("S4", "random"): seeds(0.44, 0.013),
    ("S4", "imagenet"): seeds(0.43, 0.013),
}


def test_the_papers_own_numbers_are_reproduced(tmp_path):
    folder = make_experiment(tmp_path, PAPER, ("augment", "initialisation"))
    found = standings(write_experiment_report(folder))
    assert found == {
        "Self-training beats the supervised model at its best length, at every level of augment, initialisation.": (
            "reproduced"
        ),
        "Pre-training (imagenet) helps with weak augmentation (S1) and not with strong (S4).": "reproduced",
        "Self-training adds to pre-training (imagenet).": "reproduced",
    }
    page = (folder / "report" / "index.html").read_text()
    assert "What initialisation changes" in page
    assert page.count("<circle") == 8


def test_pre_training_that_helps_everywhere_is_not_the_papers(tmp_path):
    cells = PAPER | {("S4", "imagenet"): seeds(0.46, 0.013)}
    found = standings(write_experiment_report(make_experiment(tmp_path, cells, ("augment", "init"))))
    claim = "Pre-training (imagenet) helps with weak augmentation (S1) and not with strong (S4)."
    assert found[claim] == "not reproduced"


def test_an_effect_of_strong_augmentation_that_is_lost_in_noise_is_not_shown_to_be_less(tmp_path):
    noisy = {seed: (0.45 + change, 0.45 + change, 0.46 + change) for seed, change in enumerate((0.03, -0.01, 0.01))}
    cells = PAPER | {("S4", "imagenet"): noisy}
    found = standings(write_experiment_report(make_experiment(tmp_path, cells, ("augment", "init"))))
    claim = "Pre-training (imagenet) helps with weak augmentation (S1) and not with strong (S4)."
    assert found[claim] == "not decided at this size"


TABLE_7 = {
    ("random", "alone"): seeds(0.307, 0.034),
    ("random", "joint"): seeds(0.336, 0.015),
    ("imagenet", "alone"): seeds(0.333, 0.027),
    ("imagenet", "joint"): seeds(0.340, 0.026),
}


def test_methods_stand_side_by_side_as_in_the_papers_table_7(tmp_path):
    folder = make_experiment(tmp_path, TABLE_7, ("initialisation", "joint"))
    found = standings(write_experiment_report(folder))
    assert found["Joint training beats training on the labels alone."] == "reproduced"
    assert found["Self-training adds to joint training."] == "reproduced"
    assert found["Self-training does more than joint training."] == "reproduced"
    text = (folder / "report" / "report.md").read_text()
    row = "| initialisation random | 0.317 ± 0.006 | 0.346 ± 0.006 (+0.029 ± 0.000 "
    assert row in text
    assert "(+0.044 ± 0.001" in next(line for line in text.splitlines() if line.startswith(row))
    assert "Ways to use more images" in (folder / "report" / "index.html").read_text()


def test_without_joint_training_nothing_is_said_of_it(tmp_path):
    folder = make_experiment(tmp_path, PAPER, ("augment", "initialisation"))
    assert not any("oint" in claim for claim in standings(write_experiment_report(folder)))
    assert "Ways to use" not in (folder / "report" / "report.md").read_text()


def test_effects_are_against_the_first_level_with_the_others_held(tmp_path):
    folder = make_experiment(tmp_path, PAPER, ("augment", "initialisation"))
    write_experiment_report(folder)
    text = (folder / "report" / "report.md").read_text()
    assert "| random | S4 - S1 | +0.050 ± 0.000 \\[+0.050, +0.050\\] |" in text
    assert "| S4 | imagenet - random | -0.010 ± 0.000" in text


def test_an_unfinished_experiment_says_what_is_missing(tmp_path):
    cells = {("S1",): seeds(0.3, 0.02), ("S4",): {0: None, 1: None, 2: None}}
    results = write_experiment_report(make_experiment(tmp_path, cells))
    assert results["unfinished"] == [f"arms/S4/seed_{seed}" for seed in range(3)]
    assert "3 arms of 6 not complete yet" in (tmp_path / "report" / "report.md").read_text()


def test_hostile_names_do_no_harm(tmp_path):
    folder = make_experiment(tmp_path, {("<script>|",): seeds(0.3, 0.02)}, ("<b>",))
    write_experiment_report(folder)
    assert "<script>" not in (folder / "report" / "index.html").read_text()


def test_a_folder_that_holds_none_is_refused(tmp_path):
    with pytest.raises(StageError, match=r"is not an experiment: it holds no experiment\.json"):
        write_experiment_report(tmp_path)
