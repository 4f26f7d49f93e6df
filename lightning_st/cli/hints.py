"""Turns the argument parser's messages into one sentence: the key, what was given, what is accepted, the nearest name.

jsonargparse answers with many lines of Python type names. What a user can act on is in there: which key, which value,
and what was wrong with it. This module takes that out and says it in the grammar of ``errors``.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_st.cli.type_words import accepted, given_value
from lightning_st.errors import ConfigError, LightningSTError, did_you_mean
from lightning_st.stages.building import arguments_of, import_name
from lightning_st.stages.owned import OWNED, owned_sentence

_KEY = re.compile(r"(?:Parser key|Group) [\"'](?P<key>[^\"']+)[\"']")
_UNRECOGNIZED = re.compile(r"unrecognized arguments: (?P<word>\S+)")
_NO_VALUE = re.compile(r"argument (?P<option>\S+): expected (?:one|at least one) argument")
_REQUIRED = re.compile(r"the following arguments are required: (?P<keys>[\w., ]+)")
_NOT_ACCEPTED = re.compile(r"(?:Option|does not accept option) '(?P<key>[^']+)'")
_NOT_A_CLASS = re.compile(r"Expected a dot import path string: (?P<name>\S+)|Import path (?:\S+ )?does not")
_NO_CLASS = re.compile(r"given class_path '(?P<name>[^']+)':\s+(?:No module|module '|Problem)")
_AMBIGUOUS = re.compile(r"Multiple subclasses with name (?P<name>\w+)\. .*?: (?P<paths>[\w., ]+)\.")
_CLASS_PATH = re.compile(r"class_path ?='?(?P<name>[\w.]+)|given class_path '(?P<given>[\w.]+)'")
_NO_GROUP = re.compile(r"Unable to load config ['\"](?P<value>[^'\"]*)['\"]")
_NOISE = ("Does not validate", "Subtypes:", "Errors:", "Given value type", "Expected a <class 'NoneType'>")


@dataclass(frozen=True)
class Vocabulary:
    """What a command line may say.

    Attributes:
        keys: Dotted keys that the command accepts.
        classes: A key to the class paths that a user may have meant there.
        groups: Keys that hold further keys, such as the sets of images, to one that is written out as an example.
        owns: Whether the command decides the keys of ``stages.owned`` itself.
    """

    keys: Sequence[str] = ()
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    owns: bool = False


def explain(message: str, words: Vocabulary) -> str:
    """Return one sentence for a message of jsonargparse, which may be many lines of type names.

    Args:
        message: What the parser said.
        words: What would have been understood.

    Example:
        >>> explain("unrecognized arguments: --data.augmnt S2", Vocabulary(keys=["data.augment"]))
        "Unknown option --data.augmnt. Did you mean '--data.augment'?"
    """
    key = _whole_key(message)
    sayings: tuple[tuple[re.Pattern[str], Callable[..., str]], ...] = (
        (_UNRECOGNIZED, _unknown_word),
        (_NO_VALUE, lambda match, *_: f"{match['option']} needs a value."),
        (_NOT_ACCEPTED, _unknown_key),
        (_AMBIGUOUS, _several_classes),
        (_REQUIRED, _missing),
        (_NO_GROUP, lambda match, key, *_: _not_a_group(key, match["value"], words)),
        (_NOT_A_CLASS, _no_class),
        (_NO_CLASS, _no_class),
    )
    for pattern, say in sayings:
        if match := pattern.search(message):
            return say(match, key, message, words)
    wanted = accepted(message)
    if wanted and key:
        got = given_value(message)
        return str(ConfigError.expected(key, wanted.text, got, did_you_mean(got, wanted.choices).strip()))
    return _one_line(key, message)


def known_keys(parser: Any, classes: Mapping[str, type] | None = None) -> list[str]:
    """Return the dotted keys of ``parser``, and below the keys of ``classes`` the parameters of those."""
    keys = [str(action.dest) for action in parser._actions]
    for key, cls in (classes or {}).items():
        keys += [f"{key}.{name}" for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]
    return keys


def _whole_key(message: str) -> str:
    """Return the dotted key that a message is about: it names each level of it once, or several times."""
    levels: list[str] = []
    for match in _KEY.finditer(message):
        if match["key"] not in levels:
            levels.append(match["key"])
    return ".".join(levels)


def _unknown_word(match: re.Match[str], key: str, message: str, words: Vocabulary) -> str:
    word = match["word"].split("=")[0]
    name = word.lstrip("-")
    if not word.startswith("-"):
        return f"Unexpected word {word!r}: an option takes one value, a list is written as '[64, 96]'."
    if words.owns and name in OWNED:
        return owned_sentence(name)
    owned = OWNED if words.owns else ()
    return f"Unknown option {word}.{_nearest_key(name, [*words.keys, *owned])}"


def _nearest_key(name: str, keys: Iterable[str]) -> str:
    """Return a hint at the key of the same section with the nearest last part, or at that last part elsewhere."""
    section, _, leaf = name.rpartition(".")
    known = [key.rpartition(".")[::2] for key in keys]
    elsewhere = [f"--{where}.{last}" for where, last in known if last == leaf and where]
    if elsewhere:
        return f" Did you mean {' or '.join(elsewhere[:3])}?"
    within = [last for where, last in known if where == section]
    if near := did_you_mean(leaf, within):
        return near.replace("'", f"'--{section}." if section else "'--", 1)
    return did_you_mean(f"--{name}", [f"--{key}" for key in keys if "." not in key])


def _unknown_key(match: re.Match[str], key: str, message: str, words: Vocabulary) -> str:
    name, command = match["key"], message.startswith("Subcommand")
    whole = name if command or not key else f"{key}.{name}"
    if words.owns and whole in OWNED:
        return owned_sentence(whole)
    arguments = None if command else _arguments_of_the_class(message)
    if arguments is None:
        return f"Unknown key {whole}.{_nearest_key(whole, words.keys).replace('--', '')}"
    return f"Unknown key {whole}.{did_you_mean(name, arguments)}"


def _arguments_of_the_class(message: str) -> list[str] | None:
    """Return what the innermost class that a message names takes, None where it names none that can be imported."""
    about = message.partition("Given value type")[0]
    paths = [match["name"] or match["given"] for match in _CLASS_PATH.finditer(about)]
    try:
        return arguments_of(import_name(paths[-1])) if paths else None
    except LightningSTError:
        return None


def _missing(match: re.Match[str], key: str, message: str, words: Vocabulary) -> str:
    names = [name.strip() for name in match["keys"].split(",")]
    if key:  # of a class that is named there
        owner = _CLASS_PATH.search(message)
        who = f"{owner['name'] or owner['given']} needs" if owner else "needs"
        return f"{key}: {who} {' and '.join(names)}: give --{key}.{names[0]}."
    names = [re.sub(r"^(fit|validate|test|predict)\.", "", name) for name in names]
    options = " and ".join(f"--{name}" for name in names)
    return f"There is no {options}: give it on the command line, or in a file with --config."


def _several_classes(match: re.Match[str], key: str, message: str, words: Vocabulary) -> str:
    paths = sorted(match["paths"].split(", "), key=lambda path: not path.startswith("lightning_st."))
    return f"{key}: several classes are called {match['name']}. Write {' or '.join(paths)}."


def _no_class(match: re.Match[str], key: str, message: str, words: Vocabulary) -> str:
    name = match["name"] or given_value(message)
    if key in words.groups:
        return _not_a_group(key, name, words)
    classes = words.classes.get(key, ())
    by_name = {path.rpartition(".")[2]: path for path in classes}
    near = did_you_mean(name.rpartition(".")[2], by_name)
    for short, path in by_name.items():
        near = near.replace(f"{short!r}", f"{path!r}")
    if "does not correspond to a subclass" in message:
        what = f"{key}: the class {name} cannot stand here."
    else:
        what = f"{key}: there is no class {name!r} to import."
    return what + (near or (f" Known: {', '.join(classes)}." if classes else ""))


def _not_a_group(key: str, value: str, words: Vocabulary) -> str:
    example = words.groups.get(key, f"--{key}.KEY VALUE")
    return str(ConfigError.expected(key, "a group of keys", value, f"Write {example}."))


def _one_line(key: str, message: str) -> str:
    """Return the message's most telling lines as one, without the parser's own type dumps."""
    lines = [_KEY.sub("", line).strip(" -:") for line in message.splitlines()]
    kept = [line for line in lines if line and not line.startswith(_NOISE)]
    text = "; ".join(kept).replace("<class '", "").replace("'>", "")
    return f"{key}: {text}" if key and key not in text else text
