"""What copies between two sets mean: a score that says nothing, or only an image that is seen twice."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from lightning_st.checks.duplicates import Copies, Twins
from lightning_st.checks.findings import EXAMPLE_COUNT, Finding, Severity, counted
from lightning_st.checks.same_files import joined, same_bytes_twins, same_path_twins
from lightning_st.checks.scan import Scan

TRAINED = ("labeled", "unlabeled", "pseudo")
JUDGES = ("val", "test")

_LEAVE_OUT = "`lightning_st check --exclude FILE` writes their names, and data.{name}.exclude FILE leaves them out."
_LABEL_AGAIN = "Label again, with data.unlabeled.exclude, or take them out of the results."

PAIRS: tuple[tuple[str, str, Severity, str, str], ...] = (
    *(
        (
            name,
            judge,
            "error",
            f"a score on {judge} says little of them",
            _LABEL_AGAIN if name == "pseudo" else _LEAVE_OUT.format(name=name),
        )
        for judge in JUDGES
        for name in TRAINED
    ),
    ("test", "val", "warning", "test does not judge anew", "Move them to one of the two: data.test.exclude."),
    ("unlabeled", "labeled", "info", "they are learnt with human labels and with pseudo-labels", ""),
    ("labeled", "labeled", "info", "they count twice", ""),
)
"""(set, set, severity, what follows, what to do) for each two sets that may not have images in common."""


def all_twins(
    scans: Mapping[str, Scan], is_whole: bool, may_share_files: bool, advance: Callable[[], None]
) -> list[Twins]:
    """Return the images that two sets of `PAIRS` have in common, an entry for each pair that is there, in that order.

    Args:
        scans: What was seen of each set.
        is_whole: Whether that are all images; else those that were not looked at are compared with those that judge by
            their paths and lengths.
        may_share_files: Whether a file may stand both in a set that is trained on and in one that judges.
        advance: Called now and then.
    """
    copies = {name: Copies(scan) for name, scan in scans.items()}
    found = []
    for first, second, *_ in PAIRS:
        if first not in scans or second not in scans:
            continue
        ways = [copies[first].find(copies[second], advance)]
        if not is_whole and second in JUDGES:
            split = scans[first].split
            ways.append(same_bytes_twins(split, scans[second]))
            if may_share_files or first in JUDGES:
                ways.append(same_path_twins(split, scans[second].split))
        found.append(joined(ways))
    return found


def copy_findings(found: list[Twins]) -> Iterator[Finding]:
    """Yield a finding for each two sets with the same files, and one for each two with images that look alike."""
    meanings = {(first, second): rest for first, second, *rest in PAIRS}
    for twins in found:
        first, second = twins.first.name, twins.second.name
        severity, follows, advice = meanings[first, second]
        for exact in (True, False):
            chosen = twins.of_kind(exact)
            count = len(chosen.rows)
            if not count:
                continue
            where = "earlier in the set" if first == second else f"in data.{second}"
            what = "with the same bytes" if exact else "as nearly the same picture"
            yield Finding(
                severity,  # type: ignore[arg-type]  # the first of rest
                "copies" if exact else "near_copies",
                first,
                count,
                twins.total,
                f"{counted(count, 'image')} of data.{first} also {_stand(count)} {where}, {what}: {follows}.",
                [chosen.line(number) for number in range(min(count, EXAMPLE_COUNT))],
                advice,
            )


def to_exclude(found: list[Twins]) -> dict[str, NDArray[np.int64]]:
    """Return for each set that is trained on the rows of its images that judge a model, int64 ascending.

    Those of a store of pseudo-labels are not among them: a list cannot leave them out.
    """
    rows: dict[str, NDArray[np.int64]] = {}
    for twins in found:
        name = twins.first.name
        if name in ("labeled", "unlabeled") and twins.second.name in JUDGES and len(twins.rows):
            rows[name] = np.union1d(rows.get(name, np.zeros(0, np.int64)), twins.rows)
    return rows


def _stand(count: int) -> str:
    return "stands" if count == 1 else "stand"
