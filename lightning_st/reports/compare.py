"""Several runs side by side: runs that differ only by their seed become one row, with a mean and its standard error."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from lightning_st.reports.metrics import gain
from lightning_st.reports.run_folder import SPLITS, Run, read_run
from lightning_st.reports.text import MISSING, difference_text, listed, markdown, markdown_table, score_text

_SEED_KEYS = frozenset({"seed", "seed_everything"})
_MOST_SETTINGS = 4


@dataclass(frozen=True)
class Group:
    """Runs that differ only by their seed.

    Attributes:
        runs: One for each seed.
        repeated: Runs of a seed that is there already; they would make the error look smaller than it is.
    """

    runs: list[Run]
    repeated: list[Run]


def compare_runs(folders: Iterable[Path]) -> str:
    """Return a Markdown table of several runs.

    A row is a split and a set of runs that differ only by their seed. Its numbers are the mean over the runs ± the
    standard error of that mean: the sample deviation over the square root of the number of seeds. Gains are taken
    within a run, so their error is that of paired differences.

    Raises:
        StageError: If one of the folders holds no run.
    """
    groups = group_by_settings([read_run(Path(folder)) for folder in folders])
    settings = differing_settings(groups)
    primaries = list(dict.fromkeys(group.runs[0].primary for group in groups))
    rows = [row for group, text in zip(groups, settings, strict=True) for row in _rows(group, text)]
    numbers = ["teacher", "student", "student - teacher", "control", "student - control"]
    table = markdown_table(["run", "settings", "split", "seeds", *numbers], rows, text_columns=3)
    error = "mean ± standard error over seeds; a single seed has no error, and small differences of it are not facts"
    notes = [f"{' / '.join(primaries)}, 0-1: {error}."]
    repeated = [str(run.folder) for group in groups for run in group.repeated]
    if repeated:
        notes.append(f"Left out, for a run with the same settings and seed is in the table: {', '.join(repeated)}.")
    return "\n\n".join([table, *map(markdown, notes)])


def group_by_settings(runs: Sequence[Run]) -> list[Group]:
    """Return the runs in groups that differ only by their seed, in the order of their first runs."""
    groups: dict[str, Group] = {}
    for run in runs:
        group = groups.setdefault(json.dumps(_settings(run), sort_keys=True), Group([], []))
        is_repeated = any(run.seed == other.seed for other in group.runs)
        (group.repeated if is_repeated else group.runs).append(run)
    return list(groups.values())


def differing_settings(groups: Sequence[Group]) -> list[str]:
    """Return for each group its values of the settings in which the groups differ, a few of them."""
    flat = [_settings(group.runs[0]) for group in groups]
    keys = sorted(set().union(*flat))
    differing = [key for key in keys if any(settings.get(key) != flat[0].get(key) for settings in flat)]
    return [listed([f"{key}={_short(settings.get(key))}" for key in differing], _MOST_SETTINGS) for settings in flat]


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean, and its standard error; None for the error of a single value.

    Example:
        >>> mean_and_error([1.0, 2.0, 3.0])
        (2.0, 0.5773502691896258)
    """
    if len(values) < 2:
        return values[0], None
    return mean(values), stdev(values) / math.sqrt(len(values))


def _rows(group: Group, settings: str) -> Iterable[list[str]]:
    names = ", ".join(str(run.folder) for run in group.runs)
    splits = [split for split in SPLITS if any(_score(run, "teacher", split) is not None for run in group.runs)]
    for split in splits or [MISSING]:
        numbers = [
            _cell([_score(run, "teacher", split) for run in group.runs], score_text),
            _cell([_score(run, "student", split) for run in group.runs], score_text),
            _cell([gain(run.student, run.teacher, split, run.primary) for run in group.runs], difference_text),
            _cell([_score(run, "control", split) for run in group.runs], score_text),
            _cell([gain(run.student, run.control, split, run.primary) for run in group.runs], difference_text),
        ]
        yield [names, settings or MISSING, split, str(len(group.runs)), *numbers]


def _score(run: Run, who: str, split: str) -> float | None:
    training = {"teacher": run.teacher, "student": run.student, "control": run.control}[who]
    return None if training is None else training.score(split, run.primary)


def _cell(values: Sequence[float | None], write: Callable[[float], str]) -> str:
    """Write mean ± standard error; where some runs have no number yet, say of how many it is."""
    known = [value for value in values if value is not None]
    if not known:
        return MISSING
    middle, error = mean_and_error(known)
    text = write(middle) if error is None else f"{write(middle)} ± {error:.3f}"
    return text if len(known) == len(values) else f"{text} (of {len(known)})"


def _settings(run: Run) -> dict[str, Any]:
    """Return all that a run follows from, flat, without the seed."""
    config = {key: value for key, value in run.config.items() if key not in _SEED_KEYS}
    return dict(_flat({**config, "fingerprints": run.manifest.get("fingerprints", {})}, ""))


def _flat(record: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 24 else f"{text[:23]}…"
