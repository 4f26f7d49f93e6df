"""What a user can say of a source besides its paths."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lightning_st.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """Options of a reader; each goes with some formats, and is refused with the others.

    Attributes:
        classes: A file of class names, a name a line or a JSON list: these classes only, in this order (voc,
            openimages); the names of the class indices (yolo, masks). For openimages it may be a class-description CSV
            too.
        hierarchy: Of openimages: its class hierarchy; boxes are also given to the classes above theirs.
        first_pixel: Of voc: 1 where pixels are counted from 1 and the last one is in the box, as PASCAL does; 0 where
            the XML holds plain corners, as labelImg and CVAT write. None: 1 if the XML names PASCAL's database.
        ignore_index: Of masks: values of pixels that nothing is said of, besides 255.
        categories: Of results: (id, name) of each class.
    """

    classes: Path | None = None
    hierarchy: Path | None = None
    first_pixel: int | None = None
    ignore_index: tuple[int, ...] = ()
    categories: tuple[tuple[int, str], ...] = ()

    def said(self) -> dict[str, Any]:
        """Return the options that are set, as JSON can hold them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in values.items()
            if value not in (None, ())
        }

    def refuse_others(self, accepted: Collection[str], format_name: str) -> None:
        """Refuse options that `format_name` does not take.

        Raises:
            ConfigError: Naming the option.
        """
        for field in fields(self):
            if getattr(self, field.name) != field.default and field.name not in accepted:
                allowed = f"left out: the format {format_name!r} does not take it"
                raise ConfigError.expected(field.name, allowed, str(getattr(self, field.name)))
        if self.first_pixel not in (None, 0, 1):
            raise ConfigError.expected("first_pixel", "0 or 1", self.first_pixel)
