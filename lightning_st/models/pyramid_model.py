"""What the task models share: images become a feature pyramid, which a head reads."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

from torch import nn

from lightning_st.models.arguments import require, require_choice
from lightning_st.models.backbones import build_backbone
from lightning_st.models.images import ImageNormalization
from lightning_st.models.necks import build_neck
from lightning_st.models.normalization import BatchNormMode, batch_norms, set_momentum, synchronise

if TYPE_CHECKING:
    from typing_extensions import Self


class PyramidModel(nn.Module):
    """Image normalisation, backbone and neck; a subclass adds a head and what a ``types.Task`` answers.

    Its constructor calls this one, makes the head, and then calls ``settle_batch_norms``. The arguments are those of
    the same names of ``RetinaNet``.

    Raises:
        ConfigError: If an argument is out of range, or there is no such backbone or neck.
        CheckpointError: If ``pretrained`` weights cannot be had or do not fit.
    """

    def __init__(
        self,
        classes: Sequence[str],
        backbone: str | nn.Module | Callable[..., nn.Module],
        backbone_options: dict[str, Any] | None,
        pretrained: bool | str,
        neck: str | Callable[..., nn.Module],
        neck_options: dict[str, Any] | None,
        min_level: int,
        max_level: int,
        neck_width: int,
        batch_norm: BatchNormMode,
        batch_norm_momentum: float,
        frozen_stages: int = 0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        require("at least one name", bool, classes=self.classes)
        levels = (min_level, max_level)
        require("1 or more, in this order", lambda v: 1 <= v[0] <= v[1], **{"min_level and max_level": levels})
        require("at least 1", lambda v: v >= 1, neck_width=neck_width)
        require("0 to 1", lambda v: 0 <= v <= 1, batch_norm_momentum=batch_norm_momentum)
        require_choice("batch_norm", batch_norm, get_args(BatchNormMode))
        self.batch_norm, self.batch_norm_momentum = batch_norm, batch_norm_momentum
        self.backbone: Any = build_backbone(
            backbone, min_level, max_level, pretrained, backbone_options, frozen_stages, gradient_checkpointing
        )
        self.neck: Any = build_neck(
            neck, self.backbone.levels, self.backbone.channels, max_level, neck_width, neck_options
        )
        self.normalise = ImageNormalization(self._size_divisor(max_level))

    def _size_divisor(self, max_level: int) -> int:
        """Return what the sides of images become multiples of, pixels: here so that the maps of all levels fit."""
        return 1 << max_level

    def settle_batch_norms(self) -> None:
        """Make all layers of batch normalisation, the head's included, what the constructor's arguments say."""
        set_momentum(self, self.batch_norm_momentum)
        if self.batch_norm == "sync":
            synchronise(self)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Self":
        """Set training or evaluation mode; frozen batch normalisation stays in evaluation mode."""
        super().train(mode)
        if self.batch_norm == "frozen":
            for norm in batch_norms(self):
                norm.eval()
        return self
