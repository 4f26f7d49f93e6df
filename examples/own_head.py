"""A head of your own: RetinaNet's anchors, loss and predictions, with other layers in between.

    python toy_data.py toy
    lightning_st self_train --config toy/toy.yaml --output runs/own_head \
        --model own_head.SharedTowerRetinaNet --model.tower_depth 2

The head gets the neck's maps and says of every anchor what it is. A subclass that keeps `**options` keeps all keys of
its base on the command line, and adds its own. To change the loss instead, override `losses_of`.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lightning_st import RetinaNet


class SharedTowerHead(nn.Module):
    """One tower for classes and boxes, where RetinaNet has two: half of the head's work."""

    def __init__(self, class_count: int, anchors_per_location: int, in_width: int, width: int, depth: int) -> None:
        super().__init__()
        self.class_count = class_count
        widths = [in_width] + [width] * depth
        layers = [(nn.Conv2d(a, b, 3, padding=1), nn.ReLU()) for a, b in pairwise(widths)]
        self.tower = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.classes = nn.Conv2d(widths[-1], anchors_per_location * class_count, 3, padding=1)
        self.boxes = nn.Conv2d(widths[-1], anchors_per_location * 4, 3, padding=1)
        for layer in (self.classes, self.boxes):
            nn.init.normal_(layer.weight, std=0.01)
        # A fresh head believes in nothing: of so many anchors almost all are background.
        nn.init.constant_(self.classes.bias, -math.log((1 - 0.01) / 0.01))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return class logits, floating [B, A, C], and box deltas, floating [B, A, 4].

        The A anchors go level by level, finest first; within a level row by row; at each location one after the other.

        Args:
            maps: Floating [B, in_width, H, W] each, finest first.
        """
        towers = [self.tower(each) for each in maps]
        logits = [self._by_anchor(self.classes(each), self.class_count) for each in towers]
        deltas = [self._by_anchor(self.boxes(each), 4) for each in towers]
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1)

    @staticmethod
    def _by_anchor(x: Tensor, count: int) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, count))


class SharedTowerRetinaNet(RetinaNet):
    """RetinaNet with this head.

    Args:
        classes: The names of the classes, from the data.
        tower_depth: Convolutions of the tower.
        **options: All other arguments of `RetinaNet`.
    """

    def __init__(self, classes: Sequence[str], tower_depth: int = 4, **options: Any) -> None:
        super().__init__(classes, **options)
        width = self.neck.width
        self.head = SharedTowerHead(len(self.classes), self.anchors.per_location, width, width, tower_depth)
        self.settle_batch_norms()
