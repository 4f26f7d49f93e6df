"""Manifests: what a stage was made from, and whether it is complete.

A stage owns a folder. Its ``manifest.json`` is written when it begins, with state "running", and again as its last act,
with state "complete". So a stage is skipped, goes on, starts, or refuses by comparing two flat dicts.
"""

import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_st.errors import StageError

SCHEMA = 1
FILE_NAME = "manifest.json"
_LIBRARIES = ("lightning_st", "torch", "torchvision", "lightning", "timm", "numpy")


class Action(Enum):
    """What to do with a stage."""

    START = "start"
    RESUME = "resume"
    SKIP = "skip"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a stage, or None where there is none.

    Raises:
        StageError: If the file is not a manifest of this version of the package.
    """
    path = folder / FILE_NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise StageError(f"{path}: not a readable manifest ({error}). Use another --output, or --restart.") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise StageError(f"{path}: not a manifest of schema {SCHEMA}. Use another --output, or --restart.")
    if not isinstance(record.get("inputs", {}), dict) or record.get("state") not in ("running", "complete"):
        raise StageError(f"{path}: not a whole manifest: it was edited. Use another --output, or --restart.")
    return record


def is_complete(folder: Path) -> bool:
    """Say whether a stage has a manifest that says so; one that cannot be read does not."""
    try:
        return (read_manifest(folder) or {}).get("state") == "complete"
    except StageError:
        return False


def write_json(path: Path, record: Any) -> None:
    """Write JSON beside ``path`` and rename it, so that a reader sees the old file or the new one; NaN becomes null."""
    text = json.dumps(plain(record), indent=2, ensure_ascii=False, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    # The bytes of a file's name that are no UTF-8 become the escapes that JSON has for them.
    with beside.open("x", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: tuples as lists, paths as strings, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted keys.

    Example:
        >>> flatten({"data": {"image_size": 256}, "seed": 0})
        {'data.image_size': 256, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each key whose value differs: "<key> was <value>, is now <value>"."""
    old, new = flatten(plain(before)), flatten(plain(now))
    return [
        f"{key} was {_short(old.get(key))}, is now {_short(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def decide(folder: Path, inputs: Mapping[str, Any], restart: bool) -> Action:
    """Say what to do with the stage in ``folder``, without changing anything.

    Args:
        folder: The stage's folder; need not exist.
        inputs: What it would be made from now.
        restart: Start anew where the inputs differ, instead of refusing.

    Raises:
        StageError: If what is there was made from other inputs; the message names each that differs.
    """
    try:
        manifest = read_manifest(folder)
    except StageError:
        if restart:
            return Action.START
        raise
    if manifest is None:
        _refuse_foreign(folder)
        return Action.START
    changed = differences(manifest.get("inputs", {}), inputs)
    if changed:
        if restart:
            return Action.START
        raise StageError(
            f"{folder} was made from other inputs: {'; '.join(changed[:5])}{'; ...' if len(changed) > 5 else ''}. "
            "Use another --output, or --restart to make this stage and those after it anew."
        )
    return Action.SKIP if manifest["state"] == "complete" else Action.RESUME


def begin(folder: Path, stage: str, inputs: Mapping[str, Any], action: Action, **facts: Any) -> None:
    """Write the manifest of a stage that begins; a stage that starts anew loses what it had left before."""
    if action is Action.START and folder.exists():
        whole = folder.resolve()  # a stage that several runs share is reached through a link
        shutil.rmtree(whole)
        whole.mkdir()
    record = {
        "schema": SCHEMA,
        "stage": stage,
        "state": "running",
        "inputs": inputs,
        "versions": library_versions(),
        "began": time.time(),
        **facts,
    }
    write_json(folder / FILE_NAME, record)


def complete(folder: Path, **facts: Any) -> None:
    """Mark a stage as complete, with what it found and the seconds that it took since it last began."""
    record = read_manifest(folder)
    assert record is not None, f"{folder} has no manifest: begin() comes first"
    if "began" in record:
        # Between two processes there is no other clock; a machine's may be set back meanwhile.
        record["seconds"] = max(0.0, round(time.time() - record.pop("began"), 1))
    write_json(folder / FILE_NAME, {**record, **facts, "state": "complete"})


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide numbers."""
    return {name: version(name) for name in _LIBRARIES}


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds something which no stage left there: starting a stage empties its folder."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StageError(f"{folder} is a file, not a folder. Use another --output.")
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith(FILE_NAME))
    if others:
        raise StageError(f"{folder} is not empty and holds no {FILE_NAME}, but {others[0]!r}. Use another --output.")


def _short(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:28]}…{text[-28:]}"
