"""The augmentation policies S1-S4 of the paper (paper.md, section 2), and what chooses one, or another, by name.

A policy draws first and applies afterwards. A draw is a function of the generator and of the image's size alone;
applying it is a function of the draw and the sample. Nothing depends on threads, but processes that share a machine's
cores should call ``cv2.setNumThreads(0)`` once, as the workers of ``data`` do.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from inspect import signature
from math import inf
from pydoc import locate
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lightning_st.errors import ConfigError
from lightning_st.transforms.auto_augment_policies import AUTO_AUGMENT, RAND_AUGMENT
from lightning_st.transforms.geometry import Geometry, Size, apply_geometry, draw_geometry
from lightning_st.transforms.operations import HIGHEST_LEVEL, DrawnOperation, apply_operation, draw_operation
from lightning_st.types import Sample, TargetName

SCALE_JITTER = {"none": (1.0, 1.0), "S1": (0.8, 1.2), "S2": (0.8, 1.2), "S3": (0.5, 2.0), "S4": (0.5, 2.0)}
"""The range of the scale jitter of each policy (paper.md, section 2)."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "none": (),
    "S1": ("scale_jitter", "flip_probability"),
    "S2": ("scale_jitter", "flip_probability", "auto_augment"),
    "S3": ("scale_jitter", "flip_probability", "auto_augment"),
    "S4": ("scale_jitter", "flip_probability", "magnitude", "layers", "operations"),
    "RandomResizedCrop": ("crop_area", "flip_probability"),
    "SimCLR": ("crop_area", "flip_probability", "colour_strength"),
}
"""The names of the policies, each with the options of ``make_policy`` that it has."""

WHOLE_IMAGE_POLICIES = ("RandomResizedCrop", "SimCLR")
"""Those of images that are learnt as wholes: no boxes and no masks."""

DEFAULT_POLICY: dict[TargetName, str] = {
    "boxes": "S1",
    "masks": "S1",
    "classes": "RandomResizedCrop",
    "views": "SimCLR",
}
"""The policy where none is chosen, by what is learnt of the images."""


class Drawn(Protocol):
    """What a policy drew for one image; plain values."""

    @property
    def reduction(self) -> int:
        """1, 2, 4 or 8: how many times smaller the decoder may make the image."""


@runtime_checkable
class Policy(Protocol):
    """Draws an augmentation and applies it; a user's own class may, too."""

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
        operations: A key of ``RAND_AUGMENT``: the list that they are drawn from.
    """

    magnitude: float
    layers: int
    operations: str = "detection"

    def draw(self, generator: np.random.Generator) -> tuple[DrawnOperation, ...]:
        """Return the operations in their order."""
        known = RAND_AUGMENT[self.operations]
        names = [known[generator.integers(len(known))] for _ in range(self.layers)]
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


def make_policy(augment: Any, image_size: Size, target: TargetName = "boxes", **options: Any) -> Policy:
    """Return a policy by its name, or one that wraps the user's own.

    Args:
        augment: "S1", "S2", "S3" or "S4" of the paper; "none" only fits the image into the output; of whole images
            "RandomResizedCrop" or "SimCLR"; or the user's own: an ``albumentations.Compose`` or a ``Policy``, to which
            none of the options below applies; or the import path of what makes a ``Policy``, "my_module.MyPolicy", of
            ``image_size`` and ``options``, which are then its own.
        image_size: (height, width) of the output in pixels.
        target: What is learnt of the images: without boxes there are other operations in S4.
        **options: Where the policy is to differ from the paper's; None leaves it as it is.

            - scale_jitter: The smallest and the largest scale; 1 is where the image just fits the output.
            - flip_probability: 0-1; the default is 0.5.
            - auto_augment: The version of AutoAugment in S2 and S3: "v0" (the default) to "v3".
            - magnitude: The level of RandAugment in S4, 0-10; the default is 10.
            - layers: The number of operations that RandAugment in S4 does one after the other; the default is 1.
            - operations: The list of RandAugment in S4: "detection" (the default for boxes) or "classification" (else).
            - crop_area: The smallest and the largest part of an image's area that RandomResizedCrop and SimCLR keep.
            - colour_strength: How strong the colour jitter of SimCLR is; the default is 1.

    Raises:
        ConfigError: An unknown name, a value out of range, an option that the policy does not have, or a policy that
            does not go with ``target``.

    Example:
        >>> policy = make_policy("S4", image_size=(640, 640), magnitude=5)
        >>> policy.scale_jitter, policy.augmentation
        ((0.5, 2.0), RandAugment(magnitude=5, layers=1, operations='detection'))
    """
    if len(image_size) != 2 or min(image_size) < 1:
        raise ConfigError.expected("image_size", "(height, width) in pixels, both at least 1", image_size)
    given = {name: value for name, value in options.items() if value is not None}
    if not isinstance(augment, str):
        _check_options(given, f"a {type(augment).__name__}", ())
        return _own_policy(augment, image_size)
    if "." in augment:
        return _own_policy(_made(augment, image_size, given), image_size)
    if augment not in OPTIONS:
        raise ConfigError.unknown_choice("augment", augment, OPTIONS)
    _check_options(given, f"the policy {augment!r}", OPTIONS[augment])
    if augment in WHOLE_IMAGE_POLICIES:
        return _whole_image_policy(augment, image_size, target, given)
    smallest, largest = given.get("scale_jitter", SCALE_JITTER[augment])
    flip_probability = given.get("flip_probability", 0.0 if augment == "none" else 0.5)
    return PaperPolicy(image_size, (smallest, largest), flip_probability, _augmentation(augment, target, given))


def _augmentation(augment: str, target: TargetName, given: Mapping[str, Any]) -> Augmentation | None:
    """Return what the policy does besides the geometry."""
    if augment in ("S2", "S3"):
        return AutoAugment(given.get("auto_augment", "v0"))
    if augment == "S4":
        operations = given.get("operations", "detection" if target == "boxes" else "classification")
        return RandAugment(given.get("magnitude", HIGHEST_LEVEL), given.get("layers", 1), operations)
    return None


def _whole_image_policy(augment: str, image_size: Size, target: TargetName, given: Mapping[str, Any]) -> Policy:
    """Return a policy that crops so much that neither boxes nor masks go with it."""
    if target in ("boxes", "masks"):
        allowed = f"one that keeps the {target}: none, S1, S2, S3 or S4"
        raise ConfigError.expected("augment", allowed, augment, f"{augment} is for whole images.")
    from lightning_st.transforms.whole_images import whole_image_policy  # slow to import

    return whole_image_policy(augment, image_size, **given)


def _made(path: str, image_size: Size, options: Mapping[str, Any]) -> Any:
    """Return what the callable at an import path makes of the batches' size and its options."""
    maker = locate(path)
    if not callable(maker):
        raise ConfigError.expected("augment", "the import path of a class or function", path)
    try:
        signature(maker).bind(image_size=image_size, **options)
    except TypeError as error:
        raise ConfigError(f"{path} cannot be made with augment_options {dict(options)}: {error}.") from error
    return maker(image_size=image_size, **options)


def _own_policy(augment: Any, image_size: Size) -> Policy:
    """Return the user's own policy, or one that wraps the user's Compose."""
    if isinstance(augment, Policy):
        if tuple(augment.image_size) != tuple(image_size):
            size = list(image_size)
            raise ConfigError.expected("the policy's image_size", f"that of the batches, {size}", augment.image_size)
        return augment
    from lightning_st.transforms.albumentations_policy import AlbumentationsPolicy  # slow to import

    return AlbumentationsPolicy(augment, image_size)


def _check_options(given: Mapping[str, Any], policy: str, allowed: Collection[str]) -> None:
    """Refuse options that ``policy`` does not have, so that none is silently without effect, and wrong values."""
    for name, value in given.items():
        if name not in VALUES:
            raise ConfigError.unknown_choice("option of augment", name, VALUES)
        if name not in allowed:
            raise ConfigError(
                f"Expected no {name} for {policy}, got {value!r}. Leave it out, or choose another policy."
            )
        values, is_value = VALUES[name]
        if not is_value(value):
            raise ConfigError.expected(name, values, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_jitter(value: Any) -> bool:
    is_pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))
    return is_pair and 0 < value[0] <= value[1] < inf


def _is_area(value: Any) -> bool:
    return _is_jitter(value) and value[1] <= 1


VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "scale_jitter": ("two scales, 0 < smallest <= largest", _is_jitter),
    "flip_probability": ("0 to 1", lambda value: _is_number(value) and 0 <= value <= 1),
    "auto_augment": ("v0, v1, v2 or v3", lambda value: isinstance(value, str) and value in AUTO_AUGMENT),
    "magnitude": (f"0 to {HIGHEST_LEVEL}", lambda value: _is_number(value) and 0 <= value <= HIGHEST_LEVEL),
    "layers": ("a whole number, at least 1", lambda value: isinstance(value, int) and value >= 1),
    "crop_area": ("two parts of the image, 0 < smallest <= largest <= 1", _is_area),
    "colour_strength": ("0 to 2", lambda value: _is_number(value) and 0 <= value <= 2),
    "operations": (" or ".join(RAND_AUGMENT), lambda value: isinstance(value, str) and value in RAND_AUGMENT),
}
"""The options of ``make_policy``: which values are allowed, for the message, and whether one is."""
