"""The bytes of one image, decoded so that its boxes or its mask fit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_st.data.decoding import Header, Size, decode, read_bytes, read_header
from lightning_st.errors import ImageError
from lightning_st.index import ImageRecord


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The bytes of one image, and how it has to be read so that it agrees with its annotations.

    Attributes:
        name: For messages.
        data: The bytes.
        header: What they begin with.
        turn: Whether EXIF's turning is to be followed.
    """

    name: str
    data: bytes
    header: Header
    turn: bool

    @classmethod
    def open(cls, record: ImageRecord, is_labeled: bool) -> "ImageFile":
        """Read the file of ``record``.

        Boxes may have been drawn on the image as it lies in the file, before EXIF turns it: then the annotations give
        its sides in that order, and it is not turned. Where both orders are the same (a square, a turn by 180 degrees)
        the boxes are taken for what a person sees. Without labels there is nothing to agree with.

        Raises:
            ImageError: If it cannot be read, or has another size than its annotations say.
        """
        name = record.path if record.length < 0 else f"{record.path}/{record.name}"
        data = read_bytes(record.path, record.offset, None if record.length < 0 else record.length)
        header = read_header(data, name)
        said = record.height, record.width
        if not is_labeled or 0 in said or said == header.size:
            return cls(name, data, header, turn=True)
        if said == header.stored_size:
            return cls(name, data, header, turn=False)
        height, width = header.size
        raise ImageError(name, f"annotations say {said[1]} x {said[0]}, the file is {width} x {height}")

    @property
    def size(self) -> Size:
        """(height, width) of the image in pixels."""
        return self.header.size if self.turn else self.header.stored_size

    def decode(self, reduction: int = 1) -> NDArray[np.uint8]:
        """Return the image, uint8 [H, W, 3], up to ``reduction`` times smaller; see ``decoding.decode``."""
        return decode(self.data, self.name, header=self.header, reduction=reduction, turn=self.turn)

    def boxes_in(self, image: NDArray[np.uint8], boxes: NDArray[np.float32], reduction: int = 1) -> NDArray[np.float32]:
        """Return boxes of the original image in pixels of what ``decode(reduction)`` made of it.

        Args:
            image: uint8 [H, W, 3], as decoded.
            boxes: float32 [N, 4], xyxy in pixels of the original image.
            reduction: As decoded with.
        """
        if image.shape[:2] == self.size:
            return boxes
        y, x = self._shifts(image, reduction)
        moved: NDArray[np.float32] = boxes / np.float32(reduction) + np.array([x, y, x, y], np.float32)
        return moved

    def mask_in(self, image: NDArray[np.uint8], mask: NDArray[np.uint8], reduction: int = 1) -> NDArray[np.uint8]:
        """Return the mask of the original image at the size of what ``decode(reduction)`` made of it.

        Args:
            image: uint8 [h, w, 3], as decoded.
            mask: uint8 [H, W] at the size of the original image.
            reduction: As decoded with.

        Returns:
            uint8 [h, w]: each pixel has the class of the one in the middle of those that it stands for.
        """
        if image.shape[:2] == mask.shape:
            return mask
        places = []
        for decoded, side, shift in zip(image.shape[:2], mask.shape, self._shifts(image, reduction), strict=True):
            middles = np.floor((np.arange(decoded) + 0.5 - shift) * reduction).astype(np.int64)
            places.append(np.clip(middles, 0, side - 1))
        return mask[np.ix_(*places)]

    def _shifts(self, image: NDArray[np.uint8], reduction: int) -> tuple[float, float]:
        """Return (y, x), in pixels of the decoded image, where its first whole pixel begins.

        Along a mirrored side the partial pixel, if there is one, comes first.
        """
        mirrored = self.header.mirrored if self.turn else (False, False)
        y, x = (
            (decoded - side / reduction) * is_mirrored
            for decoded, side, is_mirrored in zip(image.shape[:2], self.size, mirrored, strict=True)
        )
        return y, x
