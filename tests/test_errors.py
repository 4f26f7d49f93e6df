"""The messages that all rooms share."""

import pytest

from lightning_st.errors import did_you_mean


@pytest.mark.parametrize(
    ("name", "choices", "nearest"),
    [
        ("s4", ["none", "S1", "S4"], "S4"),
        ("Resnet50", ["resnet5", "resnet50"], "resnet50"),
        ("retinanet", ["CocoMetric", "RetinaNet"], "RetinaNet"),
        ("augmnt", ["augment", "image_size"], "augment"),
    ],
)
def test_the_nearest_name_is_suggested_whatever_its_case(name, choices, nearest):
    assert did_you_mean(name, choices) == f" Did you mean {nearest!r}?"


def test_nothing_near_suggests_nothing():
    assert did_you_mean("zzz", ["augment"]) == did_you_mean("augment", []) == ""
