"""The two faces of a report: the HTML page and Markdown. Every string of the data is escaped in both."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from lightning_st.reports.contents import Contents
from lightning_st.reports.tables import Table
from lightning_st.reports.text import markdown

_OPTION = re.compile(r"--\w[\w.]*\w")


def environment() -> Environment:
    """Return where the templates of this folder are found; every value in them is escaped, and none may be missing."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["options"] = unbroken_options
    return made


def render_html(contents: Contents) -> str:
    """Return the page: one file with its styles and charts, no script; only pictures and links lie outside."""
    return environment().get_template("page.html.jinja").render(c=contents) + "\n"


def unbroken_options(text: str) -> Markup:
    """Return a text, escaped, in which no line breaks inside an option of the command line: "--" is a place for one.

    Example:
        >>> unbroken_options("x < y: --seed_everything")
        Markup('x &lt; y: <span class="option">--seed_everything</span>')
    """
    return Markup(_OPTION.sub(r'<span class="option">\g<0></span>', str(escape(text))))


def render_markdown(contents: Contents) -> str:
    """Return the report in Markdown: the same words, tables and pictures, without the charts."""
    return "\n\n".join(_markdown_parts(contents)) + "\n"


def _markdown_parts(contents: Contents) -> Iterator[str]:
    verdict = contents.verdict
    yield f"# {markdown(contents.name)}: self-training report"
    yield " ".join(markdown(line) for line in (verdict.sentence, *verdict.caveats))
    yield from _list("What to try", contents.advice)
    yield from _list("What is missing", contents.missing)
    for table in (contents.scores, *contents.classes):
        yield from _table(table)
    if contents.counts is not None:
        yield "## Pseudo-labels"
        yield from _table(contents.counts, level=3)
        yield from _table(contents.label_classes, level=3)
    if contents.bands:
        yield "## What the teacher believed"
    for band in contents.bands:
        yield f"### {band.title}"
        for picture in band.pictures:
            text = markdown(f"{picture.class_name} {picture.score:.2f}, {picture.fate}: {picture.image}")
            yield f"![{text}]({quote(picture.file)})\n{text}"
    if contents.data_check is not None:
        yield "## What the data look like"
        yield markdown(contents.data_check.note)
        yield contents.data_check.counts.markdown()
        for found in contents.data_check.findings:
            more = [f"… and {found.more} more"] if found.more else []
            lines = "\n".join(f"- {markdown(line)}" for line in [*found.lines, *more])
            yield "\n\n".join(filter(None, [markdown(f"{found.severity}: {found.title} {found.advice}"), lines]))
    for skipped in contents.skipped:
        more = [f"… and {skipped.count - len(skipped.lines)} more"] if skipped.count > len(skipped.lines) else []
        yield from _list(f"Skipped: {skipped.title}", [*skipped.lines, *more])
    yield from _table(contents.stages)
    yield from _table(Table("Seed, data and versions", ["what", "value"], [list(fact) for fact in contents.facts], 2))
    yield "Learning curves, histograms and the config: [index.html](index.html). Numbers: [metrics.json](metrics.json)."


def _list(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"## {markdown(title)}"
        yield "\n".join(f"- {markdown(line)}" for line in lines)


def _table(table: Table | None, level: int = 2) -> Iterator[str]:
    if table is not None:
        yield f"{'#' * level} {markdown(table.title)}"
        yield table.markdown()
