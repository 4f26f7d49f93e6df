"""How far two models differ on an image."""

import numpy as np
import pytest

from lightning_st.index import Annotations
from lightning_st.selftrain import box_disagreement, mask_disagreement, unmatched_boxes


def boxes(*found):
    """Return annotations of (label, x) with boxes ten pixels wide."""
    corners = np.array([[x, 0, x + 10, 10] for _, x in found], np.float32).reshape(-1, 4)
    labels = np.array([label for label, _ in found], np.int32)
    scores = np.linspace(0.9, 0.5, len(found), dtype=np.float32)
    return Annotations(corners, labels, np.zeros(len(found), bool), scores, np.full(len(found), 100, np.float32))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([], [], (0.0, 0)),
        ([(0, 0)], [], (1.0, 1)),
        ([(0, 0)], [(0, 0)], (0.0, 0)),
        ([(0, 0)], [(1, 0)], (1.0, 2)),  # another class
        ([(0, 0)], [(0, 3)], (0.0, 0)),  # IoU 0.54
        ([(0, 0)], [(0, 4)], (1.0, 2)),  # IoU 0.43
        ([(0, 0), (0, 50)], [(0, 1), (0, 2)], (0.5, 2)),  # a box is a partner once
    ],
)
def test_of_boxes_it_is_the_share_without_a_partner(first, second, expected):
    assert box_disagreement(boxes(*first), boxes(*second)) == expected
    assert box_disagreement(boxes(*second), boxes(*first)) == expected


def test_the_boxes_without_a_partner_are_named():
    alone = unmatched_boxes(boxes((0, 0), (0, 50)), boxes((0, 51), (0, 90)))
    assert [part.tolist() for part in alone] == [[True, False], [False, True]]


def test_of_masks_it_is_one_minus_the_mean_iou_where_both_say_something():
    one, other = np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 0]], np.uint8)
    assert mask_disagreement(one, other) == (pytest.approx(0.5), 1)
    assert mask_disagreement(one, one) == (0.0, 0)
    assert mask_disagreement(np.full((1, 4), 255, np.uint8), other) == (0.0, 0)
