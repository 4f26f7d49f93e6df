"""Stages that several runs have in common: each lies once, in a folder that is named by all that it is made from.

In the runs they are links, so that a run looks the same whether it shares or not, and the whole may be moved.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_st.errors import StageError
from lightning_st.stages.manifest import plain


def share(folder: Path, shared: Path, kind: str, inputs: Mapping[str, Any]) -> None:
    """Make the folder of a stage a link to that of all runs whose stage of this kind has these inputs.

    Args:
        folder: The stage's.
        shared: Holds what is shared.
        kind: What the stage is, for its name.
        inputs: All that it follows from.

    Raises:
        StageError: If the stage has been made without sharing.
    """
    link(folder, shared / f"{kind}_{digest(inputs)}")
    if not folder.is_symlink():
        raise StageError(f"{folder} was made without --shared. Use another --output, or leave --shared out.")


def digest(inputs: Mapping[str, Any]) -> str:
    """Return twelve letters that follow from inputs, on any machine."""
    return hashlib.sha256(json.dumps(plain(inputs), sort_keys=True).encode()).hexdigest()[:12]


def link(path: Path, target: Path) -> None:
    """Make ``path`` lead to ``target``, relative to it, so that the whole may be moved; what is no link stays."""
    target.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and path.resolve() != target.resolve():
        path.unlink()
    if not path.exists():
        path.symlink_to(os.path.relpath(target.resolve(), path.parent.resolve()), target_is_directory=True)
