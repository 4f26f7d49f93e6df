"""The verdict says what the numbers say, and no more; the advice follows from the run."""

import json
import re

import fake_runs
import pytest

from lightning_st.reports.advice import advise
from lightning_st.reports.run_folder import read_run
from lightning_st.reports.verdict import judge

SEED = "One seed: differences below about 0.01 are not facts."


@pytest.mark.parametrize(
    ("teacher", "student", "control", "judgement", "sentence"),
    [
        (0.291, 0.312, None, "better", "The student reaches 0.312 AP on test, 0.021 above its teacher."),
        (
            0.291,
            0.312,
            0.3,
            "better",
            "The student reaches 0.312 AP on test, 0.021 above its teacher "
            "and 0.012 above a teacher trained as long as both together.",
        ),
        (
            0.291,
            0.312,
            0.308,
            "unclear",
            "The student reaches 0.312 AP on test, 0.021 above its teacher "
            "and 0.004 above a teacher trained as long as both together.",
        ),
        (
            0.291,
            0.312,
            0.34,
            "worse",
            "The student is worse than a teacher that trained longer instead: it reaches 0.312 AP on test, "
            "0.021 above its teacher but 0.028 below a teacher trained as long as both together.",
        ),
        (
            0.291,
            0.26,
            None,
            "worse",
            "The student is worse than its teacher: it reaches 0.260 AP on test, 0.031 below its teacher.",
        ),
        (
            0.291,
            0.26,
            0.3,
            "worse",
            "The student is worse than its teacher: it reaches 0.260 AP on test, 0.031 below its teacher "
            "and 0.040 below a teacher trained as long as both together.",
        ),
        (0.291, 0.291, None, "unclear", "The student reaches 0.291 AP on test, the same as its teacher."),
        (0.291, 0.296, None, "unclear", "The student reaches 0.296 AP on test, 0.005 above its teacher."),
        (0.0, 0.0, None, "unclear", "The student reaches 0.000 AP on test, the same as its teacher."),
    ],
)
def test_the_sentence_and_the_judgement(tmp_path, teacher, student, control, judgement, sentence):
    arm = None if control is None else {"test": control}
    run = fake_runs.make_run(tmp_path / "run", {"test": teacher}, {"test": student}, arm, image_count=2)
    verdict = judge(read_run(run))
    assert (verdict.judgement, verdict.sentence) == (judgement, sentence)
    assert verdict.caveats[0] == SEED


def test_a_gain_of_exactly_the_noise_counts(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", {"test": 0.29}, {"test": 0.30}, image_count=2)
    assert judge(read_run(run)).judgement == "better"


def test_without_test_the_verdict_is_on_val_and_says_what_that_is_worth(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", {"val": 0.3}, {"val": 0.33}, image_count=2)
    verdict = judge(read_run(run))
    assert verdict.sentence == "The student reaches 0.330 AP on val, 0.030 above its teacher."
    assert "val also chose the checkpoints" in " ".join(verdict.caveats)


def test_without_a_control_a_gain_may_be_training_alone(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", image_count=2)
    assert "no control arm" in judge(read_run(run)).caveats[-1]
    fake_runs.write_training(run / "control", {"test": 0.29})
    assert judge(read_run(run)).caveats == [SEED]


def test_an_undefined_test_score_falls_back_to_val(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", {"val": 0.3, "test": None}, {"val": 0.33, "test": None}, image_count=2)
    assert "on val" in judge(read_run(run)).sentence


@pytest.mark.parametrize(
    ("teacher", "student", "changes", "sentence"),
    [
        (None, None, {}, "No verdict yet: the teacher has not been evaluated."),
        (
            {"test": 0.291},
            None,
            {},
            "No verdict yet: no student has been evaluated; its teacher reaches 0.291 AP on test.",
        ),
        (
            {"test": None},
            {"test": None},
            {},
            "No verdict: on no split the AP of both teacher and student is defined; "
            "the AP of its teacher is undefined.",
        ),
        (
            {},
            {},
            {"data": {"labeled": {"images": 22}}},
            "No verdict: the run was given neither data.val nor data.test, so nothing was evaluated.",
        ),
    ],
    ids=["nothing", "no student", "undefined", "no splits"],
)
def test_without_scores_there_is_no_verdict(tmp_path, teacher, student, changes, sentence):
    run = read_run(fake_runs.make_run(tmp_path / "run", teacher, student, image_count=2, **changes))
    verdict = judge(run)
    assert (verdict.judgement, verdict.sentence) == ("unknown", sentence)
    assert advise(run, verdict) == []


def test_the_last_student_is_judged_against_the_first_teacher(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", image_count=2)
    fake_runs.write_training(run / "round_1" / "student", {"test": 0.32})
    sentence = judge(read_run(run)).sentence
    assert sentence == "The student of round 1 reaches 0.320 AP on test, 0.029 above the first teacher."


def test_a_round_without_scores_yet_leaves_the_verdict_to_the_one_before(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", image_count=2)
    fake_runs.write_training(run / "round_1" / "student", None, state="running")
    assert judge(read_run(run)).sentence.startswith("The student reaches 0.312 AP")


def advice_for(run):
    record = read_run(run)
    return " ".join(advise(record, judge(record)))


def test_a_run_that_helped_needs_no_advice(tmp_path):
    assert advice_for(fake_runs.make_run(tmp_path / "run", image_count=2)) == ""


def test_a_teacher_that_has_learnt_nothing_is_the_one_thing_to_mend(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", teacher={"test": 0.003}, student={"test": 0.004}, image_count=2)
    whole = r"The teacher has hardly learnt anything \(AP 0\.003 on test\); .*\(--model\.pretrained\)\."
    assert re.fullmatch(whole, advice_for(run))


@pytest.mark.parametrize(("control", "is_advised"), [(0.31, True), (0.292, False)])
def test_a_longer_training_is_advised_where_it_brought_something(tmp_path, control, is_advised):
    scores = {"teacher": {"test": 0.29}, "student": {"test": 0.297}, "control": {"test": control}}
    run = fake_runs.make_run(tmp_path / "run", **scores, image_count=2)
    assert ("gains as much from training longer" in advice_for(run)) == is_advised


def test_advice_follows_from_the_config(tmp_path):
    config = {"seed_everything": 7, "pseudo_label": {"score_threshold": 0.5, "rule": "hard"}, "student": {}}
    run = fake_runs.make_run(tmp_path / "plain", student={"test": 0.26}, image_count=2, config=config)
    text = advice_for(run)
    for flag in (
        "--pseudo_label.rule calibrated",
        "--student.init teacher",
        "--pseudo_label.flip true",
        "other than 7",
    ):
        assert flag in text
    config = {"pseudo_label": {"rule": "calibrated", "flip": True}, "student": {"init": "teacher"}}
    run = fake_runs.make_run(tmp_path / "tuned", student={"test": 0.26}, image_count=2, config=config)
    for flag in ("--pseudo_label.rule", "--student.init", "--pseudo_label.flip"):
        assert flag not in advice_for(run)


def test_advice_names_the_classes_that_the_teacher_hardly_finds(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", {"test": 0.07}, {"test": 0.05}, image_count=2)
    assert "The teacher hardly finds disc (AP at most 0.05)" in advice_for(run)


@pytest.mark.parametrize(
    ("human", "words"),
    [(188, "Only"), (32, "neither"), (10, "many of them must be wrong")],
    ids=["few", "enough", "many"],
)
def test_advice_weighs_pseudo_labels_against_human_ones(tmp_path, human, words):
    run = fake_runs.make_run(tmp_path / "run", student={"test": 0.26})
    fake_runs.write_run_manifest(run, data={"labeled": {"images": 22, "labels": human}, "test": {"images": 73}})
    text = advice_for(run)
    assert (words in text) is (words != "neither")
    assert ("pseudo-labels an image" in text) is (words != "neither")


def test_signs_of_a_collapse_stand_first_whatever_the_verdict(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", student={"test": 0.36}, image_count=2)
    assert advice_for(run) == ""
    fake_runs.write_run_manifest(run, signs=["Of the pseudo-labels 98% are disc."])
    assert advice_for(run) == "Of the pseudo-labels 98% are disc."


def test_advice_names_the_classes_whose_labels_are_often_wrong(tmp_path):
    run = fake_runs.make_run(tmp_path / "run", student={"test": 0.26}, image_count=2)
    assert "kept boxes are right" not in advice_for(run)
    path = run / "round_0" / "pseudo_labels" / "manifest.json"
    manifest = json.loads(path.read_text())
    # The disc is kept from 0.6 up; the square's bad precision is below its threshold of 0.5.
    manifest["calibration"]["square"] = {
        "thresholds": [0.4, 0.5, 0.9],
        "precision": [0.1, 0.9, 0.95],
        "recall": [1, 1, 1],
    }
    manifest["calibration"]["disc"] = {
        "thresholds": [0.4, 0.6, 0.9],
        "precision": [0.1, 0.52, 0.9],
        "recall": [1, 1, 1],
    }
    path.write_text(json.dumps(manifest))
    text = advice_for(run)  # many times more human labels an image: no threshold mends both
    assert "The teacher is too weak to label well" in text
    assert "by class: disc (0.52)" in text
    assert "threshold" not in text
    fake_runs.write_run_manifest(run, data={"labeled": {"images": 22, "labels": 32}, "test": {"images": 73}})
    assert "On val too few of the kept boxes are right, by class: disc (0.52). Raise the threshold" in advice_for(run)


@pytest.mark.parametrize(("rise", "is_rising"), [(60.0, False), (600.0, True)])
def test_advice_sees_a_teacher_that_was_still_improving(tmp_path, rise, is_rising):
    run = fake_runs.make_run(tmp_path / "run", student={"test": 0.26}, image_count=2)
    fake_runs.write_training(run / "round_0" / "teacher", {"test": 0.291}, rise=rise)
    assert ("was still improving when it stopped" in advice_for(run)) is is_rising
