"""The paper's joint loss: human labels and pseudo-labels in one objective (facts: paper.md, section 1).

The two losses need not be of one size: a teacher's labels are cleaner to fit than people's, or fewer. Moving averages
of both bring the pseudo-label term to the size of the human one, so that its weight ``alpha`` means the same in every
run.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_st.errors import ConfigError

SMALLEST_AVERAGE = 1e-8
"""Below this the average of the pseudo-label loss counts as this: 0 must not divide (paper.md, section 7)."""


def joint_loss(human: Tensor, pseudo: Tensor, human_average: Tensor, pseudo_average: Tensor, alpha: float) -> Tensor:
    """Join the loss on human labels with the loss on pseudo-labels, the latter brought to the size of the former.

    Args:
        human: float32 [], mean loss of the human-labelled images.
        pseudo: float32 [], mean loss of the pseudo-labelled images.
        human_average: float32 [], moving average of ``human``; a statistic, no gradient passes through it.
        pseudo_average: float32 [], moving average of ``pseudo``; likewise.
        alpha: Weight of the pseudo-labels, a pure number >= 0.

    Returns:
        float32 [], ``(human + alpha * (human_average / pseudo_average) * pseudo) / (1 + alpha)`` (paper.md, section 1).

    Example:
        >>> joint_loss(*torch.tensor([2.0, 4.0, 2.0, 4.0]), alpha=1.0).item()
        2.0
    """
    ratio = human_average.detach() / pseudo_average.detach().clamp(min=SMALLEST_AVERAGE)
    return (human + alpha * ratio * pseudo) / (1 + alpha)


class LossBalance(nn.Module):
    """The joint loss together with its moving averages, which are buffers: a checkpoint holds them.

    The averages start at the first observed values, so there is no start-up bias. They move only in steps whose two
    losses are finite. They stay float32 when the model that holds them is cast to half precision, where steps of 0.0003
    vanish.
    """

    human_average: Tensor
    """float32 [], moving average of the loss on human labels."""
    pseudo_average: Tensor
    """float32 [], moving average of the loss on pseudo-labels."""
    updates: Tensor
    """int64 [], how many steps the averages have seen."""

    def __init__(
        self, alpha: float = 1.0, decay: float = 0.9997, normalize: bool = True, decay_warmup: bool = True
    ) -> None:
        """Start without having seen a loss.

        Args:
            alpha: Weight of the pseudo-labels, >= 0; 0 trains on human labels alone.
            decay: Decay of the moving averages a step, 0-1 (paper.md, section 1: 0.9997, a horizon of some 3300 steps).
            normalize: Use the averages; False for the paper's plain loss ``human + alpha * pseudo``.
            decay_warmup: Let the decay of step t be at most ``(1 + t) / (10 + t)``, for runs that are shorter than the
                horizon: else their averages would stay near the first value (paper.md, section 7).

        Raises:
            ConfigError: If ``alpha`` or ``decay`` is outside its range.
        """
        super().__init__()
        if alpha < 0:
            raise ConfigError.expected("alpha", "at least 0", alpha)
        if not 0 <= decay < 1:
            raise ConfigError.expected("the decay of the loss averages", "at least 0 and below 1", decay)
        self.alpha = alpha
        self.decay = decay
        self.normalize = normalize
        self.decay_warmup = decay_warmup
        self.register_buffer("human_average", torch.zeros(()))
        self.register_buffer("pseudo_average", torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @property
    def ratio(self) -> Tensor:
        """float32 [], what the pseudo-label term is multiplied with before ``alpha``."""
        if not self.normalize:
            return torch.ones_like(self.human_average)
        return self.human_average / self.pseudo_average.clamp(min=SMALLEST_AVERAGE)

    def forward(self, human: Tensor, pseudo: Tensor) -> Tensor:
        """Return the joint loss, float32 [], of the two mean losses, both float32 []."""
        if self.alpha == 0:
            return human
        if not self.normalize:
            return human + self.alpha * pseudo
        return joint_loss(human, pseudo, self.human_average, self.pseudo_average, self.alpha)

    @torch.no_grad()
    def update(self, human: Tensor, pseudo: Tensor) -> None:
        """Move the averages towards the losses of this step; call it before ``forward``.

        Args:
            human: float32 [], mean loss of the human-labelled images of the global batch: with several processes
                already averaged over them, or each would balance differently.
            pseudo: float32 [], likewise of the pseudo-labelled images.
        """
        # Tensor arithmetic throughout: asking for a value would make the host wait for the device in every step.
        seen = self.updates.to(torch.float32)
        decay = torch.full_like(seen, self.decay)
        if self.decay_warmup:
            decay = torch.minimum(decay, (1 + seen) / (10 + seen))
        decay = torch.where(seen == 0, 0.0, decay)
        usable = torch.isfinite(human) & torch.isfinite(pseudo)
        for average, value in ((self.human_average, human), (self.pseudo_average, pseudo)):
            average.copy_(torch.where(usable, decay * average + (1 - decay) * value.float(), average))
        self.updates += usable

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LossBalance":
        """Follow a move to a device, but not a cast to half precision."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.human_average = self.human_average.float()
        self.pseudo_average = self.pseudo_average.float()
        return self
