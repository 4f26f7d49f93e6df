"""What a user names in a config: images, labels, a list, a fraction."""

import builtins
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from lightning_st.errors import ConfigError
from lightning_st.index import ReaderOptions

FORMATS = ("coco", "voc", "openimages", "yolo", "folder", "tar")
"""The formats that a user may name; masks and the classes of whole images are read where a model learns them."""

LABELED = "labeled"
"""Of ``Source.exclude``: the images of the labelled set."""


@dataclass
class Source:
    """Where one set of images is.

    Attributes:
        images: The folder of the images, or a tar archive of them; or the root of a PASCAL VOC or YOLO data set.
        annotations: The file or folder of their labels; a root says it itself.
        format: Of the annotations: "coco", "voc", "openimages", "yolo", "folder", "tar", or the import path of a reader
            of one's own ("my_module.read_mine"); recognised where it is missing.
        list: Use these images only: a file with a name a line, or a COCO JSON (its annotations are not read). In a root
            also the name of one of its splits, such as "train".
        fraction: Use this part of the images, 0-1: a seeded subset that is part of the subset of every larger fraction.
        masks: The folder of the masks of the images: index or palette PNGs with the images' names. Instead of
            annotations, for a model that learns the class of every pixel; the root of a PASCAL VOC says it itself.
        ignore_index: Values of masks that say nothing of a pixel, besides 255: a number, several, or "254,253".
        classes: A file of class names, a name a line or a JSON list: only these (voc, openimages), those of the class
            indices (yolo, masks), or those of the folders in this order (where the classes of whole images are
            learnt).
        hierarchy: The class hierarchy of Open Images: boxes count for the classes above theirs too.
        first_pixel: Of voc: 1 where pixels are counted from 1 and the last one is inside, 0 where the XML holds plain
            corners; if missing, 1 where the XML names PASCAL's database.
        exclude: Leave these images out: a file of the form of ``list``, in which names that the set does not have are
            passed over. ``lightning_st check --exclude FILE`` writes one. Of unlabelled images also "labeled": those of
            the labelled set.
        split_file: Of labelled images in a COCO JSON: take those that a published file of folds names, such as
            Unbiased Teacher's COCO_supervision.txt, for the percentage that ``fraction`` is.
        fold: Which of its folds; if missing, that of the seed's number.
    """

    images: str | None = None
    annotations: str | None = None
    format: str | None = None
    list: str | None = None
    fraction: float = 1.0
    masks: str | None = None
    ignore_index: int | builtins.list[int] | str | None = None
    classes: str | None = None
    hierarchy: str | None = None
    first_pixel: Literal[0, 1] | None = None
    exclude: str | None = None
    split_file: str | None = None
    fold: int | None = None

    def options(self, name: str) -> ReaderOptions:
        """Return what the reader of the format is told besides the paths.

        Raises:
            ConfigError: If a file is not there, naming its key in the set ``name``.
        """
        for key in ("classes", "hierarchy"):
            path = getattr(self, key)
            if path is not None and not Path(path).is_file():
                raise ConfigError.expected(f"data.{name}.{key}", "a file that is there", path)
        classes, hierarchy = (path and Path(path).resolve() for path in (self.classes, self.hierarchy))
        return ReaderOptions(classes or None, hierarchy or None, self.first_pixel, self._ignored(name))

    def _ignored(self, name: str) -> tuple[int, ...]:
        """Return the values of masks that are ignored, in the order of their size."""
        given = self.ignore_index
        words = given.split(",") if isinstance(given, str) else [given] if isinstance(given, int) else given or []
        try:
            values = sorted({int(word) for word in words})
        except (TypeError, ValueError):
            values = [-1]
        if any(not 0 <= value < 2**16 for value in values):
            allowed = "one or several values of a mask, from 0 to 65535, such as 254 or 254,253"
            raise ConfigError.expected(f"data.{name}.ignore_index", allowed, given)
        return tuple(values)

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
        if value.format is not None and value.format not in FORMATS and "." not in value.format:
            raise ConfigError.unknown_choice(f"data.{name}.format", value.format, FORMATS)
        if value.exclude is not None and not value.is_the_rest(name) and not Path(value.exclude).is_file():
            raise ConfigError.expected(f"data.{name}.exclude", "a file that is there", value.exclude)
        if not 0 < value.fraction <= 1:
            raise ConfigError.expected(f"data.{name}.fraction", "above 0 and at most 1", value.fraction)
        value._refuse_unfit_folds(name)
        return value

    def is_the_rest(self, name: str) -> bool:
        """Say whether the set ``name`` is what the labelled images leave."""
        return name == "unlabeled" and self.exclude == LABELED

    def _refuse_unfit_folds(self, name: str) -> None:
        """Refuse a file of folds where it has no place, or cannot be read for want of another key."""
        key = f"data.{name}.split_file"
        if self.split_file is None:
            if self.fold is not None:
                raise ConfigError.expected(f"data.{name}.fold", f"left out without {key}", self.fold)
            return
        if name != "labeled":
            raise ConfigError.expected(key, "left out: it chooses labelled images", self.split_file)
        if not Path(self.split_file).is_file():
            raise ConfigError.expected(key, "a file that is there", self.split_file)
        if self.annotations is None or Path(self.annotations).suffix != ".json" or self.list is not None:
            advice = "Its numbers count the images of a COCO file: give that as data.labeled.annotations, and no list."
            raise ConfigError.expected(key, "left out", self.split_file, advice)
