"""The anchors of RetinaNet: boxes of several sizes and shapes at each location and level (paper.md, section 4.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor

CACHED_CANVASES = 8
"""Canvas sizes whose anchors are kept; a run has one or two, multi-scale evaluation a few."""


class AnchorGrid:
    """Anchors as a function of the canvas size.

    They are ordered by level (finest first), row, column, scale, aspect ratio. They are not clipped to the canvas.

    Args:
        min_level: The finest level; a level's stride is ``2 ** level`` pixels.
        max_level: The coarsest level.
        size: Side of the smallest square anchor of a level, in strides of that level.
        scales_per_octave: Sizes for each location, by factors of ``2 ** (1 / scales_per_octave)``.
        aspect_ratios: Width over height; all shapes of one size have the same area.

    Example:
        >>> grid = AnchorGrid(3, 7, size=4.0, scales_per_octave=3, aspect_ratios=(1.0, 2.0, 0.5))
        >>> grid.boxes(640, 640, torch.device("cpu"))[0].tolist()
        [-12.0, -12.0, 20.0, 20.0]
    """

    def __init__(
        self, min_level: int, max_level: int, size: float, scales_per_octave: int, aspect_ratios: Sequence[float]
    ) -> None:
        self.strides = [2**level for level in range(min_level, max_level + 1)]
        scales = [size * 2 ** (octave / scales_per_octave) for octave in range(scales_per_octave)]
        # (width, height) in strides; scale outer, aspect ratio inner.
        self.shapes = [(scale * ratio**0.5, scale / ratio**0.5) for scale in scales for ratio in aspect_ratios]
        self._boxes: dict[tuple[int, int, str], Tensor] = {}

    @property
    def per_location(self) -> int:
        """Anchors at one location of one level."""
        return len(self.shapes)

    def boxes(self, height: int, width: int, device: torch.device) -> Tensor:
        """Return the anchors of a canvas, float32 [A, 4], xyxy in pixels.

        Args:
            height: Of the canvas in pixels; maps round up, so anchors of coarse levels may lie beyond it.
            width: Likewise.
            device: Where the anchors are to lie; they are made once for each size and device.
        """
        if torch.compiler.is_compiling():  # what a graph kept, the next step would need another graph for
            return self._make(height, width, device)
        key = (height, width, str(device))
        if key not in self._boxes:
            if len(self._boxes) == CACHED_CANVASES:
                self._boxes.clear()
            # What validation makes under inference_mode could not be used in training afterwards.
            with torch.inference_mode(False):
                self._boxes[key] = self._make(height, width, torch.device("cpu")).to(device)
        return self._boxes[key]

    def mirror_rows(self, height: int, width: int, device: torch.device) -> Tensor:
        """Return for each anchor the row of its mirror image in a canvas flipped left to right, int64 [A].

        Args:
            height: Of the canvas in pixels.
            width: Likewise, a multiple of the largest stride: what a map rounds up has no mirror image.
            device: Where the rows are to lie.
        """
        rows, start = [], 0
        for stride in self.strides:
            shape = (_cells(height, stride), _cells(width, stride), self.per_location)
            level = torch.arange(shape[0] * shape[1] * shape[2], device=device).view(shape)
            rows.append(start + level.flip(1).flatten())
            start += level.numel()
        return torch.cat(rows)

    def _make(self, height: int, width: int, device: torch.device) -> Tensor:
        """Return what ``boxes`` returns, computed on ``device``, which must know float64."""
        levels = [
            self._level_boxes(_cells(height, stride), _cells(width, stride), stride, device) for stride in self.strides
        ]
        return torch.cat(levels).float()

    def _level_boxes(self, rows: int, columns: int, stride: int, device: torch.device) -> Tensor:
        """Return the anchors of one level, float64 [rows * columns * K, 4]."""
        y = (torch.arange(rows, dtype=torch.float64, device=device) + 0.5) * stride
        x = (torch.arange(columns, dtype=torch.float64, device=device) + 0.5) * stride
        halves = torch.tensor(self.shapes, dtype=torch.float64, device=device) * stride / 2  # [K, 2]
        centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).unsqueeze(2)  # [rows, columns, 1, 2]
        return torch.cat([centres - halves, centres + halves], dim=-1).view(-1, 4)


def _cells(side: int, stride: int) -> int:
    """Return how many cells of ``stride`` pixels cover ``side`` pixels."""
    return (side + stride - 1) // stride
