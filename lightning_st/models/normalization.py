"""Batch normalisation: with the statistics of one process, of all processes, or frozen."""

from collections.abc import Iterator
from typing import Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lightning_st.models.processes import SumOverProcesses

BatchNormMode = Literal["train", "sync", "frozen"]
"""Which statistics a model's batch normalisation uses while it trains: those of this process's images, those of the
images of all processes, or the running ones, which then stay as they are."""

EPSILON = 1e-4
"""Added to the variance in the layers that this package makes (paper.md, section 4.5)."""


def batch_norms(module: nn.Module) -> Iterator[nn.BatchNorm2d | nn.SyncBatchNorm]:
    """Yield the batch normalisation layers of ``module``."""
    return (part for part in module.modules() if isinstance(part, nn.BatchNorm2d | nn.SyncBatchNorm))


def set_momentum(module: nn.Module, momentum: float) -> None:
    """Give each batch normalisation layer of ``module`` the weight of the newest batch in the running statistics."""
    for norm in batch_norms(module):
        norm.momentum = momentum


def synchronise(module: nn.Module) -> nn.Module:
    """Replace each ``BatchNorm2d`` of ``module`` by one that counts the images of all processes; names stay.

    Args:
        module: Changed in place, unless it is a ``BatchNorm2d`` itself.

    Returns:
        ``module``, or what replaces it.
    """
    if isinstance(module, nn.BatchNorm2d):
        return module if isinstance(module, SyncBatchNorm2d) else SyncBatchNorm2d(module)
    for name, child in module.named_children():
        setattr(module, name, synchronise(child))
    return module


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes, on every device.

    Two all-reduces give the mean and the variance; torch's ``SyncBatchNorm`` refuses CPU tensors, and DDP refuses it
    and its subclasses on a CPU. In one process, and in evaluation, it is plain batch normalisation.

    Args:
        norm: The layer to replace; its parameters and buffers are taken over, not copied. (torch's and Lightning's own
            conversions lose what timm's layers do besides: drop and activate.)
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        momentum = cast(float, norm.momentum)
        super().__init__(norm.num_features, norm.eps, momentum, norm.affine, norm.track_running_stats)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self.after = nn.Sequential(*(part for name, part in norm.named_children() if name in ("drop", "act")))
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``, floating [B, C, H, W]."""
        is_synced = self.training and dist.is_available() and dist.is_initialized()
        normalised = self._normalise_over_processes(x) if is_synced else super().forward(x)
        return cast(Tensor, self.after(normalised))

    def _normalise_over_processes(self, x: Tensor) -> Tensor:
        """Return ``x`` normalised by the statistics of all processes' images, and update the running ones."""
        values = x.float()
        sums = torch.cat([values.sum(dim=(0, 2, 3)), values.new_tensor([x.numel() / x.shape[1]])])
        totals = SumOverProcesses.apply(sums)
        count = totals[-1]
        mean = totals[:-1] / count
        # About the mean, in a second step: E[x^2] - E[x]^2 would cancel.
        deviations = values - mean[:, None, None]
        variance = SumOverProcesses.apply(deviations.square().sum(dim=(0, 2, 3))) / count
        if self.track_running_stats:
            self._update_running(mean.detach(), (variance * count / (count - 1)).detach())
        normalised: Tensor = deviations * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            normalised = normalised * self.weight[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a batch; ``variance`` is the unbiased one, as torch has it."""
        cast(Tensor, self.num_batches_tracked).add_(1)
        cast(Tensor, self.running_mean).lerp_(mean, cast(float, self.momentum))
        cast(Tensor, self.running_var).lerp_(variance, cast(float, self.momentum))
