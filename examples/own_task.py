"""A task of your own: the loss of each image, predictions, and a metric. This one finds objects by their centres.

    python toy_data.py toy
    lightning_st self_train --config toy/toy.yaml --output runs/own_task --model '{class_path: own_task.CentrePoints}'

Teacher, student, pseudo-labels and report know a model only through these questions, so whatever answers them
self-trains. The idea is that of Zhou et al., "Objects as Points" (arXiv 1904.07850): a heat map for each class, and at
each cell the four distances to the sides of the box around it. Another detector as a task: docs/any_detector.md.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_st.models import CocoMetric, restore_detections
from lightning_st.models.images import ImageNormalization
from lightning_st.types import Batch, BoxKind, Prediction

STRIDE = 4  # pixels a side of a cell


class CentrePoints(nn.Module):
    """Predicts for each cell of stride 4 whether a box has its centre there, of which class, and where its sides are.

    Args:
        classes: The names of the classes, from the data.
        width: Channels of the convolutions. Its own argument, from `--model.init_args`.
        depth: How many of them there are.
        score_threshold: Only scores above it are predicted.
    """

    target = "boxes"  # what a batch has to hold: boxes, masks, classes or views

    def __init__(self, classes: Sequence[str], width: int = 32, depth: int = 3, score_threshold: float = 0.01) -> None:
        super().__init__()
        self.classes, self.score_threshold = tuple(classes), score_threshold
        self.normalise = ImageNormalization(STRIDE)
        layers: list[nn.Module] = []
        for number in range(depth):
            stride = 2 if number < 2 else 1
            layers += [nn.Conv2d(width if number else 3, width, 5, stride, 2), nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.heat, self.sides = nn.Conv2d(width, len(self.classes), 1), nn.Conv2d(width, 4, 1)
        nn.init.constant_(self.heat.bias, -4.6)  # 0.01: a fresh model sees nothing anywhere

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return heat logits, [B, C, h, w], and the distances to the four sides in cells, [B, 4, h, w]."""
        x = self.layers(self.normalise(images))
        return self.heat(x).float(), nn.functional.softplus(self.sides(x).float())

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each image, float32 [B], and its named parts for the log, each [B]."""
        heat, sides = self(batch["images"])
        wanted, learnt = torch.zeros_like(heat), torch.ones_like(heat[:, :1])
        side_loss = []
        for image, (boxes, kinds) in enumerate(zip(batch["boxes"], batch["kinds"], strict=True)):
            for left, top, right, bottom in (boxes[kinds >= BoxKind.CROWD] / STRIDE).int().tolist():
                learnt[image, :, top : bottom + 1, left : right + 1] = 0  # crowds, and labels that are not trusted
            is_object = kinds == BoxKind.OBJECT
            objects, labels = boxes[is_object] / STRIDE, batch["labels"][image][is_object]
            column, row = ((objects[:, :2] + objects[:, 2:]) / 2).long().unbind(1)
            wanted[image, labels, row, column] = 1
            centre = torch.stack([column, row], 1) + 0.5
            distances = torch.cat([centre - objects[:, :2], objects[:, 2:] - centre], 1)
            error = (sides[image, :, row, column].T - distances).abs()
            side_loss.append(error.sum() / max(1, len(objects)))  # 0, with a gradient, where there is no object
        probability = heat.sigmoid()
        miss = wanted * (1 - probability) ** 2 + (1 - wanted) * probability**2
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(heat, wanted, reduction="none")
        heat_loss = (learnt * miss * cross_entropy).sum((1, 2, 3)) / wanted.sum((1, 2, 3)).clamp(min=1)
        parts = {"heat_loss": heat_loss, "side_loss": 0.1 * torch.stack(side_loss)}
        return sum(parts.values()), {name: part.detach() for name, part in parts.items()}

    @torch.no_grad()
    def predict(self, images: Tensor, flip: bool = False) -> list[Prediction]:
        """Return what is found in each of `images`, uint8 [B, 3, H, W], best score first, in their pixels."""
        heat, sides = self(images)
        probability = heat.sigmoid()
        if flip:
            mirrored = self(images.flip(-1))[0].sigmoid().flip(-1)
            probability = (probability + mirrored) / 2
        # A cell that a neighbour outshines is no centre.
        is_peak = probability == nn.functional.max_pool2d(probability, 3, 1, 1)
        found = []
        for scores, distances in zip(probability * is_peak, sides, strict=True):
            label, row, column = torch.nonzero(scores > self.score_threshold, as_tuple=True)
            best = scores[label, row, column].argsort(descending=True)[:100]
            label, row, column = label[best], row[best], column[best]
            centre = torch.stack([column, row], 1) + 0.5
            left_top, right_bottom = distances[:, row, column].T.split(2, 1)
            boxes = torch.cat([centre - left_top, centre + right_bottom], 1) * STRIDE
            found.append(Prediction(boxes=boxes, labels=label, scores=scores[label, row, column]))
        return found

    def restore(self, predictions: list[Prediction], scales: Tensor, sizes: Tensor) -> list[Prediction]:
        """Return `predictions` in pixels of the original images."""
        return restore_detections(predictions, scales, sizes)

    def metric(self) -> CocoMetric:
        """Return what judges it; `metric().primary` decides which checkpoint is best."""
        return CocoMetric(self.classes)
