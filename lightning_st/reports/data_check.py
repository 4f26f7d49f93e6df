"""The part of a report on what the data look like: the counts and findings that ``check.json`` holds."""

from dataclasses import dataclass
from typing import Any

from lightning_st.reports.tables import Table
from lightning_st.reports.text import MISSING, count_text, counted

FILE_NAME = "check.json"


@dataclass(frozen=True)
class FoundInData:
    """One finding.

    Attributes:
        severity: "error", "warning" or "info".
        title: A sentence.
        advice: What to do; may be empty.
        lines: Examples.
        more: How many there are besides.
    """

    severity: str
    title: str
    advice: str
    lines: list[str]
    more: int


@dataclass(frozen=True)
class DataCheck:
    """What was seen of the data before the run.

    Attributes:
        counts: A row a set.
        note: How much was looked at.
        findings: The most serious first.
    """

    counts: Table
    note: str
    findings: list[FoundInData]


def data_check(record: dict[str, Any] | None) -> DataCheck | None:
    """Return what a ``check.json`` says; None where there is none."""
    if record is None:
        return None
    splits = record["splits"]
    header = ["set", "images", "looked at", "median size", "labels", "images without"]
    rows = [
        [
            f"data.{name}",
            count_text(counts["images"]),
            count_text(counts["looked_at"]),
            " x ".join(map(str, counts["sizes"]["median"])) if "sizes" in counts else MISSING,
            count_text(counts.get("labels")),
            count_text(counts.get("images_without_labels")),
        ]
        for name, counts in splits.items()
    ]
    seen, there = (sum(counts[key] for counts in splits.values()) for key in ("looked_at", "images"))
    if seen == there:
        note = "Every image was looked at before the run; labels were counted in all of them."
    else:
        note = (
            f"{count_text(seen)} of {counted(there, 'image')} were looked at before the run; labels were counted in "
            "all of them. `lightning_st check` with the same config looks at every image."
        )
    return DataCheck(Table("Sets", header, rows), note, [_found(found) for found in record["findings"]])


def _found(found: dict[str, Any]) -> FoundInData:
    lines = list(found["examples"])
    title = f"data.{found['split']}: {found['text']}"
    return FoundInData(found["severity"], title, found["advice"], lines, found["count"] - len(lines) if lines else 0)
