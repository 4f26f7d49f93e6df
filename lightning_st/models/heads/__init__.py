"""Heads: from the maps of a neck to what a task predicts."""

from lightning_st.models.heads.retina_head import RetinaHead

__all__ = ["RetinaHead"]
