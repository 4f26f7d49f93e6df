"""Means over the two streams of a global batch: the images that people labelled, and the pseudo-labelled ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_st.errors import StageError
from lightning_st.types import Batch


@dataclass(frozen=True)
class StreamMeans:
    """The mean loss of each stream, for the backward pass and for the log.

    Attributes:
        human: float32 [], with gradient: this rank's part of the mean over all human-labelled images of the global
            batch, scaled so that its mean over the ranks is that mean. Zero, and still in the graph, where there is
            none here.
        pseudo: float32 [], likewise of the pseudo-labelled images.
        global_human: float32 [], the mean itself, equal on all ranks; NaN where the global batch has none.
        global_pseudo: float32 [], likewise.
        human_parts: The named parts of ``global_human``, each float32 [].
        pseudo_parts: The named parts of ``global_pseudo``.
        has_pseudo: bool [], equal on all ranks: whether the global batch holds a pseudo-labelled image.
        is_finite: bool [], equal on all ranks: whether the loss of every image is.
    """

    human: Tensor
    pseudo: Tensor
    global_human: Tensor
    global_pseudo: Tensor
    human_parts: dict[str, Tensor]
    pseudo_parts: dict[str, Tensor]
    has_pseudo: Tensor
    is_finite: Tensor


def stream_means(
    losses: Tensor,
    parts: Mapping[str, Tensor],
    pseudo: Tensor,
    sum_over_ranks: Callable[[Tensor], Tensor],
    world_size: int,
) -> StreamMeans:
    """Average the losses of a batch's images stream by stream, over all ranks, in one exchange.

    Ranks may hold different numbers of either stream, also none: every image of the global batch has the same weight.

    Args:
        losses: float32 [B], the loss of each image, with gradient.
        parts: Named parts of it, each float32 [B].
        pseudo: bool [B], True for pseudo-labelled images.
        sum_over_ranks: Returns the sum of a tensor over the ranks; identity for one.
        world_size: Number of ranks. Their gradients will be averaged, which the result makes up for.
    """
    streams = torch.stack([~pseudo, pseudo])  # [2, B]
    values = torch.stack([losses.detach(), *(part.detach() for part in parts.values())]).float()  # [1 + P, B]
    sums = torch.where(streams, values[:, None], 0.0).sum(dim=2)  # [1 + P, 2]
    table = sum_over_ranks(torch.cat([sums, streams.sum(dim=1).float()[None]]))  # [1 + P + 1, 2]
    counts = table[-1]
    means = table[:-1] / counts
    own = torch.where(streams, losses.float(), 0.0).sum(dim=1) * world_size / counts.clamp(min=1)
    by_name = dict(zip(parts, means[1:], strict=True))
    return StreamMeans(
        human=own[0],
        pseudo=own[1],
        global_human=means[0, 0],
        global_pseudo=means[0, 1],
        human_parts={name: part[0] for name, part in by_name.items()},
        pseudo_parts={name: part[1] for name, part in by_name.items()},
        has_pseudo=counts[1] > 0,
        is_finite=torch.isfinite(table[0]).all(),
    )


class FiniteCheck:
    """Whether the loss of a step is finite, asked of the device early and answered late.

    The answer travels to the host while the backward pass runs, so that waiting for it costs next to nothing.
    """

    def __init__(self, means: StreamMeans, losses: Tensor, batch: Batch) -> None:
        """Ask for the answer of one step."""
        on_cuda = means.is_finite.is_cuda
        self._is_finite = means.is_finite.to("cpu", non_blocking=on_cuda)
        self._event = torch.cuda.current_stream().record_event() if on_cuda else None
        self._losses, self._rows, self._pseudo = losses.detach(), batch["rows"], batch["pseudo"]
        self._names = _stream_names(batch)

    def require(self, step: int, lr: float, saved: str = "") -> None:
        """Raise unless the loss is finite.

        Args:
            step: The optimiser step, for the message.
            lr: Its learning rate, for the message.
            saved: The newest checkpoint, for the message; empty where there is none.

        Raises:
            StageError: If the loss of an image, on any rank, is not finite; it names those on this rank.
        """
        if self._event is not None:
            self._event.synchronize()
        if self._is_finite:
            return
        bad = ~torch.isfinite(self._losses)
        streams = dict(zip(self._names, (~self._pseudo, self._pseudo), strict=True))
        named = [
            f"{name} rows {self._rows[bad & rows].tolist()}" for name, rows in streams.items() if (bad & rows).any()
        ]
        kept = f"The weights of {saved} are from before." if saved else "Nothing has been saved yet."
        where = f"for {' and '.join(named)} ({int(bad.sum())} of {len(bad)} images)" if named else "on another rank"
        raise StageError(
            f"The loss of optimiser step {step} (learning rate {lr:g}) is not finite {where}. Lower the learning rate, "
            "warm up longer, clip gradients (trainer.gradient_clip_val=10), or train with trainer.precision=bf16-mixed "
            f"instead of 16-mixed. {kept}"
        )


def _stream_names(batch: Batch) -> tuple[str, str]:
    """Return what a user calls the two streams of a batch."""
    first = "data.unlabeled" if "other_views" in batch else "data.labeled"
    # Beside images with boxes of their own: pseudo-labels of joint training's images are called by these.
    return first, "data.joint" if "has_boxes" in batch else "data.pseudo_labels"
