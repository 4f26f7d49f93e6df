"""Confidence rules: the paper's, and thresholds calibrated on val against a search over every score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_st.errors import ConfigError
from lightning_st.selftrain import CalibratedThresholds, HardThreshold, Matched
from lightning_st.types import BoxKind, ScoreThresholds


def matched(labels, scores, is_correct, class_count):
    return Matched(
        np.array(labels, np.int64),
        np.array(scores, np.float32),
        np.array(is_correct, np.bool_),
        np.zeros(class_count, np.int64),
    )


def brute_force(scores, is_correct, precision, min_count):
    """The lowest observed score from which up the precision is reached, or None."""
    for score in sorted(set(scores)):
        kept = [right for other, right in zip(scores, is_correct, strict=True) if other >= score]
        if len(kept) >= min_count and sum(kept) >= precision * len(kept):
            return score
    return None


def test_the_papers_rule_keeps_a_score_of_exactly_the_threshold():
    thresholds = HardThreshold()(2)
    kinds = thresholds.kinds(np.array([0, 1, 1]), np.array([0.5, 0.49999, 0.9], np.float32))
    assert kinds.tolist() == [BoxKind.OBJECT, BoxKind.PADDING, BoxKind.OBJECT]


# Scores on a coarse grid, so that equal ones are common.
BOXES = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20), st.booleans()), max_size=60)


@given(boxes=BOXES, precision=st.sampled_from([0.3, 0.5, 0.85, 1.0]), min_count=st.sampled_from([1, 5]))
def test_calibrated_thresholds_equal_a_search_over_every_score(boxes, precision, min_count):
    labels, steps, is_correct = zip(*boxes, strict=True) if boxes else ((), (), ())
    scores = np.array(steps, np.float32) / np.float32(20)
    rule = CalibratedThresholds(precision=precision, min_count=min_count)
    thresholds = rule(3, matched(labels, scores, is_correct, 3))
    for label in range(3):
        own = [i for i, other in enumerate(labels) if other == label]
        expected = brute_force([float(scores[i]) for i in own], [is_correct[i] for i in own], precision, min_count)
        if expected is None:
            assert thresholds.keep[label] > 1
        else:
            assert thresholds.keep[label] == pytest.approx(expected, abs=2e-6)
            assert thresholds.kinds(np.array([label]), np.array([expected], np.float32)) == BoxKind.OBJECT


@given(score=st.floats(2**-10, 1.0, width=32))
def test_thresholds_read_back_from_a_manifest_keep_the_box_they_rest_on(score):
    found = CalibratedThresholds(precision=0.5, min_count=1)(1, matched([0], [score], [True], 1))
    again = ScoreThresholds.from_json(found.to_json())
    assert again.keep == found.keep
    assert again.kinds(np.array([0]), np.array([score], np.float32)) == BoxKind.OBJECT


def test_a_class_that_is_never_right_gives_ignored_boxes_and_no_positives():
    thresholds = CalibratedThresholds()(1, matched([0] * 20, np.linspace(0.05, 1, 20), [False] * 20, 1))
    kinds = thresholds.kinds(np.zeros(3, int), np.array([1.0, 0.1, 0.05], np.float32))
    assert kinds.tolist() == [BoxKind.UNSURE, BoxKind.UNSURE, BoxKind.PADDING]


def test_one_lucky_box_does_not_decide():
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    lucky = matched([0] * 5, scores, [True, False, False, False, False], 1)
    assert CalibratedThresholds(min_count=1)(1, lucky).keep == pytest.approx(0.9)
    assert CalibratedThresholds(min_count=5)(1, lucky).keep > 1


def test_no_boxes_at_all_trust_no_class():
    assert (CalibratedThresholds()(3, matched([], [], [], 3)).keep > 1).all()


def test_calibration_without_val_says_what_is_missing():
    with pytest.raises(ConfigError, match=r"data\.val"):
        CalibratedThresholds()(3)


@pytest.mark.parametrize("value", [0.0, 1.5, -1])
def test_scores_out_of_range_are_refused(value):
    with pytest.raises(ConfigError, match="score"):
        HardThreshold(value)
    with pytest.raises(ConfigError, match="precision"):
        CalibratedThresholds(precision=value)
    with pytest.raises(ConfigError, match="ignore_from"):
        CalibratedThresholds(ignore_from=value)
    with pytest.raises(ConfigError, match="min_count"):
        CalibratedThresholds(min_count=0)
