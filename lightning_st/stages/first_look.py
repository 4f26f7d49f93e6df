"""What a run says of its data before it trains on them: a check of a sample, bound in time, that never ends a run."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from lightning_st.checks import Report, Settings, check_splits
from lightning_st.data import SelfTrainingDataModule
from lightning_st.stages.announce import announce
from lightning_st.stages.manifest import plain, write_json

FILE_NAME = "check.json"

_SAMPLE = 300
"""Images of each set."""

_SECONDS = 8.0
"""For reading images; counting labels and comparing copies takes a second or two besides."""

_MOST_LINES = 5

_LOG = logging.getLogger("lightning_st")


@rank_zero_only
def look_at_data(run: Path, data: SelfTrainingDataModule) -> None:
    """Write ``check.json`` into a run's folder and tell what matters, unless that was done for the same data.

    Args:
        run: The run's folder.
        data: Its sets, opened.
    """
    path = run / FILE_NAME
    inputs = plain({"fingerprints": data.fingerprints(), "image_size": data.image_size})
    if _is_there(path, inputs):
        return
    splits = {name: data.split(name) for name in ("labeled", "unlabeled", "val", "test") if data.has(name)}
    settings = Settings(data.image_size, data.max_bad_fraction, data.seed, _SAMPLE, seconds=_SECONDS)
    try:
        report = check_splits(splits, settings)
    except Exception:  # a fault of the check shall not cost anybody a run
        _LOG.warning("The check of the data failed; the run goes on without it.", exc_info=True)
        return
    write_json(path, {**report.to_json(), "inputs": inputs})
    _tell(report)


def _is_there(path: Path, inputs: Mapping[str, Any]) -> bool:
    """Say whether a check of the same data was written."""
    try:
        return bool(json.loads(path.read_text(encoding="utf-8"))["inputs"] == inputs)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _tell(report: Report) -> None:
    """Log the findings that are more than good to know."""
    serious = [found for found in report.findings if found.severity != "info"]
    for found in serious[:_MOST_LINES]:
        example = f" Such as {found.examples[0]}." if found.examples else ""
        announce(f"data.{found.split}, {found.severity}: {found.text}{example}")
    if serious:
        more = f"{len(serious) - _MOST_LINES} more are" if len(serious) > _MOST_LINES else "They are"
        announce(f"{more} in {FILE_NAME}. `lightning_st check` with the same config looks at every image.")
