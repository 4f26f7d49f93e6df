"""One thing that a check found: how much it matters, how often it occurs, where, and what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""Most serious first. An error makes a training wrong, or ends it; a warning may cost quality; info is good to know."""

EXAMPLE_COUNT = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: See `SEVERITIES`.
        kind: A word that scripts can look for, such as "near_copies".
        split: The set that it is about: "labeled", "unlabeled", "val", "test" or "pseudo".
        count: How many images, boxes or classes.
        total: Out of how many that were looked at.
        text: A sentence that says so.
        examples: The first of them, at most five, a line each.
        advice: What to do; empty where nothing has to be done.
    """

    severity: Severity
    kind: str
    split: str
    count: int
    total: int
    text: str
    examples: Sequence[str] = ()
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "examples": list(self.examples)}


def by_weight(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with the most serious first, and among equals the largest part of its set first."""
    return sorted(findings, key=lambda found: (SEVERITIES.index(found.severity), -found.count / max(1, found.total)))


def counted(value: int, singular: str) -> str:
    """Write a count with its noun.

    Example:
        >>> counted(1, "image"), counted(1500, "box")
        ('1 image', '1,500 boxes')
    """
    plural = f"{singular}es" if singular.endswith(("x", "ss")) else f"{singular}s"
    return f"{value:,} {singular if value == 1 else plural}"


def part_of(value: int, total: int) -> str:
    """Write a part of a whole in percent, never "0 %" or "100 %" of what is neither.

    Example:
        >>> part_of(1, 3), part_of(1, 10_000), part_of(9_999, 10_000)
        ('33 %', 'under 1 %', 'over 99 %')
    """
    percent = round(100 * value / max(1, total))
    if percent == 0 and value:
        return "under 1 %"
    return "over 99 %" if percent == 100 and value < total else f"{percent} %"


def listed(names: Sequence[str], most: int = EXAMPLE_COUNT) -> str:
    """Write the first few names, and how many more there are.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = len(names) - most
    return f"{', '.join(names[:most])} and {more} more" if more > 0 else ", ".join(names)
