"""Heads: from the maps of a neck to what a task predicts."""

from lightning_st.models.heads.retina_head import RetinaHead
from lightning_st.models.heads.segmentation_head import SegmentationHead

__all__ = ["RetinaHead", "SegmentationHead"]
