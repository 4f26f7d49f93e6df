"""The losses of detectors (paper.md, section 4.4) and segmenters (section 6), for all images of a batch at once.

All are computed in float32.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_st.models.blocks import blocks_of
from lightning_st.types import IGNORE_INDEX

BACKGROUND = -1
"""Label of an anchor that is to find nothing."""

IGNORED = -2
"""Label of an anchor that is left out of the class loss."""

TINY = 1e-37
"""Probabilities below it count as this one in a logarithm: finite for logits beyond 87, too."""


def focal_loss(
    logits: Tensor,
    labels: Tensor,
    alpha: float,
    gamma: float,
    weights: Tensor | None = None,
    unknown: Tensor | None = None,
) -> Tensor:
    """Return each image's focal loss, summed over its anchors and classes, float32 [B].

    For a logit with probability p it is ``-alpha (1-p)^gamma log(p)`` where the class is the anchor's label, and
    ``-(1-alpha) p^gamma log(1-p)`` elsewhere.

    Args:
        logits: floating [B, A, C]; computed on in float32, whatever they are.
        labels: int64 [B, A], class indices, ``BACKGROUND`` or ``IGNORED``.
        alpha: Weight of the positive logits, 0-1.
        gamma: How much well-classified logits are played down, at least 0.
        weights: float32 [B, A], how much each anchor counts; None for each in full.
        unknown: bool [B, C], classes that count in an image only where they are the anchor's label; None for none.

    Example:
        >>> focal_loss(torch.zeros(1, 1, 2), torch.tensor([[0]]), alpha=0.25, gamma=1.5)  # 0.0612661 + 0.1837984
        tensor([0.2451])
    """
    result: Tensor = _FocalLoss.apply(logits, labels, alpha, gamma, weights, unknown)
    return result


class _FocalLoss(torch.autograd.Function):
    """The sums and their gradient in one pass, a block of anchors at a time.

    Autograd would keep some ten intermediate results of the size of the logits (447 MB each for 16 images of 640
    pixels and 91 classes); this keeps one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        alpha: float,
        gamma: float,
        weights: Tensor | None,
        unknown: Tensor | None,
    ) -> Tensor:
        sums = torch.zeros(len(logits), device=logits.device)
        gradient = torch.empty_like(logits)
        for block in blocks_of(logits.shape[1], len(logits) * logits.shape[2], logits.device):
            block_weights = None if weights is None else weights[:, block]
            block_sums, block_gradient = _focal_block(
                logits[:, block].float(), labels[:, block], alpha, gamma, block_weights, unknown
            )
            sums = sums + block_sums
            gradient[:, block] = block_gradient
        ctx.save_for_backward(gradient)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        # In place: a second backward pass over the same graph is refused by autograd's own check.
        return gradient.mul_(outer[:, None, None]), None, None, None, None, None


def _focal_block(
    x: Tensor, labels: Tensor, alpha: float, gamma: float, weights: Tensor | None, unknown: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the sums, float32 [B], and the gradient by the logits, float32 [B, a, C].

    All logits are taken as negatives first, then the few positive ones are set right.

    Args:
        x: float32 [B, a, C], logits.
        labels: int64 [B, a].
        alpha: As in ``focal_loss``.
        gamma: As in ``focal_loss``.
        weights: float32 [B, a].
        unknown: As in ``focal_loss``.
    """
    column = labels.clamp(min=0)
    counts, is_positive = labels != IGNORED, labels >= 0
    if weights is not None:
        counts, is_positive = counts * weights, is_positive * weights
    as_negative: Tensor = counts.unsqueeze(-1) * (1 - alpha)  # [B, a, 1]
    was_negative: Tensor | float = 1 - alpha
    if unknown is not None:
        as_negative = as_negative * ~unknown.unsqueeze(1)  # [B, a, C]
        was_negative = was_negative * ~unknown.gather(1, column)
    loss, slope = _focal_negative(x, gamma)
    sums = loss.mul_(as_negative).sum(dim=(1, 2))
    gradient = slope.mul_(as_negative)
    logit = x.gather(2, column.unsqueeze(-1))  # [B, a, 1]
    # A logit is as wrong as a positive as its opposite is as a negative.
    losses, slopes = _focal_negative(torch.cat([-logit, logit], dim=2), gamma)
    loss_change = (alpha * losses[..., 0] - was_negative * losses[..., 1]) * is_positive
    slope_change = (-alpha * slopes[..., 0] - was_negative * slopes[..., 1]) * is_positive
    return sums + loss_change.sum(dim=1), gradient.scatter_add_(2, column.unsqueeze(-1), slope_change.unsqueeze(-1))


def _focal_negative(x: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Return ``-p^gamma log(q)`` for ``p = sigmoid(x)``, ``q = 1 - p``, and its slope ``p^gamma (p - gamma q log(q))``.

    Nearly all the time of the loss goes here: on a CPU this takes half the time of softplus and a general power.
    """
    p, q = x.sigmoid(), x.neg().sigmoid_()
    log_q = q.clamp(min=TINY).log_()
    # Powers with a whole exponent are fast, also after a square root: 1.5 is the paper's gamma.
    factor = p.pow(gamma) if float(gamma).is_integer() else p.sqrt().pow_(2 * gamma)
    slope = torch.addcmul(p, q, log_q, value=-gamma).mul_(factor)
    return log_q.mul_(factor).neg_(), slope


def huber_loss(deltas: Tensor, targets: Tensor, weights: Tensor, delta: float) -> Tensor:
    """Return each image's box loss, summed over the coordinates of its positive anchors, float32 [B].

    ``e^2 / 2`` for an error e within ``delta``, ``delta (|e| - delta / 2)`` beyond.

    Args:
        deltas: floating [B, A, 4], predicted.
        targets: float32 [B, A, 4]; finite everywhere.
        weights: bool or floating [B, A], how much each anchor counts: nothing where it is not positive.
        delta: Where the parabola becomes a line.
    """
    errors = nn.functional.huber_loss(deltas.float(), targets, reduction="none", delta=delta)
    return (errors * weights.unsqueeze(-1)).sum(dim=(1, 2))


def stream_weights(positive_counts: Tensor, pseudo: Tensor) -> Tensor:
    """Return the factor of each image's sums: images of its stream over positives of its stream + 1, float32 [B].

    Counted over all processes, so that the mean over a stream's images is the paper's loss of that stream: the sum
    over its images divided by its positives + 1. All processes have to call this together.

    Args:
        positive_counts: int64 [B], positive anchors of each image.
        pseudo: bool [B], which stream the image belongs to.

    Example:
        >>> stream_weights(torch.tensor([3, 0, 1]), torch.tensor([False, False, True]))
        tensor([0.5000, 0.5000, 0.5000])
    """
    image_counts, positives = _stream_totals(positive_counts, pseudo)
    factors = image_counts / (positives + 1)
    return factors[pseudo.long()]


def pixel_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None, unknown: Tensor | None = None) -> Tensor:
    """Return each image's softmax cross entropy, summed over its pixels, float32 [B].

    Args:
        logits: floating [B, C, H, W]; computed on in float32, whatever they are.
        labels: uint8 [B, H, W], class indices; pixels of ``IGNORE_INDEX`` are left out.
        weights: float32 [B, H, W], how much each pixel counts; None for each in full.
        unknown: bool [B, C], classes that count in an image only where they are the pixel's label: elsewhere the
            softmax is over the others. None for none.

    Example:
        >>> pixel_loss(torch.zeros(1, 2, 1, 3), torch.tensor([[[0, 1, 255]]], dtype=torch.uint8))  # 2 log(2)
        tensor([1.3863])
    """
    logits, labels = logits.float(), labels.long()
    if unknown is not None:
        classes = torch.arange(logits.shape[1], device=labels.device).view(1, -1, 1, 1)
        is_left_out = unknown[:, :, None, None] & (classes != labels.unsqueeze(1))
        # Not minus infinity: where every class is left out, as of an ignored pixel, the gradient would be NaN.
        logits = logits.masked_fill(is_left_out, torch.finfo(logits.dtype).min)
    losses = nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")
    return (losses if weights is None else losses * weights).sum(dim=(1, 2))


def pixel_weights(pixel_counts: Tensor, pseudo: Tensor) -> Tensor:
    """Return the factor of each image's sum: images of its stream over labelled pixels of its stream, float32 [B].

    As ``stream_weights``, but the mean over a stream's images is the mean over its pixels, and 0 where it has none.

    Args:
        pixel_counts: int64 [B], pixels of each image that are not ignored.
        pseudo: bool [B], which stream the image belongs to.

    Example:
        >>> pixel_weights(torch.tensor([6, 2, 0]), torch.tensor([False, False, True]))
        tensor([0.2500, 0.2500, 1.0000])
    """
    image_counts, pixels = _stream_totals(pixel_counts, pseudo)
    factors = image_counts / pixels.clamp(min=1)
    return factors[pseudo.long()]


def _stream_totals(counts: Tensor, pseudo: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images of each stream and the sums of their ``counts``, int64 [2] each, over all processes."""
    is_member = torch.stack([~pseudo, pseudo])  # [2, B]
    totals = torch.stack([is_member.sum(dim=1), (is_member * counts).sum(dim=1)])
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(totals)
    return totals[0], totals[1]
