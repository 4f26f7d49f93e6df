"""The masks of an index as palette PNGs, for other tools."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightning_st.errors import DataError
from lightning_st.index.masks import ignore_unsure
from lightning_st.index.table import AnnotationIndex

CLASSES_FILE = "classes.txt"


def export_masks(index: AnnotationIndex, folder: str | Path, keep: NDArray[np.floating] | None = None) -> None:
    """Write each mask as a palette PNG with its image's name, in PASCAL VOC's colours, and the class names beside.

    What is written `data.*.masks` and `data.*.classes` read.

    Args:
        index: Images with masks.
        folder: Made; must not exist, or be empty. Gets `masks/` and `classes.txt`.
        keep: float [C], thresholds (0-1): less sure pixels become 255. All are written where missing.

    Raises:
        DataError: If the index holds no masks, the folder is not empty, or two images have one name.
    """
    folder = Path(folder)
    if not index.has_masks:
        raise DataError(f"{index.path}: the index holds no masks. Export boxes as coco or yolo.")
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder}: the folder is not empty. Export to another one.")
    thresholds = np.zeros(len(index.classes)) if keep is None else keep
    palette = voc_palette().reshape(-1).tolist()
    for row in range(len(index)):
        mask = index.mask(row)
        if mask is not None:
            path = (folder / "masks" / index.name(row)).with_suffix(".png")
            if path.exists():
                raise DataError(f"{index.path}: several images would be {path.name}. Export them one source at a time.")
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(ignore_unsure(mask, index.confidence(row), thresholds), mode="P")
            image.putpalette(palette)
            image.save(path)
    (folder / CLASSES_FILE).write_text("\n".join([*index.classes, ""]), encoding="utf-8")


def voc_palette() -> NDArray[np.uint8]:
    """Return PASCAL VOC's colours, uint8 [256, 3], RGB: the bits of a class index, dealt out to the channels in turn.

    Example:
        >>> voc_palette()[[1, 15, 255]].tolist()
        [[128, 0, 0], [192, 128, 128], [224, 224, 192]]
    """
    values = np.arange(256, dtype=np.uint8)[:, None]
    channels = np.arange(3, dtype=np.uint8)[None]
    colours = np.zeros((256, 3), np.uint8)
    for place in range(7, -1, -1):
        colours |= (values >> channels & 1) << np.uint8(place)
        values = values >> np.uint8(3)
    return colours
