"""Classification of whole images as a task: the supervised pre-training of a backbone (paper.md, section 3.2)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_st.models.accuracy import Accuracy
from lightning_st.models.arguments import require
from lightning_st.models.images import views_at
from lightning_st.models.normalization import BatchNormMode
from lightning_st.models.whole_image_model import WholeImageModel
from lightning_st.types import Batch, ClassPrediction, TargetName


class ImageClassifier(WholeImageModel):
    """Backbone, average over its maps (``ImagePooling``), and one linear layer.

    Its checkpoint is what ``pretrained`` of another model takes.

    Args:
        classes: The names of the classes, in the order of the labels.
        backbone: See ``RetinaNet``.
        backbone_options: See ``RetinaNet``.
        pretrained: See ``RetinaNet``.
        gradient_checkpointing: See ``RetinaNet``.
        min_level: The finest level of the backbone that is asked for; its stride is ``2 ** min_level`` pixels.
        max_level: The coarsest that is asked for; a backbone of timm ends at 5.
        label_smoothing: The part of the target, 0-1, that is spread evenly over all classes.
        dropout: The part of the averaged features, 0-1, that a training step leaves out.
        batch_norm: See ``RetinaNet``.
        batch_norm_momentum: See ``RetinaNet``.

    Raises:
        ConfigError: If an argument is out of range, or there is no such backbone.
        CheckpointError: If ``pretrained`` weights cannot be had or do not fit.
    """

    target: TargetName = "classes"

    def __init__(
        self,
        classes: Sequence[str],
        backbone: str | nn.Module | Callable[..., nn.Module] = "resnet50",
        backbone_options: dict[str, Any] | None = None,
        pretrained: bool | str = False,
        gradient_checkpointing: bool = False,
        min_level: int = 3,
        max_level: int = 7,
        label_smoothing: float = 0.1,
        dropout: float = 0.0,
        batch_norm: BatchNormMode = "train",
        batch_norm_momentum: float = 0.1,
    ) -> None:
        require("at least 0 and below 1", lambda v: 0 <= v < 1, label_smoothing=label_smoothing, dropout=dropout)
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
        self.label_smoothing = label_smoothing
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.neck.width, len(self.classes))
        self.settle_batch_norms()

    def forward(self, images: Tensor) -> Tensor:
        """Return the class logits, floating [B, C], of ``images``: [B, 3, H, W], RGB, 0-255."""
        features = self.dropout(self.features(images))
        logits: Tensor = self.classifier(features.to(self.classifier.weight.dtype))
        return logits

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross entropy of each image, float32 [B], and whether it was classified right, 0 or 1.

        Args:
            batch: A training batch; ``images`` and ``image_labels`` are read.
        """
        logits, labels = self(batch["images"]).float(), batch["image_labels"]
        losses = nn.functional.cross_entropy(
            logits, labels, ignore_index=-1, reduction="none", label_smoothing=self.label_smoothing
        )
        return losses, {"accuracy": (logits.argmax(dim=1) == labels).float()}

    @torch.no_grad()
    def predict(self, images: Tensor, flip: bool = False, scales: Sequence[float] = (1.0,)) -> list[ClassPrediction]:
        """Return the probabilities of each image's classes. Wants evaluation mode.

        Args:
            images: uint8 [B, 3, H, W].
            flip: Average them with those of the mirrored images.
            scales: Average those of the images at each of these sizes.
        """
        found = []
        for view in views_at(images, scales):
            found += [self(each).float().softmax(dim=1) for each in (view.images, view.images.flip(-1))[: 1 + flip]]
        return [ClassPrediction(probabilities=each) for each in torch.stack(found).mean(dim=0)]

    def metric(self) -> Accuracy:
        """Return a new, empty metric."""
        return Accuracy(self.classes)
