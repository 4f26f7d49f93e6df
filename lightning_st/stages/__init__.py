"""What runs for hours and leaves files behind: train, evaluate, pseudo-label, self-train; each with a manifest."""

from lightning_st.stages.pseudo_label import pseudo_label
from lightning_st.stages.recipe import PseudoLabelSettings, Recipe, TrainSettings
from lightning_st.stages.self_train import self_train

__all__ = ["PseudoLabelSettings", "Recipe", "TrainSettings", "pseudo_label", "self_train"]
