"""An augmentation of your own, with boxes and all.

    python toy_data.py toy
    lightning_st self_train --config toy/toy.yaml --output runs/own_augmentation \
        --data.augment own_augmentation.GreyPatches --data.augment_options.patches 4

For colours, blur and the like `albumentations.Compose` needs no class of yours: `--data.augment` takes it by
`class_path` and `init_args`. Look at either with `lightning_st show augmentations`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lightning_st.transforms import make_policy
from lightning_st.types import Sample


@dataclass(frozen=True)
class Drawn:
    """What was drawn for one image, as plain values.

    Attributes:
        base: What the policy S1 drew.
        corners: Where the patches begin, as fractions of the sides, [patches, 2].
    """

    base: Any
    corners: np.ndarray

    @property
    def reduction(self) -> int:
        """How many times smaller the decoder may make the image: 1, 2, 4 or 8."""
        return self.base.reduction


class GreyPatches:
    """The paper's S1 (flip, scale jitter, crop), then grey squares that hide parts of the image.

    An augmentation draws first and applies afterwards: every draw follows from the generator, which follows from the
    seed and the image's place in the run. So a run that was cut goes on with the images that it would have seen.

    Args:
        image_size: (height, width) of the batches in pixels; the DataModule says it.
        patches: How many. Its own option, from `--data.augment_options`.
        size: Side of a patch, as a fraction of the shorter side, 0-1.
    """

    def __init__(self, image_size: tuple[int, int], patches: int = 3, size: float = 0.15) -> None:
        self.image_size = image_size
        self.patches, self.size = patches, size
        self.base = make_policy("S1", image_size)

    def draw(self, generator: np.random.Generator, height: int, width: int) -> Drawn:
        """Draw for an image of `height` and `width` pixels, before it is decoded."""
        return Drawn(self.base.draw(generator, height, width), generator.random((self.patches, 2)))

    def apply(self, sample: Sample, drawn: Drawn) -> Sample:
        """Return the sample at `image_size`, boxes and mask in its pixels; `sample` is not written to."""
        sample = self.base.apply(sample, drawn.base)
        image = sample.image.copy()
        side = round(self.size * min(self.image_size))
        for top, left in (drawn.corners * self.image_size).astype(int):
            image[top : top + side, left : left + side] = 128
        return replace(sample, image=image)
