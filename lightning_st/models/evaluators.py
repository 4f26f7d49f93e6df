"""Which metric judges a detector, by the name that a config gives."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from lightning_st.models.coco_metric import CocoMetric
from lightning_st.models.voc_metric import VocMetric
from lightning_st.types import Metric

Evaluator = Literal["coco", "voc", "voc07"]
"""COCO's AP over ten IoU thresholds, PASCAL VOC's mAP at IoU 0.5 (2010 and later), and that of 2007."""

_METRICS: dict[str, Callable[..., Any]] = {
    "coco": CocoMetric,
    "voc": VocMetric,
    "voc07": partial(VocMetric, eleven_points=True),
}


def make_metric(evaluator: Evaluator, classes: Sequence[str], max_detections: int) -> Metric:
    """Return a new, empty metric.

    Args:
        evaluator: Which one.
        classes: The names of the classes, in the order of the labels.
        max_detections: The best of each class and image that count for COCO's; VOC's counts all that it is given.
    """
    limits = {"max_detections": max_detections} if evaluator == "coco" else {}
    metric: Metric = _METRICS[evaluator](classes, **limits)
    return metric
