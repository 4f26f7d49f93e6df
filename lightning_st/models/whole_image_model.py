"""What the models of whole images have in common: they pre-train a backbone, and know no pixels."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from lightning_st.models.images import ImageNormalization
from lightning_st.models.normalization import BatchNormMode
from lightning_st.models.pooling import ImagePooling
from lightning_st.models.pyramid_model import PyramidModel

T = TypeVar("T")


class WholeImageModel(PyramidModel):
    """A backbone and the average over its maps (``ImagePooling``).

    The levels are those that a detector reads, so that all of them learn. The arguments are those of the same names of
    ``RetinaNet``.

    Raises:
        ConfigError: If an argument is out of range, or there is no such backbone.
        CheckpointError: If ``pretrained`` weights cannot be had or do not fit.
    """

    def __init__(
        self,
        classes: Sequence[str],
        backbone: str | nn.Module | Callable[..., nn.Module],
        backbone_options: dict[str, Any] | None,
        pretrained: bool | str,
        gradient_checkpointing: bool,
        min_level: int,
        max_level: int,
        batch_norm: BatchNormMode,
        batch_norm_momentum: float,
    ) -> None:
        super().__init__(
            classes=classes,
            backbone=backbone,
            backbone_options=backbone_options,
            pretrained=pretrained,
            gradient_checkpointing=gradient_checkpointing,
            neck=ImagePooling,
            neck_options=None,
            min_level=min_level,
            max_level=max_level,
            neck_width=1,
            batch_norm=batch_norm,
            batch_norm_momentum=batch_norm_momentum,
        )
        self.normalise = ImageNormalization(stride=1)  # no pyramid has to fit, and an average would count the padding

    def features(self, images: Tensor) -> Tensor:
        """Return the averaged features, float32 [B, C], of ``images``: [B, 3, H, W], RGB, 0-255."""
        features: Tensor = self.neck(self.backbone(self.normalise(images)))
        return features

    def restore(self, predictions: list[T], scales: Tensor, sizes: Tensor) -> list[T]:
        """Return ``predictions``: what is said of a whole image knows no pixels."""
        return predictions
