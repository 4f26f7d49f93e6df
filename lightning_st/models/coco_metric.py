"""COCO's average precision, computed by faster-coco-eval as pycocotools does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.models.image_records import ImageRecords

AREA_NAMES = ("all", "small", "medium", "large")
"""COCO's ranges of an object's area: all, below 32^2, up to 96^2, above, in square pixels of the original image."""


class CocoMetric(ImageRecords):
    """Average precision over IoU thresholds 0.50 to 0.95, as COCO defines it.

    ``compute()`` returns "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR" (the mean recall with at most
    ``max_detections`` detections) and "AP/<class>" for each class.

    Args:
        classes: The names of the classes, in the order of the labels.
        max_detections: The best of each class and image that count; COCO has 100.
    """

    primary = "AP"

    def __init__(self, classes: Sequence[str], max_detections: int = 100) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.max_detections = max_detections

    def compute(self) -> dict[str, float]:
        """Return the numbers, 0-1; NaN where there is nothing to find."""
        precision, recall = self._evaluate()
        numbers = {
            "AP": _mean(precision[..., 0]),
            "AP50": _mean(precision[0, ..., 0]),
            "AP75": _mean(precision[5, ..., 0]),
        }
        numbers |= {f"AP_{name}": _mean(precision[..., i]) for i, name in enumerate(AREA_NAMES) if name != "all"}
        numbers["AR"] = _mean(recall[..., 0])
        return numbers | {f"AP/{name}": _mean(precision[:, :, i, 0]) for i, name in enumerate(self.classes)}

    def _evaluate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return precision [T, R, K, 4] and recall [T, K, 4] by IoU threshold, recall, class, area; -1 for nothing."""
        from faster_coco_eval import COCO, COCOeval_faster

        truth, found = COCO(self._records("true_")), COCO(self._records(""))
        evaluation = COCOeval_faster(truth, found, iouType="bbox")
        evaluation.params.maxDets = [self.max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
        return evaluation.eval["precision"][..., 0], evaluation.eval["recall"][..., 0]

    def _records(self, prefix: str) -> dict[str, Any]:
        """Return the labels (``prefix`` "true_") or the predictions (no prefix) as COCO's records."""
        annotations = []
        for row in sorted(self._images):
            image = self._images[row]
            corners = image[f"{prefix}boxes"].astype(np.float64)
            boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
            count = len(boxes)
            columns = (
                boxes.tolist(),
                image[f"{prefix}labels"].tolist(),
                image.get(f"{prefix}areas", boxes[:, 2] * boxes[:, 3]).tolist(),
                image.get(f"{prefix}crowd", np.zeros(count, bool)).tolist(),
                image.get(f"{prefix}scores", np.ones(count)).tolist(),
            )
            annotations += [
                {"image_id": row, "bbox": b, "category_id": c, "area": a, "iscrowd": int(i), "score": s}
                for b, c, a, i, s in zip(*columns, strict=True)
            ]
        for number, annotation in enumerate(annotations):
            # An annotation's id also says that it is matched: 0 would say that it is not.
            annotation["id"] = number + 1
        categories = [{"id": i, "name": name} for i, name in enumerate(self.classes)]
        return {"images": [{"id": row} for row in self._images], "annotations": annotations, "categories": categories}


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of what is defined, NaN if nothing is."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")
