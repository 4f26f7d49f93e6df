"""Semantic segmentation as a task: the paper's segmenter (paper.md, section 6)."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lightning_st.models.activations import ACTIVATIONS
from lightning_st.models.arguments import require, require_choice
from lightning_st.models.heads import SegmentationHead
from lightning_st.models.heads.segmentation_head import LEVEL, STRIDE
from lightning_st.models.images import views_at
from lightning_st.models.losses import pixel_loss, pixel_weights
from lightning_st.models.masks import ScoreMap, cells_within, restore_masks
from lightning_st.models.mean_iou import MeanIoU
from lightning_st.models.normalization import BatchNormMode
from lightning_st.models.pyramid_model import PyramidModel
from lightning_st.models.resampling import taps_at
from lightning_st.types import IGNORE_INDEX, Batch, MaskPrediction, TargetName

PAPER_NECK_OPTIONS = {"repeats": 7, "separable": True}
"""NAS-FPN as the paper's segmenters have it; its detectors have full convolutions."""


class SemanticSegmenter(PyramidModel):
    """Backbone, feature pyramid, and a head that names the class of each cell of 4 x 4 pixels.

    The defaults are the paper's for PASCAL VOC. For minutes on a CPU: ``backbone="resnet10t"``, ``backbone_options=
    {"channels": [32, 64, 128, 256], "stem_width": 16}``, ``neck="fpn"``, ``max_level=5``, ``neck_width=64``,
    ``head_width=64``, ``head_depth=1``, ``batch_norm_momentum=0.1``.

    Args:
        classes: The names of the classes, in the order of the masks' values; the background is one of them where the
            data have one. At most 255.
        backbone: A name of timm with ``features_only`` ("resnet50", "tf_efficientnet_b7" ...), a backbone, or a
            callable or its import path that makes one (see ``lightning_st.models.backbones``).
        backbone_options: Further arguments of the backbone's constructor.
        pretrained: False for random weights, True for timm's default weights, a tag of timm, or a file of weights.
        frozen_stages: How many of the backbone's stages are not trained; see ``RetinaNet``.
        gradient_checkpointing: Save memory at the price of time; see ``RetinaNet``.
        neck: A name of ``lightning_st.models.necks.NECKS``, the import path of an own one, or a callable that is called
            like ``FPN``.
        neck_options: Further arguments of the neck's constructor. None gives "nas-fpn" the paper's ``{"repeats": 7,
            "separable": True}``.
        min_level: The finest level, at least 2; a level's stride is ``2 ** level`` pixels.
        max_level: The coarsest level.
        neck_width: Channels of the feature pyramid.
        head_width: Channels of the head's convolutions.
        head_depth: 3x3 convolutions of the head, before the predictor.
        activation: In the head.
        full_size_loss: Learn every pixel, from logits enlarged to the size of the images, instead of the pixel at the
            centre of each cell: for small structures, at the price of 16 times the memory of the logits.
        batch_norm: "train" for the statistics of each process's images, "sync" for those of all processes, "frozen" for
            the running ones, which then stay as they are (the layers' weights and biases still learn).
        batch_norm_momentum: Weight of the newest batch in the running statistics of all layers, 0-1. The paper's
            0.003 wants thousands of steps.

    Raises:
        ConfigError: If an argument is out of range, or there is no such backbone or neck.
        CheckpointError: If ``pretrained`` weights cannot be had or do not fit.
    """

    target: TargetName = "masks"
    understands = ("mask_weights", "unknown_classes")

    def __init__(
        self,
        classes: Sequence[str],
        backbone: str | nn.Module | Callable[..., nn.Module] = "tf_efficientnet_b7",
        backbone_options: dict[str, Any] | None = None,
        pretrained: bool | str = False,
        frozen_stages: int = 0,
        gradient_checkpointing: bool = False,
        neck: str | Callable[..., nn.Module] = "nas-fpn",
        neck_options: dict[str, Any] | None = None,
        min_level: int = 3,
        max_level: int = 7,
        neck_width: int = 256,
        head_width: int = 256,
        head_depth: int = 3,
        activation: Literal["relu", "swish"] = "relu",
        full_size_loss: bool = False,
        batch_norm: BatchNormMode = "train",
        batch_norm_momentum: float = 0.003,
    ) -> None:
        allowed = f"at most {IGNORE_INDEX}, as a pixel of a mask is one byte and {IGNORE_INDEX} says nothing"
        require(allowed, lambda v: v <= IGNORE_INDEX, **{"the number of classes": len(classes)})
        require(f"at least {LEVEL}", lambda v: v >= LEVEL, min_level=min_level)
        require("at least 0", lambda v: v >= 0, head_depth=head_depth)
        require("at least 1", lambda v: v >= 1, head_width=head_width)
        require_choice("activation", activation, ACTIVATIONS)
        if neck == "nas-fpn" and neck_options is None:
            neck_options = PAPER_NECK_OPTIONS
        super().__init__(
            classes,
            backbone,
            backbone_options,
            pretrained,
            neck,
            neck_options,
            min_level,
            max_level,
            neck_width,
            batch_norm,
            batch_norm_momentum,
            frozen_stages,
            gradient_checkpointing,
        )
        self.full_size_loss = full_size_loss
        self.head = SegmentationHead(
            class_count=len(self.classes),
            min_level=min_level,
            in_width=self.neck.width,
            width=head_width,
            depth=head_depth,
            activation=activation,
        )
        self.settle_batch_norms()

    def forward(self, images: Tensor) -> Tensor:
        """Return the class logits of each cell of the padded canvas, floating [B, C, H' / 4, W' / 4].

        Args:
            images: uint8 [B, 3, H, W]. Normalised here and nowhere else, then padded with the mean colour at the bottom
                and right to H' x W' pixels, multiples of the largest stride.
        """
        return self._judge(self.normalise(images))

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each image, float32 [B], and the same as its only part, "pixel_loss".

        The mean over the images of one stream (human or pseudo) of all processes is the paper's loss of that stream:
        the mean over all its pixels that are not ignored. All processes have to call this together.

        Args:
            batch: A training batch; ``images``, ``masks`` and ``pseudo`` are read, and ``mask_weights`` and
                ``unknown_classes`` where they are there: see ``pixel_loss``. Neither changes what the sums are divided
                by.
        """
        logits = self(batch["images"])
        with torch.autocast(logits.device.type, enabled=False):
            return self.losses_of(logits, batch)

    def losses_of(self, logits: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what ``losses`` returns, from what the head says."""
        masks, believed = batch["masks"], batch.get("mask_weights")
        height, width = masks.shape[-2:]
        if self.full_size_loss:
            canvas = [STRIDE * side for side in logits.shape[-2:]]
            logits = nn.functional.interpolate(logits.float(), canvas, mode="bilinear", align_corners=False)
            logits, labels = logits[..., :height, :width], masks
        else:
            cells = logits.shape[-2], logits.shape[-1]
            labels = _values_of_cells(masks, *cells)
            believed = None if believed is None else _values_of_cells(believed, *cells)
        weights = pixel_weights((labels != IGNORE_INDEX).sum(dim=(1, 2)), batch["pseudo"])
        counts = None if believed is None else believed / 255
        losses = pixel_loss(logits, labels, counts, batch.get("unknown_classes")) * weights
        return losses, {"pixel_loss": losses.detach()}

    @torch.no_grad()
    def predict(self, images: Tensor, flip: bool = False, scales: Sequence[float] = (1.0,)) -> list[ScoreMap]:
        """Return the class scores of each image's cells, for ``restore``. Wants evaluation mode.

        Args:
            images: uint8 [B, 3, H, W].
            flip: Average the probabilities with those of the mirrored images.
            scales: Average the probabilities of the images at each of these sizes; the paper's pseudo-labels are made
                with 0.5, 0.75, 1, 1.25, 1.5 and 1.75.

        Raises:
            ConfigError: If there is no scale, or one is not above 0.
        """
        total = reduce(torch.logaddexp, self._views(images, flip, scales))
        view_count = len(scales) * (2 if flip else 1)
        return [ScoreMap(scores=scores) for scores in total - math.log(view_count)]

    def restore(self, predictions: list[ScoreMap], scales: Tensor, sizes: Tensor) -> list[MaskPrediction]:
        """Return the masks of the original images: see ``restore_masks``."""
        return restore_masks(predictions, scales, sizes)

    def metric(self) -> MeanIoU:
        """Return a new, empty metric: the mean over the classes of intersection over union."""
        return MeanIoU(self.classes)

    def _judge(self, images: Tensor) -> Tensor:
        """Return class logits of normalised and padded images."""
        return cast(Tensor, self.head(self.neck(self.backbone(images))))

    def _views(self, images: Tensor, flip: bool, scales: Sequence[float]) -> Iterator[Tensor]:
        """Yield what each view says of the cells of ``images``: logarithms of probabilities, float32 [B, C, h, w]."""
        cell_counts = [math.ceil(side / STRIDE) for side in images.shape[-2:]]
        for view in views_at(images, scales):
            canvas = self.normalise(view.images)
            within = [cells_within(side) for side in view.images.shape[-2:]]
            for is_mirrored in (False, True) if flip else (False,):
                # Padded first, mirrored then: so the cells of the mirror image are those of the image.
                logits = self._judge(canvas.flip(-1)).flip(-1) if is_mirrored else self._judge(canvas)
                logits = logits.float()
                if view.ratios == (1.0, 1.0):
                    logits = logits[..., : cell_counts[0], : cell_counts[1]]
                else:
                    for dim, ratio in ((-2, view.ratios[1]), (-1, view.ratios[0])):
                        logits = taps_at(cell_counts[dim], ratio, within[dim], logits.device).sample(logits, dim)
                yield logits.log_softmax(dim=1)


def _values_of_cells(masks: Tensor, height: int, width: int) -> Tensor:
    """Return the values of the pixels at the centres of the cells, uint8 [B, height, width]; ignored in the padding.

    A centre lies on the corner of four pixels; of these the last is taken.

    Args:
        masks: uint8 [B, H, W].
        height: Rows of cells of the padded canvas.
        width: Columns of cells of it.
    """
    missing = (0, STRIDE * width - masks.shape[2], 0, STRIDE * height - masks.shape[1])
    return nn.functional.pad(masks, missing, value=IGNORE_INDEX)[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
