"""Contact sheets: pictures with captions as a page, as files, and on one PNG."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from lightning_st.errors import DataError, ImageError
from lightning_st.reports.mosaic import write_mosaic
from lightning_st.reports.outlines import class_colour
from lightning_st.reports.overlays import BACKGROUND
from lightning_st.reports.own_folder import own_folder
from lightning_st.reports.render import environment
from lightning_st.reports.text import write_text
from lightning_st.reports.tiles import Tile

PAGE, MOSAIC, PICTURES = "index.html", "sheet.png", "pictures"

_MOST_LEGEND = 10
_COLUMNS = 4
_QUALITY = 88


@dataclass(frozen=True)
class Sheet:
    """What stands around the pictures; nothing escaped yet.

    Attributes:
        kind: What is shown, such as "Pseudo-labels".
        name: Of what: the heading.
        sentences: What to know when looking at it.
        classes: Their names, for the legend.
        in_rows: Whether the pictures of a group belong side by side.
    """

    kind: str
    name: str
    sentences: list[str]
    classes: Sequence[str]
    in_rows: bool = False


@dataclass(frozen=True)
class _Picture:
    """A picture that is written: its file below the page, and its caption."""

    file: str
    size: tuple[int, int]
    title: str
    note: str
    keys: list[tuple[str, str | None]]

    @property
    def lines(self) -> list[str]:
        """The caption as lines of text."""
        return [line for line in (self.title, self.note, ", ".join(words for words, _ in self.keys)) if line]


@dataclass
class Unreadable:
    """The images that could not be drawn, one line each; grows while pictures are made."""

    lines: list[str] = field(default_factory=list)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Pass over an image that cannot be read; a picture more or less is no reason to fail."""
        try:
            yield
        except ImageError as error:
            self.lines.append(str(error))


def write_sheet(
    sheet: Sheet,
    tiles: Iterable[tuple[str, Tile]],
    output: Path,
    unreadable: Unreadable | None = None,
    besides: Sequence[str] = (),
) -> int:
    """Write ``index.html``, ``sheet.png`` and ``pictures/`` to a folder, all or nothing; return how many pictures.

    Args:
        sheet: What stands around them.
        tiles: (title of the group, picture); neighbours with one title are a group.
        output: The folder; see ``own_folder``.
        unreadable: What could not be drawn, by the time that ``tiles`` ends.
        besides: See ``own_folder``.

    Raises:
        StageError: If the folder holds something that is not ours.
        DataError: If there is not one picture.
    """
    with own_folder(output, besides) as folder:
        return fill_sheet(sheet, tiles, folder, unreadable)


def fill_sheet(
    sheet: Sheet, tiles: Iterable[tuple[str, Tile]], folder: Path, unreadable: Unreadable | None = None
) -> int:
    """Write a contact sheet to a folder that the caller looks after; see ``write_sheet``."""
    written = _write_pictures(tiles, folder)
    lines = unreadable.lines if unreadable else []
    if not written:
        raise DataError(f"{sheet.name}: there is nothing to show{f'; {lines[0]}' if lines else ''}.")
    groups = [(title, [picture for _, picture in group]) for title, group in groupby(written, key=lambda pair: pair[0])]
    page = environment().get_template("sheet.html.jinja")
    text = page.render(sheet=sheet, groups=groups, legend=_legend(sheet.classes), unreadable=lines, mosaic=MOSAIC)
    write_text(folder / PAGE, text + "\n")
    columns = max(len(group) for _, group in groups) if sheet.in_rows else _COLUMNS
    captioned = [(title, [(folder / p.file, p.lines) for p in group]) for title, group in groups]
    write_mosaic(folder / MOSAIC, captioned, columns)
    return len(written)


def _write_pictures(tiles: Iterable[tuple[str, Tile]], folder: Path) -> list[tuple[str, _Picture]]:
    """Write each picture as soon as it is drawn, so that memory does not grow with their number."""
    (folder / PICTURES).mkdir()
    written = []
    for number, (title, tile) in enumerate(tiles):
        file = f"{PICTURES}/{number:03d}.jpg"
        tile.image.save(folder / file, quality=_QUALITY)
        written.append((title, _Picture(file, tile.image.size, tile.title, tile.note, tile.keys)))
    return written


def _legend(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Return (class, colour); nothing where there are too many classes to tell apart."""
    named = [(name, class_colour(label)) for label, name in enumerate(classes) if name not in BACKGROUND]
    return named if len(named) <= _MOST_LEGEND else []
