"""RetinaNet as a task: the paper's detector (paper.md, section 4)."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lightning_st.models.activations import ACTIVATIONS
from lightning_st.models.anchors import AnchorGrid
from lightning_st.models.arguments import require, require_choice
from lightning_st.models.boxes import encode
from lightning_st.models.detections import restore_detections, select_detections
from lightning_st.models.evaluators import Evaluator, make_metric
from lightning_st.models.heads import RetinaHead
from lightning_st.models.images import View, views_at
from lightning_st.models.losses import BACKGROUND, IGNORED, focal_loss, huber_loss, stream_weights
from lightning_st.models.matching import match_anchors
from lightning_st.models.normalization import BatchNormMode
from lightning_st.models.pyramid_model import PyramidModel
from lightning_st.models.soft_nms import SoftNms
from lightning_st.types import Batch, Metric, Prediction, TargetName


class RetinaNet(PyramidModel):
    """A one-stage detector: backbone, feature pyramid, and a head that judges every anchor.

    The defaults are the paper's. For minutes on a CPU: ``backbone="resnet10t"``, ``backbone_options={"channels": [32,
    64, 128, 256], "stem_width": 16}``, ``max_level=5``, ``neck_width=64``, ``head_width=64``, ``head_depth=2``,
    ``anchor_size=2.0``, ``batch_norm_momentum=0.1``.

    Args:
        classes: The names of the classes, in the order of the labels.
        backbone: A name of timm with ``features_only`` ("resnet50", "tf_efficientnet_b7" ...), a backbone, or a
            callable or its import path that makes one (see ``lightning_st.models.backbones``).
        backbone_options: Further arguments of the backbone's constructor.
        pretrained: False for random weights, True for timm's default weights, a tag of timm, or a file of weights.
        frozen_stages: How many of the backbone's stages are not trained: 0 none, 1 the stem, 2 the stem and the first
            stage ("layer1" of a ResNet), and so on. They compute as in evaluation mode, so their batch normalisation
            keeps its statistics.
        gradient_checkpointing: Save memory: keep only the results of the backbone's stages for the backward pass, which
            computes the rest once more. Losses, gradients and statistics are the same; the backbone's part of a step
            takes a quarter to two thirds longer.
        neck: A name of ``lightning_st.models.necks.NECKS``, the import path of an own one, or a callable that is called
            like ``FPN``.
        neck_options: Further arguments of the neck's constructor, such as ``repeats`` of "nas-fpn".
        min_level: The finest level; a level's stride is ``2 ** level`` pixels.
        max_level: The coarsest level.
        neck_width: Channels of the feature pyramid.
        head_width: Channels of the head's two towers.
        head_depth: Convolutions in each tower.
        separable_head: Depthwise and pointwise convolutions in the head instead of full ones.
        activation: In the towers; the paper's SpineNets have "swish".
        anchor_size: Side of the smallest anchor of a level, in strides.
        scales_per_octave: Anchor sizes for each location.
        aspect_ratios: Of the anchors, width over height.
        positive_iou: From this IoU on an anchor is to find a box.
        negative_iou: Below this IoU an anchor is background; between the two it learns nothing.
        focal_alpha: Weight of positives in the class loss, 0-1.
        focal_gamma: How much well-classified anchors are played down in the class loss.
        huber_delta: Where the box loss becomes linear, as a fraction of the anchor's side.
        box_loss_weight: Of the box loss against the class loss.
        batch_norm: "train" for the statistics of each process's images, "sync" for those of all processes, "frozen" for
            the running ones, which then stay as they are (the layers' weights and biases still learn).
        batch_norm_momentum: Weight of the newest batch in the running statistics of all layers, 0-1. The paper's
            0.003 wants thousands of steps.
        score_threshold: Only scores above it are predicted.
        nms_iou: Of two predictions of one class with a larger IoU only the better stays.
        pre_nms_count: The best of each class and image that are compared with each other.
        max_detections: The most that are predicted for one image; COCO's limit, too.
        evaluator: What judges it and decides which checkpoint is best: "coco" for COCO's AP, "voc" for PASCAL VOC's mAP
            at IoU 0.5 (difficult objects count for nothing), "voc07" for that of VOC2007 at eleven recalls.

    Raises:
        ConfigError: If an argument is out of range, or there is no such backbone or neck.
        CheckpointError: If ``pretrained`` weights cannot be had or do not fit.
    """

    target: TargetName = "boxes"
    understands = ("weights", "unknown_classes")

    def __init__(
        self,
        classes: Sequence[str],
        backbone: str | nn.Module | Callable[..., nn.Module] = "resnet50",
        backbone_options: dict[str, Any] | None = None,
        pretrained: bool | str = False,
        frozen_stages: int = 0,
        gradient_checkpointing: bool = False,
        neck: str | Callable[..., nn.Module] = "fpn",
        neck_options: dict[str, Any] | None = None,
        min_level: int = 3,
        max_level: int = 7,
        neck_width: int = 256,
        head_width: int = 256,
        head_depth: int = 4,
        separable_head: bool = False,
        activation: Literal["relu", "swish"] = "relu",
        anchor_size: float = 4.0,
        scales_per_octave: int = 3,
        aspect_ratios: Sequence[float] = (1.0, 2.0, 0.5),
        positive_iou: float = 0.5,
        negative_iou: float = 0.5,
        focal_alpha: float = 0.25,
        focal_gamma: float = 1.5,
        huber_delta: float = 0.1,
        box_loss_weight: float = 50.0,
        batch_norm: BatchNormMode = "train",
        batch_norm_momentum: float = 0.003,
        score_threshold: float = 0.05,
        nms_iou: float = 0.5,
        pre_nms_count: int = 5000,
        max_detections: int = 100,
        evaluator: Evaluator = "coco",
    ) -> None:
        ious = (negative_iou, positive_iou)
        allowed = "above 0, at most 1, in this order"
        require(allowed, lambda v: 0 < v[0] <= v[1] <= 1, **{"negative_iou and positive_iou": ious})
        require("above 0, each", lambda v: len(v) > 0 and min(v) > 0, aspect_ratios=aspect_ratios)
        require("above 0", lambda v: v > 0, anchor_size=anchor_size, huber_delta=huber_delta)
        require(
            "at least 0",
            lambda v: v >= 0,
            head_depth=head_depth,
            focal_gamma=focal_gamma,
            box_loss_weight=box_loss_weight,
        )
        require("0 to 1", lambda v: 0 <= v <= 1, focal_alpha=focal_alpha)
        require("0 to 1", lambda v: 0 <= v <= 1, score_threshold=score_threshold, nms_iou=nms_iou)
        require("at least 1", lambda v: v >= 1, head_width=head_width, scales_per_octave=scales_per_octave)
        require("at least 1", lambda v: v >= 1, pre_nms_count=pre_nms_count, max_detections=max_detections)
        require_choice("activation", activation, ACTIVATIONS)
        require_choice("evaluator", evaluator, get_args(Evaluator))
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
        self.positive_iou, self.negative_iou = positive_iou, negative_iou
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma
        self.huber_delta, self.box_loss_weight = huber_delta, box_loss_weight
        self.score_threshold, self.nms_iou = score_threshold, nms_iou
        self.pre_nms_count, self.max_detections = pre_nms_count, max_detections
        self.evaluator = evaluator
        self.anchors = AnchorGrid(min_level, max_level, anchor_size, scales_per_octave, aspect_ratios)
        self.head = RetinaHead(
            class_count=len(self.classes),
            anchors_per_location=self.anchors.per_location,
            level_count=max_level - min_level + 1,
            in_width=self.neck.width,
            width=head_width,
            depth=head_depth,
            activation=activation,
            separable=separable_head,
        )
        self.settle_batch_norms()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the head says of every anchor of the padded canvas.

        Args:
            images: uint8 [B, 3, H, W]. Normalised here and nowhere else, then padded with the mean colour at the bottom
                and right to a multiple of the neck's ``size_divisor``.

        Returns:
            Class logits, floating [B, A, C], and box deltas, floating [B, A, 4] (see ``boxes.encode``).
        """
        return self._judge(self.normalise(images))

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each image, float32 [B], and its two parts, whose sum it is.

        The mean over the images of one stream (human or pseudo) of all processes is the paper's loss of that stream:
        the sum over its images divided by its positive anchors + 1. All processes have to call this together.

        Args:
            batch: A training batch; ``images``, ``boxes``, ``labels``, ``kinds`` and ``pseudo`` are read, and
                ``weights`` and ``unknown_classes`` where they are there. A box's weight is that of its anchors, in both
                parts of the loss; an unknown class is no negative. Neither changes what the sums are divided by.
        """
        images = self.normalise(batch["images"])
        logits, deltas = self._judge(images)
        with torch.autocast(images.device.type, enabled=False):
            return self.losses_of(logits, deltas, self._canvas_anchors(images), batch)

    def losses_of(
        self, logits: Tensor, deltas: Tensor, anchors: Tensor, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what ``losses`` returns, from what the head says."""
        matched, ignored = match_anchors(anchors, batch["boxes"], batch["kinds"], self.positive_iou, self.negative_iou)
        # One more row stands for no box.
        labels = (
            nn.functional.pad(batch["labels"], (0, 1), value=BACKGROUND)
            .gather(1, matched)
            .masked_fill(ignored, IGNORED)
        )
        boxes = nn.functional.pad(batch["boxes"], (0, 0, 0, 1)).gather(1, matched.unsqueeze(-1).expand(-1, -1, 4))
        is_positive = labels >= 0
        weights = stream_weights(is_positive.sum(dim=1), batch["pseudo"])
        believed = _weights_of_anchors(batch, matched)
        unknown = batch.get("unknown_classes")
        class_loss = focal_loss(logits, labels, self.focal_alpha, self.focal_gamma, believed, unknown)
        counts = is_positive if believed is None else is_positive * believed
        # Four coordinates a box (paper.md, section 4.4).
        box_loss = huber_loss(deltas, encode(boxes, anchors), counts, self.huber_delta) / 4
        parts = {"class_loss": class_loss * weights, "box_loss": self.box_loss_weight * box_loss * weights}
        return parts["class_loss"] + parts["box_loss"], {name: part.detach() for name, part in parts.items()}

    @torch.no_grad()
    def predict(
        self, images: Tensor, flip: bool = False, scales: Sequence[float] = (1.0,), soft_nms: SoftNms | None = None
    ) -> list[Prediction]:
        """Return the detections of each image, best score first, in pixels of ``images``. Wants evaluation mode.

        Args:
            images: uint8 [B, 3, H, W].
            flip: Average class probabilities and box deltas with those of the mirrored images.
            scales: Join the candidates of the images at each of these sizes, before the best are selected.
            soft_nms: Lower the scores of boxes that overlap a better one, instead of dropping them: see ``SoftNms``.

        Raises:
            ConfigError: If there is no scale, or one is not above 0.
        """
        found = [self._candidates(view, flip) for view in views_at(images, scales)]
        # One view's are not copied: they are the largest tensors of all.
        probabilities, deltas, anchors = (
            parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2) for parts in zip(*found, strict=True)
        )
        return select_detections(
            probabilities,
            deltas,
            anchors,
            canvas=(images.shape[-2], images.shape[-1]),
            score_threshold=self.score_threshold,
            nms_iou=self.nms_iou,
            pre_nms_count=self.pre_nms_count,
            max_detections=self.max_detections,
            soft=soft_nms,
        )

    def _candidates(self, view: View, flip: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is found in one view.

        Returns:
            Class probabilities, float32 [B, A, C]; box deltas, float32 [B, A, 4]; and the anchors in pixels of the
            images at their own size, float32 [A, 4]. Deltas are relative to the anchor, so they know no scale.
        """
        # A mirror image has the same anchors where all maps end with the canvas.
        normalised = self.normalise(view.images, self.anchors.strides[-1] if flip else None)
        logits, deltas = self._judge(normalised)
        probabilities, deltas = logits.float().sigmoid(), deltas.float()
        if flip:
            mirror = self.anchors.mirror_rows(normalised.shape[-2], normalised.shape[-1], normalised.device)
            mirrored_logits, mirrored_deltas = self._judge(normalised.flip(-1))
            probabilities = (probabilities + mirrored_logits[:, mirror].float().sigmoid()) / 2
            # What lies to the right of an anchor lies to the left in the mirror.
            signs = deltas.new_tensor([-1, 1, 1, 1])
            deltas = (deltas + mirrored_deltas[:, mirror].float() * signs) / 2
        anchors = self._canvas_anchors(normalised)
        return probabilities, deltas, anchors / anchors.new_tensor(view.ratios * 2)

    def restore(self, predictions: list[Prediction], scales: Tensor, sizes: Tensor) -> list[Prediction]:
        """Return ``predictions`` in pixels of the original images: see ``restore_detections``."""
        return restore_detections(predictions, scales, sizes)

    def metric(self) -> Metric:
        """Return a new, empty metric."""
        return make_metric(self.evaluator, self.classes, self.max_detections)

    def _size_divisor(self, max_level: int) -> int:
        """Return what the neck asks: the head reads every map by itself, so they need not fit otherwise."""
        return getattr(self.neck, "size_divisor", super()._size_divisor(max_level))

    def _judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits and box deltas of normalised and padded images."""
        logits, deltas = self.head(self.neck(self.backbone(images)))
        return logits, deltas

    def _canvas_anchors(self, images: Tensor) -> Tensor:
        """Return the anchors of normalised and padded images, float32 [A, 4]."""
        return self.anchors.boxes(images.shape[-2], images.shape[-1], images.device)


def _weights_of_anchors(batch: Batch, matched: Tensor) -> Tensor | None:
    """Return how much each anchor counts, float32 [B, A]: as its box does, and in full without one. None: all in full.

    Args:
        batch: Its ``weights`` are read.
        matched: int64 [B, A], see ``match_anchors``.
    """
    if "weights" not in batch:
        return None
    return nn.functional.pad(batch["weights"], (0, 1), value=1.0).gather(1, matched)
