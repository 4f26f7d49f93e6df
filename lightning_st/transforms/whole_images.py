"""Augmentation of images that are learnt as wholes: for classification, and for the two views of SimCLR.

The crops go down to a twelfth of the image and change its aspect ratio. What a class, or the sameness of two views,
survives; most boxes and most of a mask would be gone.
"""

from typing import Any

import albumentations

from lightning_st.transforms.albumentations_policy import AlbumentationsPolicy
from lightning_st.transforms.geometry import Size

_ASPECT_RATIOS = (3 / 4, 4 / 3)
_JITTER_PROBABILITY, _GREY_PROBABILITY, _BLUR_PROBABILITY = 0.8, 0.2, 0.5
_BLUR_SIGMAS = (0.1, 2.0)  # pixels
_BLUR_WIDTH = 0.1  # of the image's side


def whole_image_policy(
    name: str,
    image_size: Size,
    crop_area: tuple[float, float] = (0.08, 1.0),
    flip_probability: float = 0.5,
    colour_strength: float = 1.0,
) -> AlbumentationsPolicy:
    """Return one of the two policies.

    Args:
        name: "RandomResizedCrop", a crop that is resized, and a flip (Szegedy et al. 2015, section 6, without the
            colours); or "SimCLR": after these two colour jitter, grey and blur (Chen et al. 2020, arXiv 2002.05709,
            appendix A).
        image_size: (height, width) of the output in pixels.
        crop_area: The smallest and the largest part of the image's area that is kept, 0-1.
        flip_probability: 0-1.
        colour_strength: Of SimCLR: 1 jitters brightness, contrast and saturation by 0.8 and the hue by 0.2.
    """
    crop = albumentations.RandomResizedCrop(
        size=image_size, scale=tuple(crop_area), ratio=_ASPECT_RATIOS, area_for_downscale="image"
    )
    steps = [crop, albumentations.HorizontalFlip(p=flip_probability)]
    if name == "SimCLR":
        steps += _distortions(image_size, colour_strength)
    return AlbumentationsPolicy(albumentations.Compose(steps), image_size)


def _distortions(image_size: Size, strength: float) -> list[Any]:
    """Return what SimCLR does to the colours of a crop."""
    shift = 0.8 * strength
    width = round(_BLUR_WIDTH * min(image_size)) // 2 * 2 + 1  # a kernel has a middle
    return [
        albumentations.ColorJitter(
            brightness=shift, contrast=shift, saturation=shift, hue=0.2 * strength, p=_JITTER_PROBABILITY
        ),
        albumentations.ToGray(p=_GREY_PROBABILITY),
        albumentations.GaussianBlur(blur_limit=(width, width), sigma_limit=_BLUR_SIGMAS, p=_BLUR_PROBABILITY),
    ]
