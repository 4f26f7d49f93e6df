"""Class names that differ between sets, and classes that are rare in one and common in another."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from lightning_st.checks.findings import EXAMPLE_COUNT, Finding, listed
from lightning_st.data import Split

_JUDGES = ("val", "test")

_MOST_TIMES = 3
"""Times that the share of a class among the labels of one set may be that among those of another."""

_LEAST_SIGMAS = 4
"""And by how many standard errors the two have to differ, so that few labels prove nothing."""


def name_findings(splits: Mapping[str, Split]) -> Iterator[Finding]:
    """Yield class names of one set that another does not have, and names that are written in two ways."""
    labeled = splits.get("labeled")
    if labeled is None:
        return
    known = labeled.index.classes
    alike = _spelled_alike(known)
    if alike:
        yield Finding(
            "warning",
            "alike_classes",
            "labeled",
            len(alike),
            len(known),
            "Classes differ only in upper and lower case, spaces or hyphens; each is learnt as a class of its own.",
            [" and ".join(repr(name) for name in group) for group in alike[:EXAMPLE_COUNT]],
            "Write one name if one class is meant.",
        )
    for name, split in splits.items():
        unknown = [own for own in split.index.classes if own not in known] if split.index.is_labeled else []
        if name != "labeled" and unknown:
            yield Finding(
                "error",
                "unknown_classes",
                name,
                len(unknown),
                len(split.index.classes),
                f"data.{name} has {len(unknown)} of its {len(split.index.classes)} classes under names that "
                "data.labeled does not have.",
                [f"{own!r}{_nearest(own, known)}" for own in unknown[:EXAMPLE_COUNT]],
                "Write the names as in data.labeled, or leave those classes out: a training is refused.",
            )


def share_findings(splits: Mapping[str, Split], counts: Mapping[str, NDArray[np.int64]]) -> Iterator[Finding]:
    """Yield classes without labels, and those whose share of the labels differs much between labeled and val or test.

    Args:
        splits: The sets.
        counts: Of each labelled set the number of labels of each of its classes, int64 [C].
    """
    for name, own in counts.items():
        classes = splits[name].index.classes
        empty = [cls for cls, count in zip(classes, own.tolist(), strict=True) if not count]
        if empty and own.sum():
            advice = "It cannot be learnt." if name == "labeled" else f"Its score on {name} cannot be told."
            yield Finding(
                "warning" if name == "labeled" else "info",
                "empty_classes",
                name,
                len(empty),
                len(classes),
                f"{len(empty)} of {len(classes)} classes of data.{name} have no label: {listed(empty)}.",
                advice=advice if len(empty) == 1 else advice.replace("It ", "They ").replace("Its", "Their"),
            )
    for name in _JUDGES:
        if name in counts and "labeled" in counts:
            yield from _different_shares(splits, counts, name)


def _different_shares(
    splits: Mapping[str, Split], counts: Mapping[str, NDArray[np.int64]], name: str
) -> Iterator[Finding]:
    first, second = (
        dict(zip(splits[key].index.classes, counts[key].tolist(), strict=True)) for key in ("labeled", name)
    )
    total_first, total_second = max(1, sum(first.values())), max(1, sum(second.values()))
    lines = []
    for cls in [cls for cls in first if cls in second]:
        one, two = first[cls] / total_first, second[cls] / total_second
        pooled = (first[cls] + second[cls]) / (total_first + total_second)
        error = np.sqrt(pooled * (1 - pooled) * (1 / total_first + 1 / total_second))
        if abs(one - two) > _LEAST_SIGMAS * error and max(one, two) > _MOST_TIMES * min(one, two):
            lines.append((abs(one - two), f"{cls}: {one:.1%} of the labels of labeled, {two:.1%} of those of {name}"))
    if lines:
        yield Finding(
            "warning",
            "different_shares",
            name,
            len(lines),
            len(second),
            f"{len(lines)} of {len(second)} classes are more than {_MOST_TIMES} times as common in one of data.labeled "
            f"and data.{name} as in the other.",
            [line for _, line in sorted(lines, reverse=True)[:EXAMPLE_COUNT]],
            "Draw both from the same images at random, unless they are meant to differ.",
        )


def _spelled_alike(names: Sequence[str]) -> list[list[str]]:
    """Return the groups of names that are the same but for case, spaces, hyphens and underscores."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_plain(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _nearest(name: str, known: Sequence[str]) -> str:
    """Return a remark on the known name that was probably meant, an empty one where none is near."""
    by_plain = {_plain(other): other for other in known}
    if _plain(name) in by_plain:
        return f": written {by_plain[_plain(name)]!r} in data.labeled"
    near = get_close_matches(_plain(name), by_plain, n=1, cutoff=0.8)
    return f": near {by_plain[near[0]]!r} of data.labeled" if near else ""


def _plain(name: str) -> str:
    return "".join(name.casefold().replace("_", " ").replace("-", " ").split())
