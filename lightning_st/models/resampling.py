"""Bilinear samples of a map at exact places, axis by axis: for scales that are no ratio of two whole sizes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Taps:
    """Along one axis, the two cells that each of n samples lies between.

    Attributes:
        low: int64 [n], the cell before.
        high: int64 [n], the cell after; the same at the border.
        weight: float32 [n], of the cell after.
    """

    low: Tensor
    high: Tensor
    weight: Tensor

    def __getitem__(self, block: slice) -> "Taps":
        """Return the taps of some of the samples."""
        return Taps(self.low[block], self.high[block], self.weight[block])

    def sample(self, x: Tensor, dim: int) -> Tensor:
        """Return ``x``, float32, with its cells along ``dim`` replaced by the samples."""
        shape = [1] * x.ndim
        shape[dim] = -1
        return torch.lerp(x.index_select(dim, self.low), x.index_select(dim, self.high), self.weight.view(shape))


def taps_at(count: int, step: float, cell_count: int, device: torch.device) -> Taps:
    """Return the taps of ``count`` samples whose centres are ``step`` cells apart.

    A cell, and a sample, spreads over an interval; both rows of intervals begin at 0. Samples before the centre of the
    first cell or beyond that of the last take its value.

    Args:
        count: How many samples.
        step: Width of a sample's interval in cells.
        cell_count: Cells that may be read, at least 1; those that follow are as if they were not there.
        device: Where the map lies.

    Example:
        >>> taps = taps_at(4, 0.5, 2, torch.device("cpu"))  # to twice as many
        >>> taps.sample(torch.tensor([0.0, 100.0]), dim=0).tolist()
        [0.0, 25.0, 75.0, 100.0]
    """
    # Made on the host: not every device has float64, in which places in large images are exact.
    places = ((torch.arange(count, dtype=torch.float64, device="cpu") + 0.5) * step - 0.5).clamp(0, cell_count - 1)
    low = places.long()
    high = (low + 1).clamp(max=cell_count - 1)
    return Taps(low.to(device), high.to(device), (places - low).float().to(device))
