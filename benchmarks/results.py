"""Results as files, one a figure with the machine and the commit, and as the table of README.md."""

import json
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.measuring import Comparison, spread

HERE = Path(__file__).parent
FOLDER = HERE / "results"
MARKS = ("<!-- table: python -m benchmarks --table -->", "<!-- end of table -->")
PACKAGES = (
    "torch", "torchvision", "lightning", "numpy", "opencv-python-headless", "albumentations", "ultralytics", "effdet",
    "timm", "torchmetrics", "pycocotools", "faster-coco-eval", "simplejpeg",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Return what of this machine a reader needs to know: processor, its wide instructions, cores, memory."""
    cpu = Path("/proc/cpuinfo").read_text()
    lines = dict(line.split("\t", 1) for line in cpu.split("\n\n")[0].splitlines() if "\t" in line)
    flags = lines.get("flags", "").split()
    return {
        "processor": lines.get("model name", platform.processor()).strip("\t: "),
        "instructions": [name for name in ("avx2", "avx512f", "amx_tile") if name in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Return the versions of ours and the peers' packages that are installed."""
    installed = {
        distribution.metadata["Name"].lower(): distribution.version for distribution in metadata.distributions()
    }
    return {name: installed[name] for name in PACKAGES if name in installed}


def commit() -> str:
    """Return the commit that is checked out, with a "+" where files differ from it; "unknown" outside git."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results", "../lightning_st")
        return git("rev-parse", "--short=10", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def save(figure: str, claim: str, comparisons: list[Comparison], folder: Path, seconds: float) -> Path:
    """Write a figure's result, every turn's value in it, and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{figure}.json"
    content = {
        "figure": figure,
        "claim": claim,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": commit(),
        "seconds": round(seconds),
        "machine": machine(),
        "versions": versions(),
        "comparisons": [asdict(comparison) for comparison in comparisons],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def load(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Return the results of a folder, by the names of their figures."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def number(value: float) -> str:
    """Write a number with three digits that count: 0.125, 12.5, 125, 12,500."""
    if abs(value) < 1e-9:  # an exponent that rounding has left
        return "0"
    digits = max(0, 2 - int(f"{value:e}".partition("e")[2]))
    return f"{value:,.{digits}f}"


def with_spread(values: list[float]) -> str:
    """Write the median with its quartiles in brackets; one value alone as it is."""
    low, middle, high = spread(values)
    return number(middle) if len(values) == 1 else f"{number(middle)} ({number(low)}-{number(high)})"


def verdict(value: float, goal: float | None, better: str = "more") -> str:
    """Return whether a goal is reached, in words; nothing where there is none."""
    if goal is None:
        return ""
    reached = value >= goal if better == "more" else value <= goal
    return f"{'>=' if better == 'more' else '<='} {number(goal)}: {'yes' if reached else 'not yet'}"


def rows_of(comparison: Comparison) -> list[list[str]]:
    """Return the rows of the table for one comparison: ours beside each peer, or alone."""
    ours = f"{with_spread(comparison.ours)} {comparison.unit}"
    own_goal = verdict(spread(comparison.ours)[1], comparison.limit, comparison.better)
    case = f"{comparison.case} ({comparison.note})" if comparison.note else comparison.case
    rows = [[case, ours, "", "", own_goal]] if own_goal or not comparison.peers else []
    for peer, values in comparison.peers.items():
        first = [case, ours] if not rows else ["", ""]
        if values is None:
            rows.append([*first, f"{peer}: not installed", "", "not measured"])
            continue
        ratios = comparison.ratios(peer)
        goal = verdict(spread(ratios)[1], comparison.goals.get(peer))
        rows.append([*first, f"{peer} {with_spread(values)}", with_spread(ratios), goal])
    return rows


def table(results: list[dict[str, Any]]) -> str:
    """Return the Markdown table of results: a heading a figure, with what it claims, where and when it was measured."""
    lines = []
    for result in results:
        where = result["machine"]
        instructions = ", ".join(where["instructions"])
        lines += [f"### {result['figure']}", "", result["claim"], ""]
        lines += ["| case | ours | peer | times better | goal |", "|---|---:|---:|---:|---|"]
        for comparison in result["comparisons"]:
            lines += ["| " + " | ".join(row) + " |" for row in rows_of(Comparison(**comparison))]
        lines += ["", f"{result['date']}, commit {result['commit']}, {where['cores']} cores of {where['processor']}"]
        lines[-1] += f" ({instructions}), torch {result['versions'].get('torch', 'not installed')}."
        lines.append("")
    return "\n".join(lines)


def write_table(readme: Path = HERE / "README.md", folder: Path = FOLDER) -> None:
    """Put the table of a folder's results between the marks in the README."""
    before, _, rest = readme.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    readme.write_text(f"{before}{MARKS[0]}\n\n{table(load(folder))}\n{MARKS[1]}{after}")
