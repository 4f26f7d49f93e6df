"""JPEG bytes to upright RGB: our decoder, header and all, beside those that a loader could use, on one core.

Ours reads the header for its size and EXIF first, and refuses what is cut short; the others decode only. At full size
all pixels are compared and agree to a grey level on average; smaller, the decoders leave out what they would scale
away: those that can. simplejpeg is asked for half and quarter the size, as OpenCV is.
"""

import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from benchmarks.measuring import OURS, Comparison, Settings, interleave, optional
from benchmarks.pipelines import HEIGHT, WIDTH, make_photographs
from lightning_st.data.decoding import decode

REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
}
"""OpenCV's flags; its name for the scaled ones is that of the grey ones, until a colour flag is added."""

Decode = Callable[[bytes, int], Any]
"""(bytes of a JPEG, 1, 2 or 4: how many times smaller) -> RGB, uint8 [H, W, 3], of torch [3, H, W]."""


def by_pillow(data: bytes, reduction: int) -> np.ndarray:
    """Decode by Pillow; ``draft`` has libjpeg scale."""
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (WIDTH // reduction, HEIGHT // reduction))
    return np.asarray(image.convert("RGB"))


def by_opencv(data: bytes, reduction: int) -> np.ndarray:
    """Decode by OpenCV straight to RGB."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[reduction])


def by_torchvision(data: bytes, reduction: int) -> torch.Tensor:
    """Decode by torchvision, which knows full size only."""
    return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)


def by_simplejpeg() -> Decode | None:
    """Return simplejpeg's decoder."""
    simplejpeg = optional("simplejpeg")
    if simplejpeg is None:
        return None

    def decode_smaller(data: bytes, reduction: int) -> np.ndarray:
        sides = {} if reduction == 1 else {"min_height": HEIGHT // reduction, "min_width": WIDTH // reduction}
        return simplejpeg.decode_jpeg(data, "RGB", **sides)

    return decode_smaller


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield full, half and quarter size."""
    paths = [photograph.path for photograph in make_photographs(settings, 4 if settings.tiny else 64)]
    files = [path.read_bytes() for path in paths]
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    ours: Decode = lambda data, reduction: decode(data, reduction=reduction)  # noqa: E731
    decoders = {OURS: ours, "Pillow": by_pillow, "OpenCV": by_opencv, "torchvision": by_torchvision}
    decoders["simplejpeg"] = by_simplejpeg()
    for reduction in (1, 2, 4):
        able = {name: by for name, by in decoders.items() if reduction == 1 or name != "torchvision"}
        present = {name: by for name, by in able.items() if by is not None}
        refuse_different(present, files[0], reduction)

        def side(by: Decode, reduction: int = reduction) -> Callable[[int], float]:
            def images_per_second(turn: int) -> float:
                start = time.process_time()
                for data in files:
                    by(data, reduction)
                return len(files) / (time.process_time() - start)

            return images_per_second

        sides = {name: None if by is None else side(by) for name, by in able.items()}
        values = interleave(sides, settings.repetitions)
        size = "full size" if reduction == 1 else f"1/{reduction} of its sides"
        case = f"JPEG of 640 x 480 ({np.mean([len(data) for data in files]) / 1000:.0f} kB) at {size}, one core"
        note = "" if reduction == 1 else "torchvision cannot"
        yield Comparison.of(values, case=case, unit="images/s", better="more", note=note)


def refuse_different(decoders: dict[str, Decode], data: bytes, reduction: int) -> None:
    """Refuse decoders whose pixels are not ours; scaled, whose are further away than another filter makes them.

    Raises:
        ValueError: Naming the decoder.
    """
    expected = decoders[OURS](data, reduction).astype(int)
    for name, by in decoders.items():
        pixels = np.asarray(by(data, reduction))
        pixels = pixels.transpose(1, 2, 0) if pixels.shape[0] == 3 else pixels
        if pixels.shape != expected.shape or np.abs(pixels - expected).mean() > (1 if reduction == 1 else 4):
            raise ValueError(f"{name} decodes to other pixels than ours, at 1/{reduction}")
