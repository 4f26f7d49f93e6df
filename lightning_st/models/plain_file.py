"""Where files of PyTorch's are read, checkpoints and weights: tensors and plain values, nothing that runs."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

_UNREADABLE = (
    OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, struct.error,
    # What the unpickler says of bytes that somebody has changed.
    ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, MemoryError,
)  # fmt: skip


class UnreadableError(Exception):
    """A file that cannot be read; ``str(error)`` is the reason, in a few words."""


def read_plain(path: Path | str) -> Any:
    """Return what a file holds that ``torch.save`` wrote, its tensors on the CPU.

    An environment variable that lets PyTorch unpickle anything (``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD``) has no say here.

    Raises:
        FileNotFoundError: If there is none.
        UnreadableError: If it is damaged, no such file, or holds more than tensors and plain values.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        # PyTorch's own words advise to load it without this safeguard.
        raise UnreadableError("no file of PyTorch's, or one that holds more than tensors and plain values") from error
    except _UNREADABLE as error:
        raise UnreadableError(str(error).partition("\n")[0] or type(error).__name__) from error
