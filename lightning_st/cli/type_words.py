"""The types that an argument parser names, in the words of somebody who types a command."""

import ast
import re
from dataclasses import dataclass

_EXPECTED = re.compile(r"Expected an? (?P<type><class '[\w.]+'>|typing\.Literal\[[^\]]*\]|[\w.]+(?:\[[^\n]*\])?)")
_TUPLE = re.compile(r"tuple\[(?P<types>\w+(?:, \w+)*)\]")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "dict": "a group of keys",
    "list": "a list",
    "tuple": "a list",
    "collections.abc.Sequence": "a list",
    "collections.abc.Iterable": "a list",
}
# The value is in the innermost of these; a Namespace is what the parser had made of it so far.
_GIVEN = (
    re.compile(r"Got value: (?P<value>.+?)(?:\. Got value: Namespace.*)?$", re.MULTILINE),
    re.compile(r"Given value: NestedArg\(key='[^']*', val=(?P<value>.*)\)"),
    re.compile(r"Given value: (?P<value>.*)"),
)


@dataclass(frozen=True)
class Accepted:
    """What an argument would have taken.

    Attributes:
        text: In words: "a whole number or a list of 2".
        choices: The names among them.
    """

    text: str
    choices: list[str]


def accepted(message: str) -> Accepted | None:
    r"""Return what ``message``, a parser's refusal of a value, says would be accepted; None where it does not say.

    Example:
        >>> accepted("- Expected a <class 'int'>\n- Expected a typing.Literal['auto', 'max']")
        Accepted(text="a whole number, 'auto' or 'max'", choices=['auto', 'max'])
    """
    words: list[str] = []
    choices: list[str] = []
    for match in _EXPECTED.finditer(message):
        name = match["type"].removeprefix("<class '").removesuffix("'>")
        if name.startswith("typing.Literal"):
            choices += [str(choice) for choice in ast.literal_eval(name.removeprefix("typing.Literal"))]
        elif name in _WORDS:
            words.append(_WORDS[name])
    if sized := _TUPLE.search(message):
        count = sized["types"].count(",") + 1
        words = [f"a list of {count}" if word == "a list" else word for word in words]
    if "a number" in words:
        words = [word for word in words if word != "a whole number"]
    texts = list(dict.fromkeys([*words, *(repr(choice) for choice in choices)]))
    if not texts:
        return None
    return Accepted(" or ".join(filter(None, [", ".join(texts[:-1]), texts[-1]])), choices)


def given_value(message: str) -> str:
    """Return the value that ``message`` refuses, as the user typed it."""
    for pattern in _GIVEN:
        if match := pattern.search(message):
            return match["value"].strip("'\"")
    return ""
