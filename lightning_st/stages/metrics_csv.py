"""The ``metrics.csv`` of a stage: one row a step, written so that a resumed run continues its file."""

import csv
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class MetricsCsv(Logger):
    """Writes what is logged to one CSV file, a column a metric, a row a step, empty where nothing was logged.

    Lightning's own CSVLogger deletes the file when a run is resumed. This one keeps the rows up to the first step that
    is logged again, so that the file of a run that was cut and resumed equals that of one that was not. That step's row
    stays too: where a validation is made up for, the numbers of the training are not logged again.
    """

    def __init__(self, path: Path) -> None:
        """Log to ``path``, which may hold the rows of an earlier try."""
        super().__init__()
        self.path = path
        self._rows: dict[int, dict[str, Any]] = {}
        self._earlier = _read_rows(path)

    @property
    def name(self) -> str:
        """The stage's folder name."""
        return self.path.parent.name

    @property
    def version(self) -> int:
        """Always 0: a stage has one log."""
        return 0

    @property
    def save_dir(self) -> str:
        """The stage's folder."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a stage's manifest holds its settings."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add ``metrics`` to the row of ``step``."""
        step = 0 if step is None else step
        if not self._rows:
            self._rows = {earlier: row for earlier, row in self._earlier.items() if earlier <= step}
        self._rows.setdefault(step, {"step": step}).update(metrics)

    @rank_zero_only
    def save(self) -> None:
        """Write the file anew, beside and renamed."""
        if not self._rows:
            return
        columns = sorted(set().union(*self._rows.values()), key=lambda name: (name != "step", name != "epoch", name))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".csv.new")
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._rows[step] for step in sorted(self._rows))
        os.replace(beside, self.path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()


def _read_rows(path: Path) -> dict[int, dict[str, Any]]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {int(row["step"]): {k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)}
