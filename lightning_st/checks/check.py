"""The whole check: of everything that is given, or of a sample within some seconds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.checks.class_names import name_findings, share_findings
from lightning_st.checks.copies import JUDGES, all_twins, copy_findings, to_exclude
from lightning_st.checks.findings import Finding, Severity, by_weight, counted
from lightning_st.checks.images import image_findings
from lightning_st.checks.labels import boxes_of, class_counts, ignored_part, label_findings, left_out
from lightning_st.checks.scan import Advance, Scan, scan_at_once, scan_kept
from lightning_st.data import Split

SCHEMA = 1


@dataclass(frozen=True)
class Settings:
    """How to look.

    Attributes:
        image_size: (height, width) of a batch in pixels.
        max_bad_fraction: Of images or boxes that cannot be used, beyond which a training stops.
        seed: Of the sample.
        sample: Look at this many images of each set, drawn at random; at all where missing.
        workers: Processes that read images.
        cache_folder: Where what was seen of images is kept; in the user's cache folder where missing.
        seconds: Read images for at most this long, in this process, and keep nothing of them: the quick form.
    """

    image_size: tuple[int, int]
    max_bad_fraction: float = 0.01
    seed: int = 0
    sample: int | None = None
    workers: int = 0
    cache_folder: str | Path | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        splits: By the name of a set, counts: "images", "looked_at", "bytes", "sizes" (median, smallest, largest); and
            of labelled ones "labels", "images_without_labels", "labels_by_class"; of masks "ignored_part" (0-1).
        findings: The most serious first.
        excluded: Rows of the sets that are trained on whose images also judge, int64 by name.
        is_quick: Whether it was bound in time.
    """

    splits: dict[str, dict[str, Any]]
    findings: list[Finding]
    excluded: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    is_quick: bool = False

    def count(self, severity: Severity) -> int:
        """Return the number of findings of one severity."""
        return sum(found.severity == severity for found in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return plain data: what ``check.json`` holds."""
        return {
            "schema": SCHEMA,
            "quick": self.is_quick,
            "splits": self.splits,
            "findings": [found.to_json() for found in self.findings],
        }


def check_splits(
    splits: Mapping[str, Split],
    settings: Settings,
    advance: Advance = lambda count: None,
    searching: Callable[[], None] = lambda: None,
) -> Report:
    """Look at sets of images and say what is wrong with them.

    Args:
        splits: The sets by name, opened.
        settings: How to look.
        advance: Called with the number of images that were looked at since the last call.
        searching: Called now and then while copies are searched.
    """
    scans = _scans(splits, settings, advance)
    is_whole = all(len(scans[name]) == len(split) for name, split in splits.items())
    # Before the quick form such files were refused.
    twins = all_twins(scans, is_whole, may_share_files=settings.seconds is None, advance=searching)
    findings = [
        *_label_findings(splits, settings),
        *(found for scan in scans.values() for found in _found_in(scan, settings)),
        *copy_findings(twins),
        *_pool_findings(splits),
    ]
    counts = {name: _counts(split, scans[name]) for name, split in splits.items()}
    return Report(counts, by_weight(findings), to_exclude(twins), settings.seconds is not None)


def sample_of(split: Split, sample: int | None, seed: int) -> NDArray[np.int64]:
    """Return the rows of a set that are looked at, int64, in no order; all of them, ascending, without a sample."""
    if sample is None or sample >= len(split):
        return split.rows
    chosen = np.random.default_rng(seed).choice(len(split), sample, replace=False)
    return split.rows[chosen]


def _scans(splits: Mapping[str, Split], settings: Settings, advance: Advance) -> dict[str, Scan]:
    chosen = {name: (split, sample_of(split, settings.sample, settings.seed)) for name, split in splits.items()}
    if settings.seconds is not None:
        return dict(zip(chosen, scan_at_once(chosen, settings.seconds), strict=True))
    return {
        name: scan_kept(split, np.sort(rows), settings.cache_folder, settings.workers, advance)
        for name, (split, rows) in chosen.items()
    }


def _found_in(scan: Scan, settings: Settings) -> Iterator[Finding]:
    return image_findings(scan, settings.image_size, settings.max_bad_fraction)


def _label_findings(splits: Mapping[str, Split], settings: Settings) -> Iterator[Finding]:
    # What a student is shown of pseudo-labels its report says; here they are images.
    labeled = {name: split for name, split in splits.items() if split.index.is_labeled and name != "pseudo"}
    for split in labeled.values():
        yield from label_findings(split, settings.image_size, settings.max_bad_fraction)
    if "pseudo" in splits:
        yield from left_out(splits["pseudo"], settings.max_bad_fraction)
    yield from name_findings({name: split for name, split in labeled.items() if name != "joint"})  # classes of its own
    yield from share_findings(labeled, {name: class_counts(split) for name, split in labeled.items()})


def _pool_findings(splits: Mapping[str, Split]) -> Iterator[Finding]:
    """Yield that there is less to gain than self-training promises."""
    pool = splits.get("unlabeled")
    if pool is not None and "labeled" in splits and len(pool) < len(splits["labeled"]):
        labeled = len(splits["labeled"])
        text = f"{counted(len(pool), 'unlabelled image')} for {labeled:,} labelled ones."
        advice = "Self-training gains from many more images than have labels."
        yield Finding("info", "small_pool", "unlabeled", len(pool), labeled, text, advice=advice)
    if "labeled" in splits and not any(judge in splits for judge in JUDGES):
        text = "There is neither data.val nor data.test: nothing will say how good the models are."
        yield Finding("warning", "no_judge", "labeled", 0, len(splits["labeled"]), text, advice="Give data.val.")


def _counts(split: Split, scan: Scan) -> dict[str, Any]:
    readable = np.flatnonzero(scan.readable())
    counts: dict[str, Any] = {
        "images": len(split),
        "looked_at": len(scan),
        "bytes": int(scan.column("bytes")[readable].sum()),
    }
    if len(readable):
        height, width = (scan.column(name)[readable] for name in ("height", "width"))
        order = np.lexsort((width, height, height.astype(np.int64) * width))
        places = {"smallest": order[0], "median": order[len(order) // 2], "largest": order[-1]}
        counts["sizes"] = {name: [int(width[at]), int(height[at])] for name, at in places.items()}
    if split.index.is_labeled:
        by_class = class_counts(split)
        counts |= {
            "labels": int(by_class.sum()),
            "images_without_labels": int((split.label_counts()[split.rows] == 0).sum()),
            "labels_by_class": dict(zip(split.index.classes, by_class.tolist(), strict=True)),
        }
        if split.target == "masks":
            counts["ignored_part"] = round(ignored_part(split), 4)
        else:
            counts["crowd_regions"] = int((boxes_of(split) & split.index.crowd).sum())
    return counts
