"""A folder of the user's choice that a command fills, and fills anew: what is not its own there is never touched.

All that was written is named in a file of that folder. So a folder without it, or with anything besides, is left alone.
"""

import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning_st.errors import StageError

MARK = "sheet.json"
"""Names the files of the folder."""

_SCHEMA = 1
_PARTIAL = ".lightning_st-"


@contextmanager
def own_folder(folder: Path, besides: Sequence[str] = ()) -> Iterator[Path]:
    """Give an empty folder to write to, inside ``folder``, and put what was written in its place when all is there.

    Args:
        folder: Made where it is missing.
        besides: Names in it that the caller looks after itself.

    Raises:
        StageError: If it is a file, or holds something that is not ours.
    """
    require_own(folder, besides)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{_PARTIAL}{secrets.token_hex(8)}"
    beside.mkdir()
    try:
        yield beside
        files = sorted(str(path.relative_to(beside)) for path in beside.rglob("*") if path.is_file())
        mark = json.dumps({"schema": _SCHEMA, "written_by": "lightning_st", "files": files}, indent=2)
        # In this order a kill at any moment leaves files that the mark names.
        for path in _entries(folder, [*besides, MARK, beside.name]):
            _remove(path)
        (beside / MARK).write_text(mark + "\n", encoding="utf-8")
        (beside / MARK).replace(folder / MARK)
        for path in beside.iterdir():
            path.rename(folder / path.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def require_own(folder: Path, besides: Sequence[str] = ()) -> None:
    """Refuse a folder that holds something of somebody else's: see ``own_folder``."""
    if folder.exists() and not folder.is_dir():
        raise StageError(f"{folder} is a file, not a folder. Use another --output.")
    if not folder.exists():
        return
    files = _marked(folder / MARK)
    for entry in _entries(folder, [*besides, MARK]):
        if entry.name.startswith(_PARTIAL):
            continue
        is_tree = entry.is_dir() and not entry.is_symlink()
        inside = [path for path in entry.rglob("*") if not path.is_dir()] if is_tree else [entry]
        foreign = [name for name in (str(path.relative_to(folder)) for path in inside) if name not in files]
        if foreign:
            raise StageError(f"{folder} holds {foreign[0]!r}, which this command did not write. Use another --output.")


def _marked(mark: Path) -> Sequence[str]:
    """Return the files that the mark names; none where there is no mark that can be read."""
    try:
        record = json.loads(mark.read_text(encoding="utf-8"))
        files = record["files"] if record["schema"] == _SCHEMA else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return files if isinstance(files, list) else []


def _entries(folder: Path, but: Sequence[str]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name not in but)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
