"""The augmentation policies S1-S4 of the paper, and what chooses one by name (paper.md, section 2).

A policy draws first and applies afterwards. A draw is a function of the generator and of the image's size alone;
applying it is a function of the draw and the sample. Nothing depends on threads, but processes that share a machine's
cores should call ``cv2.setNumThreads(0)`` once, as the workers of ``data`` do.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lightning_st.errors import ConfigError
from lightning_st.transforms.auto_augment_policies import AUTO_AUGMENT, RAND_AUGMENT
from lightning_st.transforms.geometry import Geometry, Size, apply_geometry, draw_geometry
from lightning_st.transforms.operations import HIGHEST_LEVEL, DrawnOperation, apply_operation, draw_operation
from lightning_st.types import Sample

SCALE_JITTER = {"none": (1.0, 1.0), "S1": (0.8, 1.2), "S2": (0.8, 1.2), "S3": (0.5, 2.0), "S4": (0.5, 2.0)}
"""The range of the scale jitter of each policy (paper.md, section 2)."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "none": (),
    "S1": ("scale_jitter", "flip_probability"),
    "S2": ("scale_jitter", "flip_probability", "auto_augment"),
    "S3": ("scale_jitter", "flip_probability", "auto_augment"),
    "S4": ("scale_jitter", "flip_probability", "magnitude", "layers"),
}
"""The names of the policies, each with the options of ``make_policy`` that it has."""


class Drawn(Protocol):
    """What a policy drew for one image; plain values."""

    @property
    def reduction(self) -> int:
        """1, 2, 4 or 8: how many times smaller the decoder may make the image."""


class Policy(Protocol):
    """Draws an augmentation and applies it."""

    @property
    def image_size(self) -> Size:
        """(height, width) of the output in pixels."""

    def draw(self, generator: np.random.Generator, height: int, width: int) -> Drawn:
        """Draw for an image of ``height`` and ``width`` pixels, upright and at full resolution."""

    def apply(self, sample: Sample, drawn: Any) -> Sample:
        """Apply what this policy drew.

        Args:
            sample: The image as decoded, at full size or made smaller by up to ``drawn.reduction`` times, with boxes
                and mask in the pixels of this image. It is not written to.
            drawn: What ``draw`` returned.

        Returns:
            The image, uint8 [*image_size, 3]; the boxes in its pixels and clipped to it, without those that are not
            seen any more; and the mask.
        """


class Augmentation(Protocol):
    """Draws which operations are done to an image."""

    def draw(self, generator: np.random.Generator) -> tuple[DrawnOperation, ...]:
        """Return the operations in their order."""


@dataclass(frozen=True, slots=True)
class AutoAugment:
    """One sub-policy of a learnt policy, each as likely; its operations happen with their own probabilities.

    Attributes:
        version: A key of ``AUTO_AUGMENT``.
    """

    version: str

    def draw(self, generator: np.random.Generator) -> tuple[DrawnOperation, ...]:
        """Return the operations in their order."""
        sub_policies = AUTO_AUGMENT[self.version]
        sub_policy = sub_policies[generator.integers(len(sub_policies))]
        drawn = [draw_operation(generator, name, level, probability) for name, probability, level in sub_policy]
        return tuple(operation for operation in drawn if operation is not None)


@dataclass(frozen=True, slots=True)
class RandAugment:
    """So many operations, each drawn from one list and each at the same level.

    Attributes:
        magnitude: The level, 0 to ``HIGHEST_LEVEL``.
        layers: How many operations.
    """

    magnitude: float
    layers: int

    def draw(self, generator: np.random.Generator) -> tuple[DrawnOperation, ...]:
        """Return the operations in their order."""
        names = [RAND_AUGMENT[generator.integers(len(RAND_AUGMENT))] for _ in range(self.layers)]
        drawn = [draw_operation(generator, name, self.magnitude) for name in names]
        return tuple(operation for operation in drawn if operation is not None)


@dataclass(frozen=True, slots=True)
class DrawnAugmentation:
    """What a ``PaperPolicy`` drew.

    Attributes:
        height: Of the original image in pixels.
        width: Of the original image in pixels.
        operations: Done first, in this order, to the image as decoded.
        geometry: Done last.
    """

    height: int
    width: int
    operations: tuple[DrawnOperation, ...]
    geometry: Geometry

    @property
    def reduction(self) -> int:
        """1, 2, 4 or 8: how many times smaller the decoder may make the image."""
        return self.geometry.reduction


@dataclass(frozen=True, slots=True)
class PaperPolicy:
    """Operations of AutoAugment or RandAugment, then flip, scale jitter and crop: the order of the released code.

    Attributes:
        image_size: (height, width) of the output in pixels.
        scale_jitter: The smallest and the largest scale; 1 is where the image just fits the output.
        flip_probability: 0-1.
        augmentation: What is done before the geometry.
    """

    image_size: Size
    scale_jitter: tuple[float, float]
    flip_probability: float
    augmentation: Augmentation | None = None

    def draw(self, generator: np.random.Generator, height: int, width: int) -> DrawnAugmentation:
        """Draw for an image of ``height`` and ``width`` pixels, upright and at full resolution."""
        operations = () if self.augmentation is None else self.augmentation.draw(generator)
        size = height, width
        geometry = draw_geometry(generator, size, self.image_size, self.scale_jitter, self.flip_probability)
        return DrawnAugmentation(height, width, operations, geometry)

    def apply(self, sample: Sample, drawn: DrawnAugmentation) -> Sample:
        """Apply what was drawn; see ``Policy.apply``."""
        height, width = sample.image.shape[:2]
        pixel_scale = width / drawn.width, height / drawn.height
        for operation in drawn.operations:
            sample = apply_operation(sample, operation, pixel_scale)
        return apply_geometry(sample, drawn.geometry, (drawn.height, drawn.width), self.image_size)


def make_policy(
    augment: Any,
    image_size: Size,
    *,
    scale_jitter: tuple[float, float] | None = None,
    flip_probability: float | None = None,
    auto_augment: str | None = None,
    magnitude: float | None = None,
    layers: int | None = None,
) -> Policy:
    """Return a policy by its name, or one that wraps the user's own.

    Args:
        augment: "S1", "S2", "S3" or "S4" of the paper; "none" only fits the image into the output; or an
            ``albumentations.Compose``, to which none of the options below applies.
        image_size: (height, width) of the output in pixels.
        scale_jitter: Other bounds of the scale than the policy's; 1 is where the image just fits the output.
        flip_probability: Other than the policy's 0.5.
        auto_augment: The version of AutoAugment in S2 and S3: "v0" (the default) to "v3".
        magnitude: The level of RandAugment in S4, 0-10; the default is 10.
        layers: The number of operations that RandAugment in S4 does one after the other; the default is 1.

    Raises:
        ConfigError: An unknown name, a value out of range, or an option that the policy does not have.

    Example:
        >>> policy = make_policy("S4", image_size=(640, 640), magnitude=5)
        >>> policy.scale_jitter, policy.augmentation
        ((0.5, 2.0), RandAugment(magnitude=5, layers=1))
    """
    given = {
        "scale_jitter": scale_jitter,
        "flip_probability": flip_probability,
        "auto_augment": auto_augment,
        "magnitude": magnitude,
        "layers": layers,
    }
    _check_size(image_size)
    if not isinstance(augment, str):
        _refuse_options(given, "a Compose of albumentations", ())
        from lightning_st.transforms.albumentations_policy import AlbumentationsPolicy  # slow to import

        return AlbumentationsPolicy(augment, image_size)
    if augment not in OPTIONS:
        raise ConfigError.unknown_choice("augment", augment, OPTIONS)
    _refuse_options(given, f"the policy {augment!r}", OPTIONS[augment])
    _check_options(given)
    flip = 0.5 if augment != "none" else 0.0
    return PaperPolicy(
        image_size,
        SCALE_JITTER[augment] if scale_jitter is None else scale_jitter,
        flip if flip_probability is None else flip_probability,
        _augmentation(augment, auto_augment, magnitude, layers),
    )


def _augmentation(
    augment: str, auto_augment: str | None, magnitude: float | None, layers: int | None
) -> Augmentation | None:
    """Return what the policy does besides the geometry."""
    if augment in ("S2", "S3"):
        return AutoAugment("v0" if auto_augment is None else auto_augment)
    if augment == "S4":
        return RandAugment(HIGHEST_LEVEL if magnitude is None else magnitude, 1 if layers is None else layers)
    return None


def _check_size(image_size: Size) -> None:
    """Refuse what is not (height, width)."""
    if len(image_size) != 2 or min(image_size) < 1:
        raise ConfigError.expected("image_size", "(height, width) in pixels, both at least 1", image_size)


def _refuse_options(given: Mapping[str, object], policy: str, allowed: Collection[str]) -> None:
    """Refuse options that ``policy`` does not have, so that none is silently without effect."""
    for name, value in given.items():
        if value is not None and name not in allowed:
            raise ConfigError(
                f"Expected no {name} for {policy}, got {value!r}. Leave it out, or choose another policy."
            )


def _check_options(given: Mapping[str, Any]) -> None:
    """Refuse values out of range; None means that an option is not given."""
    jitter, flip, version = given["scale_jitter"], given["flip_probability"], given["auto_augment"]
    magnitude, layers = given["magnitude"], given["layers"]
    if jitter is not None and not (len(jitter) == 2 and 0 < jitter[0] <= jitter[1]):
        raise ConfigError.expected("scale_jitter", "two scales, 0 < smallest <= largest", jitter)
    if flip is not None and not 0 <= flip <= 1:
        raise ConfigError.expected("flip_probability", "0 to 1", flip)
    if version is not None and version not in AUTO_AUGMENT:
        raise ConfigError.unknown_choice("auto_augment", version, AUTO_AUGMENT)
    if magnitude is not None and not 0 <= magnitude <= HIGHEST_LEVEL:
        raise ConfigError.expected("magnitude", f"0 to {HIGHEST_LEVEL}", magnitude)
    if layers is not None and layers < 1:
        raise ConfigError.expected("layers", "at least 1", layers)
