"""What runs for hours and leaves files behind, each with a manifest: train, pseudo-label, self-train, pre-train."""

from lightning_st.stages.pretrain import PretrainRecipe, pretrain
from lightning_st.stages.pseudo_label import pseudo_label
from lightning_st.stages.recipe import PseudoLabelSettings, Recipe, TrackingSettings, TrainSettings
from lightning_st.stages.self_train import self_train

__all__ = [
    "PretrainRecipe",
    "PseudoLabelSettings",
    "Recipe",
    "TrackingSettings",
    "TrainSettings",
    "pretrain",
    "pseudo_label",
    "self_train",
]
