"""Pictures as each logger shows them: W&B in tables, with boxes and masks to switch on and off; TensorBoard drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from numpy.typing import NDArray
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from lightning_st.stages.pictures import Layer, Picture
from lightning_st.types import IGNORE_INDEX

_COLOURS = {"kept": "#00e676", "ignored": "#9e9e9e", "truth": "#ffffff", "predicted": "#ff9100"}

_DRAWN_SCORE = 0.3
"""Predictions from this score on are drawn; in a table of W&B the reader moves a slider."""


def log_table(
    logger: WandbLogger, key: str, pictures: Sequence[Picture], classes: Sequence[str], step: int | None
) -> None:
    """Log a table with a row for each picture: its name, the image with its layers, and how much each layer holds.

    Args:
        logger: Of W&B.
        key: The table's name.
        pictures: At least one.
        classes: The names of the classes.
        step: The optimiser's.
    """
    layers = list(pictures[0].layers)
    rows = [
        [picture.name, _wandb_image(picture, classes), *(_amount(picture.layers[name]) for name in layers)]
        for picture in pictures
    ]
    unit = "objects" if pictures[0].layers[layers[0]].mask is None else "classes"
    logger.log_table(key, ["name", "image", *(f"{unit}, {name}" for name in layers)], rows, step=step)


def log_drawn(
    logger: TensorBoardLogger, key: str, pictures: Sequence[Picture], classes: Sequence[str], step: int
) -> None:
    """Log pictures with their layers drawn into them, as "<key>/<number>"; arguments as of ``log_table``."""
    for number, picture in enumerate(pictures):
        logger.experiment.add_image(f"{key}/{number:02d}", draw(picture, classes), step, dataformats="HWC")


def draw(picture: Picture, classes: Sequence[str]) -> NDArray[np.uint8]:
    """Return a picture with its boxes, a colour for each layer; or with masks one picture for each layer, in a row.

    Returns:
        uint8 [H, W, 3].
    """
    image = torch.from_numpy(picture.image).permute(2, 0, 1)
    masks = [layer.mask for layer in picture.layers.values() if layer.mask is not None]
    if masks:
        image = torch.cat([_laid_over(image, mask) for mask in masks], dim=2)
    for name, layer in picture.layers.items():
        shown = list(range(len(layer.boxes)))
        if name == "predicted" and layer.scores is not None:
            shown = np.flatnonzero(layer.scores >= _DRAWN_SCORE).tolist()
        if shown:
            captions = [_caption(layer, place, classes) for place in shown]
            boxes = torch.from_numpy(layer.boxes[shown])
            image = draw_bounding_boxes(image, boxes, captions, _COLOURS[name], width=2)
    drawn: NDArray[np.uint8] = image.permute(1, 2, 0).numpy()
    return drawn


def _laid_over(image: torch.Tensor, mask: NDArray[np.uint8]) -> torch.Tensor:
    """Return uint8 [3, H, W] with the classes of a mask in colour, but the first, which as a rule is background."""
    labels = [label for label in np.unique(mask).tolist() if label not in (0, IGNORE_INDEX)]
    if not labels:
        return image
    wheres = torch.stack([torch.from_numpy(mask == label) for label in labels])
    colours = [tuple(int(255 * ((label * step) % 1)) for step in (0.618, 0.382, 0.755)) for label in labels]
    laid: torch.Tensor = draw_segmentation_masks(image, wheres, alpha=0.5, colors=colours)
    return laid


def _wandb_image(picture: Picture, classes: Sequence[str]) -> Any:
    import wandb

    names = {**dict(enumerate(classes)), IGNORE_INDEX: "ignored"}
    boxes = {
        name: {
            "box_data": [_box(layer, place, classes) for place in range(len(layer.boxes))],
            "class_labels": names,
        }
        for name, layer in picture.layers.items()
        if layer.mask is None
    }
    masks = {
        name: {"mask_data": layer.mask, "class_labels": names}
        for name, layer in picture.layers.items()
        if layer.mask is not None
    }
    table_classes = [{"id": label, "name": name} for label, name in names.items()]
    return wandb.Image(picture.image, classes=table_classes, boxes=boxes or None, masks=masks or None, file_type="jpg")


def _box(layer: Layer, place: int, classes: Sequence[str]) -> dict[str, Any]:
    corners = dict(zip(("minX", "minY", "maxX", "maxY"), layer.boxes[place].tolist(), strict=True))
    scores = {} if layer.scores is None else {"scores": {"score": float(layer.scores[place])}}
    return {
        "position": corners,
        "domain": "pixel",
        "class_id": int(layer.labels[place]),
        "box_caption": _caption(layer, place, classes),
        **scores,
    }


def _caption(layer: Layer, place: int, classes: Sequence[str]) -> str:
    score = "" if layer.scores is None else f" {layer.scores[place]:.2f}"
    return f"{classes[layer.labels[place]]}{score}"


def _amount(layer: Layer) -> int:
    """Return the number of boxes, or of the classes that a mask shows."""
    if layer.mask is None:
        return len(layer.boxes)
    return int((np.unique(layer.mask) != IGNORE_INDEX).sum())
