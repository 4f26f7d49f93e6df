"""Joint training: a detector whose backbone also classifies whole images (paper.md, section 3.5)."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lightning_st.errors import ConfigError
from lightning_st.models.pooling import ImagePooling
from lightning_st.models.retinanet import RetinaNet
from lightning_st.types import Batch


class JointDetector(RetinaNet):
    """RetinaNet with a second task on the same backbone: the classes of the images of ``data.joint``.

    Images with boxes have RetinaNet's loss, images whose class is known the cross entropy of a linear layer on the
    averaged coarsest map (``ImagePooling``), images with both have the sum. Neck and head compute only on images with
    boxes, and normalise by these; a process whose share has none (a batch of fewer labelled images than processes)
    sends its other images through them, without loss. Predictions, and the metric, are the detector's.

    Its checkpoint serves ``pretrained`` like that of any other arm; and it is a detector already.

    Args:
        classes: The names of the classes of boxes, in the order of the labels.
        image_class_count: How many classes of whole images there are; the data say it.
        **detector: All other arguments of ``RetinaNet``.

    Raises:
        ConfigError: If there are no classes of whole images, or an argument is wrong.
    """

    def __init__(self, classes: Sequence[str], image_class_count: int = 0, **detector: Any) -> None:
        if image_class_count < 1:
            advice = "JointDetector learns the classes of the images of data.joint besides: give data.joint.images."
            raise ConfigError.expected("image_class_count", "at least 1", image_class_count, advice)
        super().__init__(classes, **detector)
        self.pooling = ImagePooling(self.backbone.levels, self.backbone.channels)
        self.classifier = nn.Linear(self.pooling.width, image_class_count)

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each image, float32 [B], and its parts: RetinaNet's two, and "image_loss".

        All processes have to call this together.

        Args:
            batch: A training batch; ``images``, ``boxes``, ``labels``, ``kinds`` and ``pseudo`` are read, and
                ``image_labels`` and ``has_boxes``; without these every image has boxes, and none a class.
        """
        images = self.normalise(batch["images"])
        maps = self.backbone(images)
        features = self.pooling(maps).to(self.classifier.weight.dtype)
        image_logits = self.classifier(features).float()
        losses, parts = self._detection_losses(images, maps, batch)
        labels = batch.get("image_labels", torch.full_like(batch["rows"], -1))
        # Where no class is known the loss is zero, but the layer is in the graph: DDP wants its gradient on every rank.
        image_losses = nn.functional.cross_entropy(image_logits, labels, ignore_index=-1, reduction="none")
        return losses + image_losses, {**parts, "image_loss": image_losses.detach()}

    def _detection_losses(
        self, images: Tensor, maps: Sequence[Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return RetinaNet's losses, zero for images without boxes, each [B].

        Args:
            images: Normalised and padded, floating [B, 3, H, W].
            maps: The backbone's.
            batch: See ``losses``.
        """
        has_boxes = batch.get("has_boxes", torch.ones_like(batch["pseudo"]))
        rows = has_boxes.nonzero()[:, 0]
        if not len(rows):  # a share without any: the head still has to take part, with a weight of zero
            rows = torch.arange(len(has_boxes), device=has_boxes.device)
        logits, deltas = self.head(self.neck([x[rows] for x in maps]))
        part = {name: tensor[rows] for name, tensor in batch.items() if isinstance(tensor, Tensor)}
        with torch.autocast(images.device.type, enabled=False):
            losses, parts = self.losses_of(logits, deltas, self._canvas_anchors(images), cast(Batch, part))
        weights = has_boxes[rows].float()

        def placed(values: Tensor) -> Tensor:
            return values.new_zeros(len(images)).index_put((rows,), values * weights)

        return placed(losses), {name: placed(values) for name, values in parts.items()}
