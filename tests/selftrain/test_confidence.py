"""Confidence rules: the paper's, and thresholds calibrated on val against a search over every score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_st.errors import ConfigError
from lightning_st.selftrain import (
    CalibratedThresholds,
    Evidence,
    HardThreshold,
    KnownNegatives,
    Matched,
    MatchedCounts,
    ScoreCounts,
    ScoreWeights,
)
from lightning_st.types import BoxKind, ScoreThresholds

NOTHING = ScoreCounts(np.zeros(1, np.float32), np.zeros((1, 1), np.int64), 0)


def matched(labels, scores, is_correct, class_count, truth_counts=None):
    found = Matched(
        np.array(labels, np.int64),
        np.array(scores, np.float32),
        np.array(is_correct, np.bool_),
        np.array([0] * class_count if truth_counts is None else truth_counts, np.int64),
    )
    return Evidence(("a", "b", "c")[:class_count], NOTHING, found)


def unmatched(class_count):
    return Evidence(("a", "b", "c")[:class_count], NOTHING)


def evidence_of(labels, scores, image_count, labeled_rates):
    """What a rule is told of boxes on `image_count` unlabelled images, in no store."""
    levels = np.arange(1001, dtype=np.float32) / np.float32(1000)
    counts = np.zeros((len(labeled_rates), len(levels)), np.int64)
    np.add.at(counts, (labels, np.searchsorted(levels, np.array(scores, np.float32), "right") - 1), 1)
    rates = np.array(labeled_rates, np.float64)
    return Evidence(("a", "b", "c")[: len(rates)], ScoreCounts(levels, counts, image_count), labeled_rates=rates)


def brute_force(scores, is_correct, precision, min_count):
    """The lowest observed score from which up the precision is reached, or None."""
    for score in sorted(set(scores)):
        kept = [right for other, right in zip(scores, is_correct, strict=True) if other >= score]
        if len(kept) >= min_count and sum(kept) >= precision * len(kept):
            return score
    return None


def test_the_papers_rule_keeps_a_score_of_exactly_the_threshold():
    thresholds = HardThreshold()(unmatched(2))
    kinds = thresholds.kinds(np.array([0, 1, 1]), np.array([0.5, 0.49999, 0.9], np.float32))
    assert kinds.tolist() == [BoxKind.OBJECT, BoxKind.PADDING, BoxKind.OBJECT]


# Scores on a coarse grid, so that equal ones are common.
BOXES = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20), st.booleans()), max_size=60)


@given(boxes=BOXES, precision=st.sampled_from([0.3, 0.5, 0.85, 1.0]), min_count=st.sampled_from([1, 5]))
def test_calibrated_thresholds_equal_a_search_over_every_score(boxes, precision, min_count):
    labels, steps, is_correct = zip(*boxes, strict=True) if boxes else ((), (), ())
    scores = np.array(steps, np.float32) / np.float32(20)
    rule = CalibratedThresholds(precision=precision, min_count=min_count)
    thresholds = rule(matched(labels, scores, is_correct, 3))
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
    found = CalibratedThresholds(precision=0.5, min_count=1)(matched([0], [score], [True], 1))
    again = ScoreThresholds.from_json(found.to_json())
    assert again.keep == found.keep
    assert again.kinds(np.array([0]), np.array([score], np.float32)) == BoxKind.OBJECT


def test_a_class_that_is_never_right_gives_ignored_boxes_and_no_positives():
    thresholds = CalibratedThresholds()(matched([0] * 20, np.linspace(0.05, 1, 20), [False] * 20, 1))
    kinds = thresholds.kinds(np.zeros(3, int), np.array([1.0, 0.1, 0.05], np.float32))
    assert kinds.tolist() == [BoxKind.UNSURE, BoxKind.UNSURE, BoxKind.PADDING]


def test_one_lucky_box_does_not_decide():
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    lucky = matched([0] * 5, scores, [True, False, False, False, False], 1)
    assert CalibratedThresholds(min_count=1)(lucky).keep == pytest.approx(0.9)
    assert CalibratedThresholds(min_count=5)(lucky).keep > 1


def test_no_boxes_at_all_trust_no_class():
    assert (CalibratedThresholds()(matched([], [], [], 3)).keep > 1).all()


def test_calibration_without_val_says_what_is_missing():
    with pytest.raises(ConfigError, match=r"data\.val"):
        CalibratedThresholds()(unmatched(3))


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
    with pytest.raises(ConfigError, match="ratio"):
        MatchedCounts(ratio=value if value <= 0 else 0)
    with pytest.raises(ConfigError, match="ignore_from"):
        MatchedCounts(ignore_from=value)
    with pytest.raises(ConfigError, match="min_recall"):
        KnownNegatives(HardThreshold(), value)
    with pytest.raises(ConfigError, match="power"):
        ScoreWeights(HardThreshold(), value if value <= 0 else 0)


def test_matched_counts_keep_as_many_boxes_an_image_as_people_label():
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.95, 0.3]
    labels = [0, 0, 0, 0, 0, 0, 1, 1]
    found = evidence_of(labels, scores, image_count=2, labeled_rates=[2.0, 0.5])
    thresholds = MatchedCounts(ignore_from=0.35)(found)
    kinds = thresholds.kinds(np.array(labels), np.array(scores, np.float32))
    assert [int((kinds[np.array(labels) == label] == BoxKind.OBJECT).sum()) for label in (0, 1)] == [4, 1]
    assert kinds.tolist()[4:6] == [BoxKind.UNSURE, BoxKind.UNSURE]
    assert kinds[-1] == BoxKind.PADDING
    halved = MatchedCounts(ratio=0.5, ignore_from=0.35)(found)
    assert halved.keep[0] == pytest.approx(0.8)


@given(
    steps=st.lists(st.integers(100, 1000), max_size=80),
    image_count=st.integers(1, 20),
    rate=st.floats(0, 6),
)
def test_matched_counts_equal_a_search_over_every_threshold(steps, image_count, rate):
    scores = np.array(steps, np.float32) / np.float32(1000)
    keep = MatchedCounts(ignore_from=0.1)(evidence_of([0] * len(steps), scores, image_count, [rate])).keep[0]
    wanted = rate * image_count
    kept = int((scores >= keep).sum())
    possible = {int((scores >= cut).sum()) for cut in [*scores, np.float32(2)]}
    assert abs(kept - wanted) == min(abs(count - wanted) for count in possible)


def test_matched_counts_do_not_sink_below_the_floor_where_a_teacher_is_shy():
    thresholds = MatchedCounts(ignore_from=0.1)(evidence_of([0] * 3, [0.9, 0.2, 0.05], 10, [5.0]))
    assert thresholds.keep.tolist() == thresholds.ignore.tolist() == pytest.approx([0.1])


def test_a_class_that_people_did_not_label_is_not_kept():
    thresholds = MatchedCounts()(evidence_of([0, 0], [0.9, 0.8], 10, [0.0]))
    assert thresholds.keep[0] > 1


def test_matching_without_labelled_images_says_what_is_missing():
    with pytest.raises(ConfigError, match=r"data\.labeled"):
        MatchedCounts()(unmatched(3))


def test_score_weights_change_nothing_but_the_weights():
    found = matched([0] * 10, np.linspace(0.1, 1, 10), [True] * 10, 1)
    inner, outer = CalibratedThresholds()(found), ScoreWeights(CalibratedThresholds(), power=2)(found)
    assert (outer.keep == inner.keep).all()
    assert (outer.ignore == inner.ignore).all()
    scores = np.array([0.5, 1.0], np.float32)
    assert inner.weights(scores) is None
    assert outer.weights(scores) == pytest.approx([0.25, 1.0])
    assert ScoreThresholds.from_json(outer.to_json()).weight_power == 2
    assert inner.to_json().keys() == {"keep", "ignore"}


def test_a_class_that_the_teacher_hardly_finds_is_unknown():
    # Of class a 8 of 10 objects are found, of b 1 of 10; val shows no c, which is not known either.
    found = matched([0] * 8 + [1], [0.9] * 9, [True] * 9, 3, truth_counts=[10, 10, 0])
    rule = KnownNegatives(HardThreshold(0.5), min_recall=0.2)
    assert rule(found).unknown.tolist() == [False, True, True]
    assert KnownNegatives(HardThreshold(0.95), min_recall=0.2)(found).unknown.tolist() == [True] * 3
    assert KnownNegatives(HardThreshold(0.5), 0.8)(matched([0] * 8, [0.9] * 8, [True] * 8, 1, [10])).unknown is None


def test_the_needs_and_answers_of_rules_within_rules_add_up():
    rule = ScoreWeights(KnownNegatives(MatchedCounts(), min_recall=0.5))
    assert rule.needs == ("labeled", "val")
    told = matched([0], [0.9], [False], 1, truth_counts=[4])
    told = Evidence(("a",), evidence_of([0], [0.9], 1, [1.0]).found, told.matched, np.ones(1))
    thresholds = ScoreThresholds.from_json(rule(told).to_json())
    assert (thresholds.weight_power, thresholds.unknown.tolist()) == (1.0, [True])
