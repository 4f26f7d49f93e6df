"""From the padded tensors that a deployed model returns to a prediction for each image."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_st.models.masks import ScoreMap
from lightning_st.types import Prediction


def predictions_of(outputs: Mapping[str, Tensor]) -> list[Any]:
    """Return what ``RetinaNet.predict`` or ``SemanticSegmenter.predict`` would.

    Args:
        outputs: See ``DeployedDetector`` and ``DeployedSegmenter``.
    """
    if "counts" not in outputs:
        return [ScoreMap(scores=scores) for scores in outputs["scores"]]
    found = zip(outputs["boxes"], outputs["labels"], outputs["scores"], outputs["counts"].tolist(), strict=True)
    return [Prediction(boxes=b[:count], labels=c[:count], scores=s[:count]) for b, c, s, count in found]
