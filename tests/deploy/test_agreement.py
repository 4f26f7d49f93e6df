"""What counts as agreement between two models, and what does not."""

import pytest
import torch

from lightning_st.deploy.agreement import compare_boxes, compare_masks


def prediction(*rows):
    boxes, labels, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores, dtype=torch.float32),
    }


CAT, DOG = ([0, 0, 10, 10], 0, 0.9), ([20, 0, 30, 10], 1, 0.9)
MOVED = ([20.05, 0, 30, 10], 1, 0.90005)


def compared(found, expected, most=100):
    return compare_boxes([prediction(*found)], [prediction(*expected)], score_threshold=0.05, max_detections=most)


def test_the_order_of_equals_says_nothing():
    agreement = compared([MOVED, CAT], [CAT, DOG])
    assert (agreement.count, agreement.unpaired) == (2, 0)
    assert agreement.boxes == pytest.approx(0.05, abs=1e-4)
    assert agreement.scores == pytest.approx(5e-5, abs=1e-6)
    assert agreement.is_close
    assert str(agreement) == "2 boxes within 0.05 px, scores within 5e-05"


@pytest.mark.parametrize(
    "other",
    [
        ([20.2, 0, 30, 10], 1, 0.9),  # too far
        ([20, 0, 30, 10], 1, 0.8998),  # another score
        ([20, 0, 30, 10], 0, 0.9),  # another class
        ([40, 0, 50, 10], 1, 0.9),  # elsewhere
    ],
)
def test_another_detection_is_none_of_it(other):
    assert not compared([CAT, other], [CAT, DOG]).is_close
    assert not compared([CAT, other], [CAT]).is_close


def test_a_detection_has_one_partner():
    agreement = compared([CAT, CAT], [CAT])
    assert (agreement.count, agreement.unpaired) == (1, 1)
    assert not agreement.is_close


def test_what_just_reaches_the_threshold_or_the_last_place_may_be_missing():
    faint = ([50, 50, 60, 60], 0, 0.05004)
    agreement = compared([CAT, faint], [CAT])
    assert (agreement.count, agreement.on_edge, agreement.unpaired) == (1, 1, 0)
    assert agreement.is_close
    last, other = ([50, 50, 60, 60], 0, 0.5), ([70, 50, 80, 60], 0, 0.50001)
    assert compared([CAT, last], [CAT, other], most=2).is_close
    assert not compared([CAT, last], [CAT, other], most=3).is_close


def test_nothing_agrees_with_nothing():
    assert compared([], []).is_close
    assert not compared([CAT], []).is_close
    assert not compared([], [CAT]).is_close


def test_masks_pixel_by_pixel():
    mask, confidence = torch.zeros(20, 100, dtype=torch.uint8), torch.full((20, 100), 0.5)
    expected = [{"mask": mask, "confidence": confidence}]
    assert compare_masks(expected, expected).is_close
    for count, is_close in ((2, True), (3, False)):
        other = mask.clone()
        other[0, :count] = 1
        agreement = compare_masks([{"mask": other, "confidence": confidence}], expected)
        assert (agreement.count, agreement.differing, agreement.is_close) == (2000, count, is_close)
    assert not compare_masks([{"mask": mask, "confidence": confidence + 2e-4}], expected).is_close
