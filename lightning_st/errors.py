"""The exceptions of this package, and the one place where their messages are built.

Everything that a user can mend derives from ``LightningSTError``; the command line prints its message as one
sentence and exits with status 2. ``StoppedBySignal`` is no error but a way to end, as ``SystemExit`` is. Anything else
is a fault of the program and keeps its traceback.

    LightningSTError
    ├── ConfigError            an argument or a key of a config is wrong, or does not go with another
    ├── DataError              something in the user's data is wrong
    │   ├── AnnotationError    an annotation file: which file, which record, which field
    │   ├── ImageError         one image cannot be read; it is skipped and counted
    │   └── TooManyBadError    more images or boxes were skipped than ``data.max_bad_fraction`` allows
    ├── IndexFileError         an index file is unreadable, foreign or of another version
    ├── CheckpointError        a checkpoint is missing, unreadable or does not fit
    └── StageError             a stage cannot go on: its inputs changed, or an earlier one left nothing to work with

Messages follow one grammar: what was expected, what was found, what to do. A file is named first.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr

_SHORT = Repr()
_SHORT.maxlevel = 2
_SHORT.maxlist = 20
_SHORT.maxstring = _SHORT.maxother = 80  # characters

# What moves a cursor, ends a line, turns the direction of text around, or has no bytes in UTF-8.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class LightningSTError(Exception):
    """Base of every error that the user can mend; ``str(error)`` is the sentence to show."""


class ConfigError(LightningSTError):
    """An argument or a config key is wrong, or does not go with another one."""

    @classmethod
    def expected(cls, argument: str, allowed: str, got: object, advice: str = "") -> "ConfigError":
        """Build "Expected <argument> to be <allowed>, got <value>. <advice>"."""
        return cls(f"Expected {argument} to be {allowed}, got {got!r}.{' ' + advice if advice else ''}")

    @classmethod
    def unknown_choice(cls, argument: str, got: str, choices: Iterable[str]) -> "ConfigError":
        """Build the refusal of a name that is not among ``choices``, with the nearest one."""
        known = list(choices)
        return cls(f"Unknown {argument} {got!r}.{did_you_mean(got, known)} Known: {', '.join(known)}.")


class DataError(LightningSTError):
    """Something in the user's data is wrong."""


class AnnotationError(DataError):
    """An annotation file cannot be used as it is."""

    def __init__(self, file: Path | str, problem: str, record: str = "", advice: str = "") -> None:
        """Build "<file>: <record>: <problem>. <advice>".

        Args:
            file: The annotation file.
            problem: What is wrong, with the offending value, without a full stop.
            record: Which record and field, such as ``annotations[17].bbox``; empty for the whole file.
            advice: What would be accepted, a whole sentence.
        """
        where = f"{file}: {record}: " if record else f"{file}: "
        super().__init__(f"{where}{problem}.{' ' + advice if advice else ''}")


class ImageError(DataError):
    """One image cannot be read. Callers skip it, count it, and go on."""

    def __init__(self, image: Path | str, problem: str) -> None:
        """Build "<image>: <problem>"."""
        super().__init__(f"{image}: {problem}")


class TooManyBadError(DataError):
    """More images or boxes had to be skipped than the user allows."""

    def __init__(self, what: str, messages: Sequence[str], bad_count: int, count: int, limit: float) -> None:
        """Say how many of how many, the limit, and the first ten.

        Args:
            what: What was skipped, in the plural: "images", "boxes".
            messages: One line for each skipped thing; the first ten are shown.
            bad_count: How many were skipped.
            count: Out of how many.
            limit: ``data.max_bad_fraction``.
        """
        shown = "; ".join(messages[:10]) + ("; ..." if bad_count > len(messages[:10]) else "")
        super().__init__(
            f"{bad_count} of {count} {what} cannot be used, more than data.max_bad_fraction={limit:g} allows: {shown}. "
            "Mend or remove them, or raise data.max_bad_fraction."
        )


class IndexFileError(LightningSTError):
    """An index file is unreadable, foreign or of another version."""


class CheckpointError(LightningSTError):
    """A checkpoint is missing, unreadable, or does not fit the model or the data."""


class StageError(LightningSTError):
    """A stage cannot go on."""


class StoppedBySignal(SystemExit):
    """A signal asked the process to stop, and what it had done is kept.

    The exit status is 128 and the number of the signal, as of a program that the signal itself has ended.
    """

    def __init__(self, number: int) -> None:
        """Keep the number of the signal."""
        super().__init__(128 + number)
        self.number = number


def quoted(value: object) -> str:
    r"""Return a value of a user's file for a message: on one line, and its middle left out where it is long.

    Example:
        >>> print(quoted("a\nb"))
        'a\nb'
    """
    return _SHORT.repr(value)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of ``choices``, upper and lower case alike, or an empty string.

    Example:
        >>> did_you_mean("augmnt", ["augment", "image_size"])
        " Did you mean 'augment'?"
    """
    by_lower_case = {choice.lower(): choice for choice in choices}
    near = get_close_matches(name.lower(), list(by_lower_case), n=1, cutoff=0.6)
    return f" Did you mean {by_lower_case[near[0]]!r}?" if near else ""


def visible(text: str, keep: str = "") -> str:
    r"""Return text that a terminal, a page and a file in UTF-8 can take: what a name could do to them is spelt out.

    Control characters, marks that turn the direction of text, and bytes of a file's name that are no UTF-8 become
    escapes as Python writes them. All other text stays as it is, in any script.

    Args:
        text: Such as a message with names of the user's files in it.
        keep: Characters that stay, such as the line breaks of a text of our own.

    Example:
        >>> visible("\x1b[31mcafé\n日本語\u202e \udce9.jpg")
        '\\x1b[31mcafé\\n日本語\\u202e \\xe9.jpg'
    """
    return _UNSEEN.sub(lambda found: found[0] if found[0] in keep else _spelt(found[0]), text)


def _spelt(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as Python keeps it in names of files
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
