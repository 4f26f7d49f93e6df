"""Images: made small, whole or broken, in every way that cameras, tools and downloads have."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (220, 40, 40), (40, 200, 40), (40, 40, 220), (255, 255, 255)
WIDTH, HEIGHT = 40, 24


@dataclass(frozen=True)
class Picture:
    """A row: how an image file is made, and what it has to look like, or why it is refused.

    Attributes:
        name: What is special, as a user would say it.
        make: Returns the bytes of the file.
        size: (width, height) of the upright image.
        corner: RGB of its upper left corner.
        refused: A regular expression for why it cannot be read.
        extension: Of the file.
    """

    name: str
    make: Callable[[], bytes]
    size: tuple[int, int] = (WIDTH, HEIGHT)
    corner: tuple[int, int, int] = RED
    refused: str = ""
    extension: str = "jpg"


def scene() -> Image.Image:
    """Return an image whose quarters are red, green, blue and white, row by row."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for place, colour in enumerate((RED, GREEN, BLUE, WHITE)):
        row, column = divmod(place, 2)
        pixels[row * HEIGHT // 2 :, column * WIDTH // 2 :] = colour
        pixels[: HEIGHT // 2, WIDTH // 2 :] = GREEN
    pixels[HEIGHT // 2 :, : WIDTH // 2] = BLUE
    return Image.fromarray(pixels)


def saved(image: Image.Image | None = None, format: str = "JPEG", **more: Any) -> bytes:
    buffer = io.BytesIO()
    (image or scene()).save(buffer, format, **more)
    return buffer.getvalue()


def turned(orientation: int, format: str = "JPEG") -> bytes:
    """Return the scene as a camera stores it that was held otherwise: upright it is the scene again."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = scene().transpose(back[orientation]) if orientation in back else scene()
    options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "JPEG" else {}
    return saved(image, format, exif=exif, **options)


def grey16(format: str = "PNG") -> bytes:
    return saved(Image.fromarray(np.full((HEIGHT, WIDTH), 32896, np.uint16)), format)


def clear_palette() -> bytes:
    image = scene().quantize(8)
    return saved(image, "PNG", transparency=int(image.getpixel((0, 0))))


def animated(format: str) -> bytes:
    other = Image.new("RGB", (WIDTH, HEIGHT), "black")
    return saved(scene(), format, save_all=True, append_images=[other, other])


def huge_png(side: int = 30_000) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def huge(format: str, side: int = 30_000) -> bytes:
    """Return a small image whose header says that it has ``side`` x ``side`` pixels."""
    data = bytearray(saved(format=format, **({"lossless": True} if format == "WEBP" else {})))
    if format == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", side, side)
    elif format == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
        place = data.index(b"\x2c\0\0\0\0")
        data[place + 5 : place + 9] = struct.pack("<HH", side, side)
    elif format == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    elif format == "TIFF":
        _huge_tiff(data, side)
    elif format == "WEBP":  # at most 16383 a side: fourteen bits each
        place = data.index(b"VP8L") + 9
        data[place : place + 4] = struct.pack("<I", 16382 | 16382 << 14)
    elif format == "PPM":
        return f"P6 {side} {side} 255\n".encode() + bytes(data[-900:])
    return bytes(data)


def _huge_tiff(data: bytearray, side: int) -> None:
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        tag, kind = struct.unpack_from("<HH", data, entry)
        if tag in (256, 257):
            struct.pack_into("<I" if kind == 4 else "<H", data, entry + 8, side)


def noise(format: str = "JPEG") -> bytes:
    return saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), format)


def cut(part: float, format: str = "JPEG") -> bytes:
    data = noise(format)
    return data[: int(len(data) * part)]


def zeros_at_the_end() -> bytes:
    data = noise()
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


def flipped_png() -> bytes:
    data = bytearray(saved(format="PNG"))
    data[data.index(b"IDAT") + 12] ^= 0xFF
    return bytes(data)


TOO_LARGE = r"its header promises {} pixels, at most 89,478,485 are decoded; cut it into tiles"
PROMISE = TOO_LARGE.format("900,000,000")
TABLE = [
    Picture("a truncated JPEG", lambda: cut(0.5), refused="truncated|Truncated"),
    Picture("a JPEG cut in its header", lambda: cut(0.02), refused="."),
    Picture("a truncated PNG", lambda: cut(0.5, "PNG"), refused="truncated", extension="png"),
    Picture("a truncated WebP", lambda: cut(0.5, "WEBP"), refused=".", extension="webp"),
    Picture("a truncated TIFF", lambda: cut(0.5, "TIFF"), refused=".", extension="tif"),
    Picture("a download that stopped", zeros_at_the_end, refused=r"cut short: its last \d+ bytes are zeros"),
    Picture("a flipped bit in a PNG", flipped_png, refused=".", extension="png"),
    Picture("no byte", lambda: b"", refused="not an image, or of an unknown format"),
    Picture("a page of HTML", lambda: b"<html>Not found</html>", refused="not an image, or of an unknown format"),
    Picture("PostScript", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", refused="not an image, or of"),
    Picture("a PNG called jpg", lambda: saved(format="PNG")),
    Picture("a JPEG called png", lambda: saved(quality=95), extension="png"),
    Picture("a WebP called gif", lambda: saved(format="WEBP", lossless=True), extension="gif"),
    Picture("CMYK", lambda: saved(scene().convert("CMYK"), quality=95)),
    Picture("grey", lambda: saved(scene().convert("L"), quality=95), corner=(94, 94, 94)),
    Picture("16 bits", grey16, corner=(128, 128, 128), extension="png"),
    Picture("16 bits in a TIFF", lambda: grey16("TIFF"), corner=(128, 128, 128), extension="tif"),
    Picture("32 bits", lambda: saved(Image.new("F", (9, 9)), "TIFF"), refused="32 bits have no agreed", extension="tif"),
    Picture("black and white", lambda: saved(Image.new("1", (40, 24), 1), "PNG"), corner=WHITE, extension="png"),
    Picture("a palette", lambda: saved(scene().quantize(8), "PNG"), extension="png"),
    Picture("a palette with a clear colour", clear_palette, corner=WHITE, extension="png"),
    Picture("clear all over", lambda: saved(Image.new("RGBA", (40, 24)), "PNG"), corner=WHITE, extension="png"),
    Picture("an animated GIF", lambda: animated("GIF"), extension="gif"),
    Picture("an animated WebP", lambda: animated("WEBP"), corner=RED, extension="webp"),
    Picture("an animated PNG", lambda: animated("PNG"), extension="png"),
    Picture("several pages", lambda: animated("TIFF"), extension="tif"),
    Picture("one pixel", lambda: saved(Image.new("RGB", (1, 1), RED), "PNG"), size=(1, 1), extension="png"),
    Picture("one row", lambda: saved(Image.new("RGB", (500, 1), RED), "PNG"), size=(500, 1), extension="png"),
    Picture("a broken colour profile", lambda: saved(quality=95, icc_profile=b"profile" * 99)),
    Picture("a broken colour profile in a PNG", lambda: saved(format="PNG", icc_profile=b"\0" * 9), extension="png"),
    Picture("damaged EXIF", lambda: saved(quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")),
    Picture("orientation 0", lambda: turned(0)),
    Picture("orientation 9", lambda: turned(9)),
    Picture("text behind the picture", lambda: saved(quality=95) + b"<html>"),
    *(Picture(f"orientation {n} in {f}", lambda n=n, f=f: turned(n, f), extension=f.lower())
      for f in ("JPEG", "PNG", "WEBP", "TIFF") for n in range(1, 9)),
    Picture("a PNG of 30,000 x 30,000", huge_png, refused=PROMISE, extension="png"),
    Picture("a JPEG of 30,000 x 30,000", lambda: huge("JPEG"), refused=PROMISE),
    Picture("a GIF of 30,000 x 30,000", lambda: huge("GIF"), refused=PROMISE, extension="gif"),
    Picture("a BMP of 30,000 x 30,000", lambda: huge("BMP"), refused=PROMISE, extension="bmp"),
    Picture("a TIFF of 30,000 x 30,000", lambda: huge("TIFF"), refused=PROMISE, extension="tif"),
    Picture("a PPM of 30,000 x 30,000", lambda: huge("PPM"), refused=PROMISE, extension="ppm"),
    Picture("a WebP of 16,383 x 16,383", lambda: huge("WEBP"), refused=TOO_LARGE.format("268,402,689"), extension="webp"),
    Picture("a PNG of 10,000 x 10,000", lambda: huge_png(10_000), refused=TOO_LARGE.format("100,000,000"), extension="png"),
]  # fmt: skip
