"""How numbers and names are written in a report, and Markdown that no name can break."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning_st.errors import visible

MISSING = "-"
"""Stands where there is no number."""

_DIGITS = 3

_MARKDOWN = re.compile(r"[\\`*\[\]|~#$]|(?<![^\W_])_|_(?![^\W_])")


def score_text(value: float | None) -> str:
    """Write a score of 0-1 with three decimals.

    Example:
        >>> score_text(0.3124), score_text(None)
        ('0.312', '-')
    """
    return MISSING if value is None else f"{value:.{_DIGITS}f}"


def difference_text(value: float | None) -> str:
    """Write a difference of scores with its sign; one that rounds to nothing has none.

    Example:
        >>> difference_text(0.0214), difference_text(-0.03), difference_text(-0.0001)
        ('+0.021', '-0.030', '0.000')
    """
    if value is None:
        return MISSING
    size = f"{abs(value):.{_DIGITS}f}"
    if float(size) == 0:
        return size
    return ("+" if value > 0 else "-") + size


def compared_text(value: float) -> str:
    """Write a difference of scores as words that stand before the name of the other.

    Example:
        >>> compared_text(0.0214), compared_text(-0.03), compared_text(0.0)
        ('0.021 above', '0.030 below', 'the same as')
    """
    text = difference_text(value)
    if text[0] not in "+-":
        return "the same as"
    return f"{text[1:]} {'above' if value > 0 else 'below'}"


def count_text(value: float | None) -> str:
    """Write a count with separators between thousands.

    Example:
        >>> count_text(1281167)
        '1,281,167'
    """
    return MISSING if value is None else f"{value:,.0f}"


def tick_text(value: float) -> str:
    """Write a number beside an axis, where there is room for five characters.

    Example:
        >>> tick_text(0.25), tick_text(2000.0), tick_text(10_000), tick_text(1e8)
        ('0.25', '2,000', '10 k', '100 M')
    """
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.10g} M"
    return f"{value / 1e3:,.10g} k" if abs(value) >= 1e4 else f"{value:,.10g}"


def counted(value: int, singular: str) -> str:
    """Write a count with its noun.

    Example:
        >>> counted(1, "image"), counted(2, "image")
        ('1 image', '2 images')
    """
    return f"{count_text(value)} {singular}{'' if value == 1 else 's'}"


def seconds_text(seconds: float) -> str:
    """Write a duration with the two units that matter.

    Example:
        >>> seconds_text(12.3), seconds_text(200), seconds_text(7500)
        ('12 s', '3 min 20 s', '2 h 05 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Write names as a list in prose, the first few and how many more.

    Example:
        >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], most=2)
        ('a, b and c', 'a, b and 1 more')
    """
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)


def markdown(text: str) -> str:
    r"""Escape text so that Markdown shows it as it is, in a sentence, a list or a table.

    Example:
        >>> print(markdown("<b>x|y __init__ pseudo_label"))
        &lt;b&gt;x\|y \_\_init\_\_ pseudo_label
    """
    one_line = visible(" ".join(text.split()))
    plain = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\g<0>", plain)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int) -> str:
    """Return a Markdown table, escaped.

    Args:
        header: The names of the columns.
        rows: The cells.
        text_columns: How many columns, from the left, hold text; the others hold numbers and are aligned to the right.
    """
    rules = ["---" if column < text_columns else "---:" for column in range(len(header))]
    lines = [[markdown(cell) for cell in header], rules, *([markdown(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_text(path: Path, text: str) -> None:
    """Write a page or Markdown; what names could do to a reader, or to UTF-8, is spelt out: see `visible`."""
    path.write_text(visible(text, keep="\n"), encoding="utf-8", newline="\n")


def write_record(path: Path, record: Any) -> None:
    """Write JSON; the bytes of a name that are no UTF-8 become the escapes that JSON has for them."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
