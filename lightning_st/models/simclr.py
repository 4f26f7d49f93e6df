"""SimCLR as a task: pre-training of a backbone on images without labels (paper.md, section 3.4)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_st.models.arguments import require
from lightning_st.models.contrastive import nt_xent
from lightning_st.models.normalization import BatchNormMode
from lightning_st.models.whole_image_model import WholeImageModel
from lightning_st.types import Batch, TargetName


class SimCLR(WholeImageModel):
    """Learns that two augmentations of an image are of one image (Chen et al. 2020, arXiv 2002.05709).

    Backbone, average over its maps (``ImagePooling``), and a projection of two layers that is thrown away afterwards.
    No number judges it, so there is nothing to validate: its last checkpoint is what ``pretrained`` takes.

    Args:
        classes: Not learnt; the data give one name, "image".
        backbone: See ``RetinaNet``.
        backbone_options: See ``RetinaNet``.
        pretrained: See ``RetinaNet``.
        gradient_checkpointing: See ``RetinaNet``.
        min_level: The finest level of the backbone that is asked for; its stride is ``2 ** min_level`` pixels.
        max_level: The coarsest that is asked for; a backbone of timm ends at 5.
        projection_width: Length of the vectors that are compared.
        temperature: What their similarities are divided by.
        batch_norm: See ``RetinaNet``. With "train" the processes' own statistics would tell whose images are whose.
        batch_norm_momentum: See ``RetinaNet``.

    Raises:
        ConfigError: If an argument is out of range, or there is no such backbone.
        CheckpointError: If ``pretrained`` weights cannot be had or do not fit.
    """

    target: TargetName = "views"

    def __init__(
        self,
        classes: Sequence[str],
        backbone: str | nn.Module | Callable[..., nn.Module] = "resnet50",
        backbone_options: dict[str, Any] | None = None,
        pretrained: bool | str = False,
        gradient_checkpointing: bool = False,
        min_level: int = 3,
        max_level: int = 7,
        projection_width: int = 128,
        temperature: float = 0.1,
        batch_norm: BatchNormMode = "sync",
        batch_norm_momentum: float = 0.1,
    ) -> None:
        require("at least 1", lambda v: v >= 1, projection_width=projection_width)
        require("above 0", lambda v: v > 0, temperature=temperature)
        super().__init__(
            classes,
            backbone,
            backbone_options,
            pretrained,
            gradient_checkpointing,
            min_level,
            max_level,
            batch_norm,
            batch_norm_momentum,
        )
        self.temperature = temperature
        width = self.neck.width
        # Convolutions of one place are linear layers whose normalisation is of the kind that the whole model's is.
        self.projection = nn.Sequential(
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, projection_width, 1),
        )
        self.settle_batch_norms()

    def forward(self, images: Tensor) -> Tensor:
        """Return the projections, float32 [B, projection_width], each of length 1, of ``images``: [B, 3, H, W]."""
        features = self.features(images)[:, :, None, None]
        projected = self.projection(features.to(self.normalise.mean.dtype))
        return nn.functional.normalize(projected.float().flatten(1), dim=1)

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each image, float32 [B], and the part of its views that found each other.

        All processes have to call this together: see ``nt_xent``.

        Args:
            batch: A training batch; ``images`` and ``other_views`` are read.
        """
        # One pass over both, so that batch normalisation sees them alike.
        projections = self(torch.cat([batch["images"], batch["other_views"]]))
        with torch.autocast(projections.device.type, enabled=False):
            first, second = projections.chunk(2)
            losses, is_found = nt_xent(first, second, self.temperature)
        return losses, {"contrastive_accuracy": is_found}

    @torch.no_grad()
    def predict(self, images: Tensor, flip: bool = False, scales: Sequence[float] = (1.0,)) -> list[dict[str, Tensor]]:
        """Return the features of each image before the projection, {"features": float32 [C]}.

        Args:
            images: uint8 [B, 3, H, W].
            flip: Average them with those of the mirrored images.
            scales: Only (1.0,): features of other sizes are not those that were learnt.
        """
        require("(1.0,) for SimCLR", lambda v: tuple(v) == (1.0,), scales=scales)
        features = self.features(images)
        if flip:
            features = (features + self.features(images.flip(-1))) / 2
        return [{"features": each} for each in features]

    def metric(self) -> None:
        """Return nothing: no label says which of two models is better."""
        return
