"""What the manifest of a pseudo-label store says of its boxes; the store itself is an index and this file."""

import json
from pathlib import Path
from typing import Any

from lightning_st.errors import StageError, quoted
from lightning_st.types import ScoreThresholds

_LARGEST = 1000  # above any score: thresholds that nothing reaches are 2


def read_store_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the store in ``folder``; under "thresholds" it holds a ``types.ScoreThresholds``.

    Raises:
        StageError: If there is no store, or it is not complete.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StageError(f"{folder}: there is no store of pseudo-labels ({error}). Run pseudo_label.") from error
    if not isinstance(manifest, dict) or manifest.get("state") != "complete" or "thresholds" not in manifest:
        raise StageError(f"{folder}: the pseudo-labels are not complete. Run pseudo_label again.")
    if not _are_thresholds(manifest["thresholds"]):
        problem = "manifest.json: thresholds: expected lists of a number for each class, 'keep' and 'ignore'"
        raise StageError(f"{folder}: {problem}, got {quoted(manifest['thresholds'])}. Run pseudo_label again.")
    return manifest


def store_thresholds(folder: Path, class_count: int) -> ScoreThresholds:
    """Return the thresholds that the manifest of a store says.

    Args:
        folder: The store.
        class_count: Of its index.

    Raises:
        StageError: If there is no store, it is not complete, or its manifest is of other classes.
    """
    record = read_store_manifest(folder)["thresholds"]
    if len(record["keep"]) != class_count:
        problem = (
            f"manifest.json: thresholds: expected one for each of {class_count} classes, got {len(record['keep'])}"
        )
        raise StageError(f"{folder}: {problem}. Run pseudo_label again.")
    return ScoreThresholds.from_json(record)


def _are_thresholds(value: Any) -> bool:
    """Say whether a value is what ``types.ScoreThresholds.to_json`` makes."""
    if not isinstance(value, dict):
        return False
    lists = [value.get("keep"), value.get("ignore"), *(value[name] for name in ("unknown",) if name in value)]
    if not all(isinstance(each, list) and len(each) == len(lists[0]) for each in lists):
        return False
    numbers = [number for each in lists for number in each] + [value.get("weight_power", 0.0)]
    return all(isinstance(number, int | float) and abs(number) <= _LARGEST for number in numbers)
