"""The learning rate as a pure function of the optimiser step (facts: paper.md, sections 4.5 and 8)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lightning_st.errors import ConfigError

ScheduleName = Literal["cosine", "step", "constant"]


@dataclass(frozen=True)
class Schedule:
    """A linear warm-up, then a cosine to zero, drops at milestones, or a constant.

    Attributes:
        peak: Learning rate at the end of the warm-up.
        total_steps: Optimiser steps of the whole run.
        name: "cosine", "step" or "constant".
        warmup_steps: Steps from ``warmup_lr`` to ``peak``.
        warmup_lr: Learning rate of step 0, where there is a warm-up.
        milestones: For "step": fractions (0-1) of ``total_steps`` after which the rate is multiplied by ``gamma``.
        gamma: For "step": the factor of each drop.

    Raises:
        ConfigError: If the name is unknown, a number out of range, or the end needed and not known.

    Example:
        >>> schedule = Schedule(peak=0.08, total_steps=20_000, warmup_steps=500, warmup_lr=0.001)
        >>> [round(schedule.learning_rate(step), 6) for step in (0, 500, 10_250, 20_000)]
        [0.001, 0.08, 0.04, 0.0]
    """

    peak: float
    total_steps: float
    name: ScheduleName = "cosine"
    warmup_steps: int = 0
    warmup_lr: float = 0.0
    milestones: Sequence[float] = ()
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what makes no schedule, such as one that has to know where a run ends that does not end."""
        if self.name not in get_args(ScheduleName):
            raise ConfigError.unknown_choice("schedule", self.name, get_args(ScheduleName))
        if not 0 < self.peak < math.inf:  # so that NaN is refused, too
            raise ConfigError.expected("lr", "above 0", self.peak)
        if not (self.warmup_steps >= 0 and 0 <= self.warmup_lr < math.inf):
            allowed = "at least 0"
            raise ConfigError.expected("warmup_steps and warmup_lr", allowed, (self.warmup_steps, self.warmup_lr))
        if not all(0 < milestone <= 1 for milestone in self.milestones):
            raise ConfigError.expected("milestones", "fractions of the run, above 0 and at most 1", self.milestones)
        if self.name != "constant" and math.isinf(self.total_steps):
            advice = "Give trainer.max_steps or trainer.max_epochs, or use schedule=constant."
            raise ConfigError.expected("the number of training steps", f"known to schedule={self.name}", "none", advice)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of optimiser step ``step``, counted from 0."""
        if step < self.warmup_steps:
            return self.warmup_lr + (self.peak - self.warmup_lr) * step / self.warmup_steps
        if self.name == "cosine":
            progress = (step - self.warmup_steps) / max(1.0, self.total_steps - self.warmup_steps)
            return 0.5 * self.peak * (1 + math.cos(math.pi * min(1.0, progress)))
        if self.name == "step":
            # Rounded, so that 0.94 of 231,500 is step 217,610 in spite of binary fractions.
            drops = sum(step >= round(milestone * self.total_steps) for milestone in self.milestones)
            return self.peak * self.gamma**drops
        return self.peak
