"""All pictures of a contact sheet on one PNG, with captions: for a slide, a message, a printer."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lightning_st.errors import visible

CELL = 320
"""Pixels of a picture's longer side, and the width of a column."""

_GAP = 12
_LINE = 18
_TEXT_LINES = 3
_FONT_SIZE = 13
_INK, _SOFT, _PAPER = "#1c2128", "#5b6470", "#ffffff"

Captioned = tuple[Path, Sequence[str]]
"""A picture's file, and the lines below it."""


def write_mosaic(path: Path, groups: Sequence[tuple[str, Sequence[Captioned]]], columns: int) -> None:
    """Write the pictures in rows; each group begins a row, below its title.

    Args:
        path: The PNG.
        groups: (title, pictures); an empty title takes no place.
        columns: Pictures in a row.
    """
    rows: list[tuple[str, list[tuple[Image.Image, Sequence[str]]]]] = []
    for title, pictures in groups:
        shown = [(_thumbnail(file), lines) for file, lines in pictures]
        parts = [shown[start : start + columns] for start in range(0, len(shown), columns)]
        rows += [(title if number == 0 else "", part) for number, part in enumerate(parts)]
    sheet = Image.new("RGB", (_GAP + columns * (CELL + _GAP), _GAP + sum(_height(row) for row in rows)), _PAPER)
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE), _GAP
    for row in rows:
        _paste_row(sheet, draw, font, top, row)
        top += _height(row)
    sheet.save(path)


def fitted(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: float) -> str:
    """Return a text that is cut, with dots at its end, where it is wider than ``width`` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _thumbnail(file: Path) -> Image.Image:
    with Image.open(file) as image:
        small: Image.Image = image.convert("RGB")
    small.thumbnail((CELL, CELL))
    return small


def _height(row: tuple[str, Sequence[tuple[Image.Image, Sequence[str]]]]) -> int:
    title, pictures = row
    return bool(title) * (_LINE + _GAP // 2) + max(image.height for image, _ in pictures) + _TEXT_LINES * _LINE + _GAP


def _paste_row(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    top: int,
    row: tuple[str, Sequence[tuple[Image.Image, Sequence[str]]]],
) -> None:
    title, pictures = row
    if title:
        draw.text((_GAP, top), fitted(visible(title), font, sheet.width - 2 * _GAP), _INK, font)
        top += _LINE + _GAP // 2
    for column, (image, lines) in enumerate(pictures):
        left = _GAP + column * (CELL + _GAP)
        sheet.paste(image, (left, top))
        for number, line in enumerate(lines[:_TEXT_LINES]):
            place = left, top + image.height + 4 + number * _LINE
            draw.text(place, fitted(visible(line), font, CELL), _SOFT if number else _INK, font)
