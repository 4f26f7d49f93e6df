"""Turns the argument parser's messages into one sentence that names the key, and the nearest one that exists."""

import inspect
import re
from collections.abc import Iterable
from typing import Any

from lightning_st.errors import did_you_mean

_UNRECOGNIZED = re.compile(r"unrecognized arguments: (?P<word>\S+)")
_NOT_ACCEPTED = re.compile(r"(?:Option|does not accept option|accept option) '(?P<key>[^']+)'(?: is not accepted)?")
_PARSER_KEY = re.compile(r"(?:Parser key|Group|Subcommand) [\"'](?P<key>[^\"']+)[\"']")
# A value that does not fit, below a class that is all right: all lines that are indented further belong to it.
_INSIDE_CLASS = re.compile(
    r"given class_path '[^']+':\n(?P<indent> +)Parser key \"(?P<key>[^\"]+)\":(?P<rest>(?:\n(?P=indent) +.*)*)"
)
_NO_CLASS = re.compile(r"given class_path '(?P<name>[^']+)':\s+(?P<why>[^\n]+)")
_NOT_A_PATH = re.compile(r"Expected a dot import path string: (?P<name>\S+)|Expected a path but (?P<other>\S+) either")
_NOISE = (
    "Parser key",
    "Does not validate",
    "Subtypes:",
    "Errors:",
    "Given value type",
    "Expected a <class 'NoneType'>",
)


def explain(message: str, known_keys: Iterable[str], known_classes: Iterable[str]) -> str:
    """Return one sentence for a message of jsonargparse, which may be many lines of type names.

    Args:
        message: What the parser said.
        known_keys: Dotted keys that the command accepts.
        known_classes: Class paths that a user may have meant.

    Example:
        >>> explain("unrecognized arguments: --data.augmnt S2", ["data.augment"], [])
        "Unknown option --data.augmnt. Did you mean '--data.augment'?"
    """
    keys = list(known_keys)
    if match := _UNRECOGNIZED.search(message):
        word = match["word"].split("=")[0]
        return f"Unknown option {word}.{did_you_mean(word, [f'--{key}' for key in keys])}"
    where = match["key"] if (match := _PARSER_KEY.search(message)) else ""
    if match := _INSIDE_CLASS.search(message):
        return explain(f'Parser key "{where}.{match["key"]}":{match["rest"]}', keys, known_classes)
    if match := _NOT_ACCEPTED.search(message):
        return _unknown_key(where, match["key"], keys)
    if name := _class_name(message):
        return f"{where}: there is no class {name!r} to import.{_nearest_class(name, list(known_classes))}"
    return _one_line(where, message)


def known_keys(parser: Any, classes: Iterable[type]) -> list[str]:
    """Return the dotted keys of ``parser``, and the parameters of ``classes``, which nest below some of them."""
    keys = [str(action.dest) for action in parser._actions]
    for cls in classes:
        keys += [name for name in inspect.signature(cls).parameters if name not in ("self", "args", "kwargs")]
    return keys


def _unknown_key(where: str, key: str, keys: list[str]) -> str:
    leaves = {known.rpartition(".")[2] for known in keys} | set(keys)
    prefix = f"{where}: unknown" if where else "Unknown"
    return f"{prefix} key {key!r}.{did_you_mean(key, sorted(leaves))}"


def _class_name(message: str) -> str:
    if match := _NO_CLASS.search(message):
        return match["name"]
    if match := _NOT_A_PATH.search(message):
        return match["name"] or match["other"]
    return ""


def _nearest_class(name: str, classes: list[str]) -> str:
    by_name = {path.rpartition(".")[2]: path for path in classes}
    return did_you_mean(name, classes) or did_you_mean(name.rpartition(".")[2], by_name)


def _one_line(where: str, message: str) -> str:
    """Return the message's most telling lines as one, without the parser's own type dumps."""
    lines = [_PARSER_KEY.sub("", line).strip(" -:") for line in message.splitlines()]
    kept = [line for line in lines if line and not line.startswith(_NOISE)]
    text = "; ".join(kept).replace("<class '", "").replace("'>", "").replace("a typing.Literal", "one of ")
    return f"{where}: {text}" if where and where not in text else text
