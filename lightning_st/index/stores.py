"""What the manifest of a pseudo-label store says of its boxes; the store itself is an index and this file."""

import json
from pathlib import Path
from typing import Any

from lightning_st.errors import StageError


def read_store_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the store in ``folder``; under "thresholds" it holds a ``types.ScoreThresholds``.

    Raises:
        StageError: If there is no store, or it is not complete.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageError(f"{folder}: there is no store of pseudo-labels ({error}). Run pseudo_label.") from error
    if not isinstance(manifest, dict) or manifest.get("state") != "complete" or "thresholds" not in manifest:
        raise StageError(f"{folder}: the pseudo-labels are not complete. Run pseudo_label again.")
    return manifest
