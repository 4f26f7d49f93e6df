"""What processes that train together tell each other inside a model, with gradient."""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


class SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; so is the gradient, as every process's loss depends on the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the sum."""
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:
        """Return the sum of the gradients."""
        total = outer.clone()
        dist.all_reduce(total)
        return total


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all processes, in the order of the processes, and where those of this one begin.

    Processes may hold different numbers of rows. A gradient by any process's copy reaches the process whose row it is.
    All processes have to call this together.

    Args:
        rows: Floating [B, ...]; all but B is the same on all processes.

    Returns:
        Floating [N, ...] with N the sum of B over the processes, and the number of rows before one's own.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return rows, 0
    counts = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=rows.device)
    counts[dist.get_rank()] = len(rows)
    dist.all_reduce(counts)
    sizes = counts.tolist()
    start = sum(sizes[: dist.get_rank()])
    placed = rows.new_zeros(sum(sizes), *rows.shape[1:])
    placed[start : start + len(rows)] = rows
    return cast(Tensor, SumOverProcesses.apply(placed)), start
