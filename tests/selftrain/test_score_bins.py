"""The reliability diagram against a count label by label."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_st.selftrain import Matched, bin_scores


def matched(scores, is_correct, counts=None, labels=None):
    return Matched(
        np.zeros(len(scores), np.int64) if labels is None else np.array(labels),
        np.array(scores, np.float32),
        np.array(is_correct, np.bool_),
        np.array([1, 1]),
        None if counts is None else np.array(counts, np.int64),
    )


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans(), st.integers(1, 9)), min_size=1, max_size=60))
def test_bins_and_error_equal_a_count_one_by_one(rows):
    steps, is_correct, counts = zip(*rows, strict=True)
    bins = bin_scores(matched(np.array(steps) / 100, is_correct, counts))
    distance = 0.0
    for number in range(10):
        own = [i for i, step in enumerate(steps) if min(step // 10, 9) == number]
        total = sum(counts[i] for i in own)
        assert bins.counts[number] == total
        if own:
            mean = sum(counts[i] * steps[i] / 100 for i in own) / total
            share = sum(counts[i] * is_correct[i] for i in own) / total
            assert bins.mean_scores[number] == pytest.approx(mean, abs=1e-6)
            assert bins.shares_right[number] == pytest.approx(share)
            distance += total * abs(mean - share)
        else:
            assert math.isnan(bins.mean_scores[number])
    assert bins.error == pytest.approx(distance / sum(counts), abs=1e-6)


def test_one_class_alone():
    both = matched([0.95, 0.95, 0.35], [True, True, False], labels=[0, 0, 1])
    assert bin_scores(both, 0).counts.tolist() == [0] * 9 + [2]
    assert bin_scores(both, 1).error == pytest.approx(0.35)
    assert bin_scores(both, 0).error == pytest.approx(0.05)


def test_no_labels_have_no_error():
    assert math.isnan(bin_scores(matched([], [])).error)
