"""What a user names in a config: images, labels, a list, a fraction."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from lightning_st.errors import ConfigError


@dataclass
class Source:
    """Where one set of images is.

    Attributes:
        images: The folder of the images, or a tar archive of them.
        annotations: The file of their labels.
        format: Of the annotations; recognised where it is missing.
        list: Use these images only: a file with a name a line, or a COCO JSON (its annotations are not read).
        fraction: Use this part of the images, 0-1: a seeded subset that is part of the subset of every larger fraction.
    """

    images: str | None = None
    annotations: str | None = None
    format: Literal["coco", "folder", "tar"] | None = None
    list: str | None = None
    fraction: float = 1.0

    @classmethod
    def read(cls, value: "Source | Mapping[str, Any] | None", name: str) -> "Source | None":
        """Return the source that ``value`` describes, None where it describes none.

        Raises:
            ConfigError: If a key is unknown or missing, or the fraction out of range.
        """
        if isinstance(value, Mapping):
            known = [field.name for field in fields(cls)]
            for key in value:
                if key not in known:
                    raise ConfigError.unknown_choice(f"key of data.{name}", str(key), known)
            value = cls(**value)
        if value is None or value == cls():
            return None
        if value.images is None:
            raise ConfigError.expected(f"data.{name}.images", "a folder or a tar archive of images", None)
        if not 0 < value.fraction <= 1:
            raise ConfigError.expected(f"data.{name}.fraction", "above 0 and at most 1", value.fraction)
        return value
