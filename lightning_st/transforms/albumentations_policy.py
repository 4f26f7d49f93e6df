"""Any ``albumentations.Compose`` as a policy.

Boxes go through it with their row numbers, so that labels and kinds stay with them. What comes out is fitted into the
output like an image for evaluation, unless it has the output's size already.
"""

import copy
import os
import random
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lightning_st.errors import ConfigError
from lightning_st.transforms.geometry import Geometry, Size, apply_geometry, clip_boxes, fitting_scale
from lightning_st.types import Sample

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or the import asks the network for its newest version
import albumentations

ROWS = "rows"
"""The label field that carries each box's row through the Compose."""

WEIGHTS = "mask_weights"
"""What the weights of a mask's pixels are called there: moved as the mask is."""


@dataclass(frozen=True, slots=True)
class DrawnSeed:
    """What an ``AlbumentationsPolicy`` drew: a seed. It needs the image at full resolution."""

    seed: int
    reduction: int = 1


class AlbumentationsPolicy:
    """Applies a copy of the user's Compose, with random numbers that follow from the draw."""

    def __init__(self, compose: Any, image_size: Size) -> None:
        """Copy a Compose so that it carries our boxes.

        Args:
            compose: An ``albumentations.Compose`` that returns uint8 images: without Normalize or ToTensorV2, which the
                model does on its device. Of its ``bbox_params`` the filters are kept; format and label fields are ours,
                and it needs none. For masks, give its transforms ``fill_mask=255``.
            image_size: (height, width) of the output in pixels.

        Raises:
            ConfigError: If it is not a Compose.
        """
        if not isinstance(compose, albumentations.Compose):
            allowed = "the name of a policy, an albumentations.Compose or a lightning_st.transforms.Policy"
            raise ConfigError.expected("augment", allowed, compose)
        self.image_size = image_size
        with warnings.catch_warnings():  # a Compose that only changes colours has no use for boxes, and need not
            warnings.filterwarnings("ignore", "Got processor for bboxes, but no transform to process it")
            self._compose = albumentations.Compose(
                copy.deepcopy(compose.transforms),
                bbox_params=_box_parameters(compose),
                p=compose.p,
                mask_interpolation=compose.mask_interpolation,
                additional_targets={WEIGHTS: "mask"},
            )
        self._compose.set_deterministic(False)  # or the transforms of a ReplayCompose miss the record that they write

    def draw(self, generator: np.random.Generator, height: int, width: int) -> DrawnSeed:
        """Draw the seed of all that the Compose draws."""
        return DrawnSeed(int(generator.integers(2**32)))

    def apply(self, sample: Sample, drawn: DrawnSeed) -> Sample:
        """Apply what was drawn; see ``Policy.apply``.

        Raises:
            ConfigError: If the Compose returns anything but uint8 [H, W, 3].
        """
        # set_random_seed would give every transform the same numbers: two flips with p=0.5 would always come together.
        self._compose.set_random_state(np.random.default_rng(drawn.seed), random.Random(drawn.seed))
        sample = clip_boxes(sample, sample.image.shape[:2])
        # Copies, because a transform may write into what it gets, and some refuse what they may not write into.
        data = {"image": sample.image.copy(), "bboxes": sample.boxes, ROWS: np.arange(len(sample.boxes))}
        data |= {name: mask.copy() for name in ("mask", WEIGHTS) if (mask := getattr(sample, name)) is not None}
        result = self._compose(**data)
        sample = sample.keep(np.asarray(result[ROWS], np.intp))
        boxes = np.asarray(result["bboxes"], np.float32).reshape(-1, 4)
        masks = {name: result.get(name) for name in ("mask", WEIGHTS)}
        sample = replace(sample, image=_checked(result["image"]), boxes=boxes, **masks)
        size = sample.image.shape[:2]
        return apply_geometry(sample, Geometry(fitting_scale(size, self.image_size)), size, self.image_size)


def _box_parameters(compose: Any) -> Any:
    """Return parameters for boxes as we have them, with the filters that the user's own set."""
    filters = {}
    if "bboxes" in compose.processors:
        names = ("min_area", "min_visibility", "min_width", "min_height", "max_accept_ratio", "check_each_transform")
        filters = {name: getattr(compose.processors["bboxes"].params, name) for name in names}
    return albumentations.BboxParams("pascal_voc", label_fields=[ROWS], filter_invalid_bboxes=True, **filters)


def _checked(image: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the image, or refuse what is not uint8 [H, W, 3]."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{getattr(image, 'dtype', type(image).__name__)} {list(getattr(image, 'shape', []))}"
        raise ConfigError(
            f"Expected the Compose given as augment to return uint8 [H, W, 3], got {got}. "
            "Leave out Normalize and ToTensorV2: the model normalises on its device."
        )
    return image
