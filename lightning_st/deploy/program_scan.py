"""What a file of ``torch.export`` holds is looked at before PyTorch loads it: its loader unpickles and evaluates.

PyTorch says never to load such a file of a stranger's, and so do we. What is known to run is refused all the same: any
pickle of more than plain data, libraries, operators that are none, and expressions and guards, which are evaluated as
Python, of other words than PyTorch writes into the programs that we export.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lightning_st.errors import CheckpointError

# The last two parts of a member's name: as PyTorch 2.9 and later write them, and as 2.6 did.
_MEMBERS = re.compile(
    r"(.*/)?(weights/weight_\d+|constants/tensor_\d+|weights/model_weights_config\.json|extra/[\w.]+"
    r"|constants/model_constants_config\.json|models/model\.json|sample_inputs/model\.pt"
    r"|archive_format|archive_version|byteorder|version|\.data/(version|serialization_id|alignment)"
    r"|serialized_exported_program\.json|serialized_(state_dict|constants|example_inputs)\.pt|extra_files/[\w.]+)"
)
_OPERATORS = re.compile(
    r"torch\.ops\.(?!aten\.from_file\b)(aten|torchvision)\.\w+\.\w+|torch\.sym_\w+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
)
_MODULES = ("torch", "math", "_operator", "#")
"""How a target begins that PyTorch looks up among Python's objects; all others are names."""

_WORD = re.compile(r"[A-Za-z_]\w*")
# Words of sympy and of PyTorch's guards; symbols are s0, u0 ... and dimensions by name.
_WORDS = frozenset(
    _WORD.findall("""
    Symbol Integer Rational Float Add Mul Pow Max Min Mod PythonMod FloorDiv CleanDiv CeilDiv IntTrueDiv
    TruncToInt ToFloat GreaterThan LessThan StrictGreaterThan StrictLessThan Equality Unequality Eq Ne Ge Le
    Gt Lt And Or Not integer positive nonnegative real true false True False None oo int_oo L size stride
    storage_offset and or not max min math floor ceil images args kwargs
    """)
)
_TEXT = re.compile(r"'\w*'|\"\w*\"")
_SYMBOL = re.compile(r"[su]\d+|zuf\d+|batch")
_EXPRESSION = re.compile(r"[\w\s()\[\],.=<>!+\-*/'\"]*")


def scanned(path: Path) -> io.BytesIO:
    """Return the archive at ``path``, made anew of the members that were looked at: no reader sees others.

    Raises:
        CheckpointError: If it is no such archive, or holds something that could run.
    """
    again = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(again, "w", zipfile.ZIP_STORED) as copy:
            names: set[str] = set()
            for info in archive.infolist():
                if info.compress_type != zipfile.ZIP_STORED or info.filename in names:
                    raise _refusal(path, info.filename, "is compressed, or there twice")
                names.add(info.filename)
                data = archive.read(info)
                _look_at(path, info.filename, data)
                copy.writestr(info.filename, data)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: not a file of torch.export ({error}).") from error
    again.seek(0)
    return again


def _refusal(path: Path, name: str, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: {name!r} in it {what}: no program that `lightning_st export` wrote. Export anew.")


def _look_at(path: Path, name: str, data: bytes) -> None:
    """Refuse a member that could run."""
    if _MEMBERS.fullmatch(name) is None:
        raise _refusal(path, name, "is unknown")
    if name.endswith(".pt") and not _is_plain(data):
        raise _refusal(path, name, "is a pickle of more than tensors and plain values")
    is_program = name.endswith(("models/model.json", "serialized_exported_program.json"))
    if is_program or name.endswith("_config.json"):
        try:
            values = list(_entries(json.loads(data)))
        except (ValueError, RecursionError) as error:
            raise _refusal(path, name, "is no JSON") from error
        for key, value in values:
            if key == "use_pickle" and value:
                raise _refusal(path, name, "names a pickle")
            if not _is_harmless(key, value):
                raise _refusal(path, name, f"holds {value[:60]!r}")


def _is_plain(data: bytes) -> bool:
    if not data:
        return True
    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # what fails here would be tried once more, with everything allowed
        return False
    return True


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key of nested JSON with its value; of a list of texts each text."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from ((key, text) for text in (inner if isinstance(inner, list) else [inner]))
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _is_harmless(key: str, value: Any) -> bool:
    if not isinstance(value, str):
        return True
    if key == "target" and value.startswith(_MODULES):
        return _OPERATORS.fullmatch(value) is not None
    return key not in ("expr_str", "guards_code") or _is_arithmetic(value)


def _is_arithmetic(text: str) -> bool:
    """Say whether a text that PyTorch evaluates has only the words of sizes and comparisons in it."""
    bare = _TEXT.sub("''", text)
    words = _WORD.findall(bare)
    is_known = all(word in _WORDS or _SYMBOL.fullmatch(word) for word in words)
    return is_known and _EXPRESSION.fullmatch(bare) is not None and "__" not in text
