"""Means over seeds, and how far to believe them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from lightning_st.reports.text import MISSING, difference_text, score_text

# Student's t at 97.5 % for 1 to 30 degrees of freedom; beyond, the normal distribution's is near enough.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.96


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: Of the values.
        error: Its standard error, the sample deviation over the square root of the count; None for a single value.
        count: Of the values.
    """

    mean: float
    error: float | None
    count: int

    @property
    def half_width(self) -> float | None:
        """Half of the 95 % interval of Student's t; None for a single value."""
        if self.error is None:
            return None
        return self.error * (_T[self.count - 2] if self.count - 2 < len(_T) else _NORMAL)

    @property
    def sign(self) -> int:
        """1 where the interval lies above zero, -1 where it lies below, 0 where it holds zero or there is none."""
        if self.half_width is None or abs(self.mean) <= self.half_width:
            return 0
        return 1 if self.mean > 0 else -1

    def score(self) -> str:
        """Write a score: its mean and standard error."""
        return score_text(self.mean) + ("" if self.error is None else f" ± {self.error:.3f}")

    def difference(self) -> str:
        """Write a difference: its mean, standard error and 95 % interval."""
        if self.half_width is None:
            return difference_text(self.mean)
        ends = (self.mean - self.half_width, self.mean + self.half_width)
        return f"{difference_text(self.mean)} ± {self.error:.3f} [{', '.join(map(difference_text, ends))}]"


def estimate(values: Sequence[float]) -> Estimate | None:
    """Return the mean of values, one a seed; None where there is none.

    Example:
        >>> estimate([0.01, 0.02, 0.03]).difference()
        '+0.020 ± 0.006 [-0.005, +0.045]'
    """
    if not values:
        return None
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Estimate(mean(values), error, len(values))


def score_of(found: Estimate | None) -> str:
    """Write a score, or that there is none."""
    return MISSING if found is None else found.score()


def difference_of(found: Estimate | None) -> str:
    """Write a difference, or that there is none."""
    return MISSING if found is None else found.difference()
