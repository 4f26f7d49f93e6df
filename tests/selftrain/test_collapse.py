"""Signs of a collapse: few or many labels, a class that grows, a teacher that knows nothing or gets worse."""

import math

import pytest

from lightning_st.selftrain import signs_of_collapse

HUMAN = {"images": 10, "labels": 40, "labels_by_class": {"disc": 20, "square": 20}}


def labels(disc: int, square: int, images: int = 10) -> dict:
    return {"images": images, "labels": disc + square, "labels_by_class": {"disc": disc, "square": square}}


@pytest.mark.parametrize(
    ("found", "score", "first", "sign"),
    [
        (labels(20, 20), 0.4, 0.4, None),
        (labels(20, 20), math.nan, math.nan, None),
        (labels(4, 4), 0.4, 0.4, None),  # a fifth of people's labels an image
        (labels(4, 3), 0.4, 0.4, "Only 0.7 pseudo-labels an image against 4 labels of people"),
        (labels(60, 60), 0.4, 0.4, None),
        (labels(60, 61), 0.4, 0.4, "As many as 12 pseudo-labels an image against 4 labels of people"),
        (labels(35, 5), 0.4, 0.4, None),
        (labels(36, 4), 0.4, 0.4, "Of the pseudo-labels 90% are disc, of people's labels 50%"),
        (labels(20, 20), 0.05, 0.05, "The teacher's AP on val is 0.050: it has hardly learnt anything"),
        (labels(20, 20), 0.31, 0.4, None),
        (labels(20, 20), 0.29, 0.4, "The teacher's AP on val fell from the first teacher's 0.400 to 0.290"),
    ],
)
def test_signs(found, score, first, sign):
    signs = signs_of_collapse(found, HUMAN, "AP", score, first)
    assert [each.startswith(sign) for each in signs] == ([] if sign is None else [True])


def test_of_masks_pixels_count():
    """Each image shows both classes, so the numbers of labels say nothing."""
    human = HUMAN | {"pixels_by_class": {"sky": 500, "grass": 500}}
    found = labels(1, 1) | {"pixels": 1000, "pixels_by_class": {"sky": 890, "grass": 110}}
    assert signs_of_collapse(found, human, "mIoU", 0.5, 0.5) == []
    found["pixels_by_class"] = {"sky": 900, "grass": 100}
    (sign,) = signs_of_collapse(found, human, "mIoU", 0.5, 0.5)
    assert sign.startswith("Of the pseudo-labels 90% are sky, of people's labels 50%")


def test_nothing_to_compare():
    assert signs_of_collapse(labels(0, 0, images=0), HUMAN, "AP") == []
    assert signs_of_collapse(labels(3, 3), {"images": 4, "labels": 0, "labels_by_class": {}}, "AP") == []
