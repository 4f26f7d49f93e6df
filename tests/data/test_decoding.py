"""Bytes to upright RGB: every mode as a person sees it, and every kind of damage an ImageError."""

import io
import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset

from lightning_st.data.decoding import decode, read_bytes, read_header, upright
from lightning_st.errors import ImageError


def scene(height: int = 24, width: int = 40) -> np.ndarray:
    """Four quarters of different colours: smooth enough for JPEG, and different in all of EXIF's turns."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (200, 40, 30)
    image[: height // 2, width // 2 :] = (30, 180, 60)
    image[height // 2 :, : width // 2] = (40, 60, 220)
    image[height // 2 :, width // 2 :] = (230, 220, 210)
    return image


def saved(image: Image.Image | np.ndarray, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, format, **options)
    return file.getvalue()


def with_orientation(image: np.ndarray, orientation: int, format: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return saved(image, format, exif=exif, **({"quality": 95, "subsampling": 0} if format == "JPEG" else {}))


def close(image: np.ndarray, expected: np.ndarray, tolerance: int = 8) -> bool:
    return image.shape == expected.shape and np.abs(image.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_as_pillow_does(orientation: int, format: str):
    data = with_orientation(scene(), orientation, format)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    image = decode(data)
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]
    assert close(image, expected)
    assert read_header(data).size == expected.shape[:2]
    assert format == "TIFF" or read_header(data).stored_size == (24, 40)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_illegal_orientations_do_not_turn(orientation: int):
    data = with_orientation(scene(), orientation)
    assert close(decode(data), scene())
    assert read_header(data).size == (24, 40)


def test_turning_can_be_left_out():
    assert close(decode(with_orientation(scene(), 6), turn=False), scene())
    assert close(decode(with_orientation(scene(), 6, "PNG"), turn=False), scene())


def test_damaged_exif_is_no_damage_to_the_picture():
    data = with_orientation(scene(), 6)
    at = data.index(b"Exif\0\0") + 6
    assert close(decode(data[:at] + b"\xff" * 8 + data[at + 8 :]), scene())


def test_upright_is_what_exif_says():
    """Orientation 6: the top of the stored image is the right side of the upright one."""
    stored = np.array([[1, 2, 3], [4, 5, 6]])
    assert upright(stored, 6).tolist() == [[4, 1], [5, 2], [6, 3]]


def grey() -> tuple[bytes, np.ndarray]:
    luma = np.asarray(Image.fromarray(scene()).convert("L"))
    return saved(luma, "JPEG", quality=95), np.repeat(luma[..., None], 3, axis=2)


def grey_png() -> tuple[bytes, np.ndarray]:
    luma = np.asarray(Image.fromarray(scene()).convert("L"))
    return saved(luma), np.repeat(luma[..., None], 3, axis=2)


def black_and_white() -> tuple[bytes, np.ndarray]:
    bits = scene()[..., 0] > 100
    return saved(Image.fromarray(bits)), np.repeat(bits[..., None], 3, axis=2).astype(np.uint8) * 255


def palette() -> tuple[bytes, np.ndarray]:
    return saved(Image.fromarray(scene()).quantize(8)), scene()


def transparent_palette() -> tuple[bytes, np.ndarray]:
    image = Image.fromarray(scene()).quantize(8)
    expected = scene()
    expected[:12, :20] = 255
    return saved(image, transparency=image.getpixel((0, 0))), expected


def half_transparent() -> tuple[bytes, np.ndarray]:
    alpha = np.full((24, 40, 1), 51, np.uint8)
    return saved(np.concatenate([scene(), alpha], axis=2)), np.round(scene() * 0.2 + 255 * 0.8).astype(np.uint8)


def opaque_alpha() -> tuple[bytes, np.ndarray]:
    return saved(Image.fromarray(scene()).convert("RGBA")), scene()


def grey_with_alpha() -> tuple[bytes, np.ndarray]:
    image = Image.fromarray(scene()).convert("LA")
    image.putalpha(0)
    return saved(image), np.full_like(scene(), 255)


def cmyk() -> tuple[bytes, np.ndarray]:
    """Pillow writes CMYK JPEG as Adobe does: inverted, and marked so."""
    data = saved(Image.fromarray(scene()).convert("CMYK"), "JPEG", quality=95, subsampling=0)
    assert b"Adobe" in data
    return data, scene()


def grey_16_bits() -> tuple[bytes, np.ndarray]:
    ramp = np.linspace(0, 65535, 24 * 40).reshape(24, 40).astype(np.uint16)
    return saved(ramp), np.repeat(np.round(ramp / 257).astype(np.uint8)[..., None], 3, axis=2)


def grey_16_bits_tiff() -> tuple[bytes, np.ndarray]:
    ramp = np.linspace(0, 65535, 24 * 40).reshape(24, 40).astype(np.uint16)
    return saved(ramp, "TIFF"), np.repeat(np.round(ramp / 257).astype(np.uint8)[..., None], 3, axis=2)


def colour_16_bits() -> tuple[bytes, np.ndarray]:
    encoded = cv2.imencode(".png", scene()[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    return encoded, scene()


def animation() -> tuple[bytes, np.ndarray]:
    first, second = Image.fromarray(scene()), Image.new("RGB", (40, 24))
    return saved(first, "GIF", save_all=True, append_images=[second]), scene()


def webp() -> tuple[bytes, np.ndarray]:
    return saved(scene(), "WEBP", lossless=True), scene()


def progressive() -> tuple[bytes, np.ndarray]:
    return saved(scene(), "JPEG", quality=95, progressive=True, subsampling=0), scene()


def one_pixel() -> tuple[bytes, np.ndarray]:
    return saved(scene()[:1, :1], "JPEG", quality=95), scene()[:1, :1]


def followed_by_garbage() -> tuple[bytes, np.ndarray]:
    return saved(scene(), "JPEG", quality=95, subsampling=0) + b"camera's notes" * 9, scene()


def followed_by_zeros() -> tuple[bytes, np.ndarray]:
    return saved(scene(), "JPEG", quality=95, subsampling=0) + bytes(512), scene()


MODES = [
    grey,
    grey_png,
    black_and_white,
    palette,
    transparent_palette,
    half_transparent,
    opaque_alpha,
    grey_with_alpha,
    cmyk,
    grey_16_bits,
    grey_16_bits_tiff,
    colour_16_bits,
    animation,
    webp,
    progressive,
    one_pixel,
    followed_by_garbage,
    followed_by_zeros,
]


@pytest.mark.parametrize("make", MODES, ids=lambda make: make.__name__)
def test_every_mode_is_what_a_person_sees(make):
    data, expected = make()
    image = decode(data)
    assert image.dtype == np.uint8
    assert close(image, expected)
    assert read_header(data).size == expected.shape[:2]


def truncated_jpeg() -> bytes:
    data = saved(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), "JPEG")
    return data[: len(data) // 2]


def jpeg_without_its_end() -> bytes:
    return saved(scene(), "JPEG")[:-2]


def jpeg_filled_up_with_zeros() -> bytes:
    data = truncated_jpeg()
    return data + bytes(len(data))


def truncated_png() -> bytes:
    data = saved(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    return data[: len(data) // 2]


def damaged_png() -> bytes:
    data = bytearray(saved(scene()))
    data[len(data) // 2] ^= 255
    return bytes(data)


def only_a_header() -> bytes:
    return saved(scene(), "JPEG")[:30]


def float_tiff() -> bytes:
    return saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not an image"),
        (b"<html>Not found</html>", "not an image"),
        (only_a_header(), "not an image|Truncated"),
        (truncated_jpeg(), "truncated|damaged"),
        (jpeg_without_its_end(), "truncated|damaged"),
        (jpeg_filled_up_with_zeros(), r"cut short: its last \d+ bytes are zeros"),
        (truncated_png(), "truncated"),
        (damaged_png(), ""),
        (float_tiff(), "32 bits"),
    ],
)
def test_damage_is_an_image_error_of_one_line(data: bytes, problem: str):
    with pytest.raises(ImageError, match=rf"^photos/a\.jpg: .*({problem})") as caught:
        decode(data, "photos/a.jpg")
    assert "\n" not in str(caught.value)


def test_images_with_too_many_pixels_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    assert decode(saved(scene(30, 30))).shape == (30, 30, 3)
    for height in (31, 100):  # Pillow warns of the first and refuses the second
        with pytest.raises(ImageError, match=f"promises {30 * height:,} pixels, at most 900 are decoded; cut it"):
            decode(saved(scene(height, 30)))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reduced_decoding_averages_the_pixels(reduction: int, orientation: int):
    generator = np.random.default_rng(0)
    smooth = cv2.resize(generator.integers(60, 200, (6, 9, 3), np.uint8), (131, 97), interpolation=cv2.INTER_CUBIC)
    data = with_orientation(smooth, orientation)
    image = decode(data, reduction=reduction)
    height, width = read_header(data).size
    assert image.shape == (-(-height // reduction), -(-width // reduction), 3)
    expected = upright(np.asarray(Image.fromarray(decode(data, turn=False)).reduce(reduction)), orientation)
    assert np.abs(image.astype(int) - expected).mean() < 2


def test_what_is_no_plain_jpeg_is_not_reduced():
    assert decode(saved(scene()), reduction=4).shape == (24, 40, 3)
    assert decode(cmyk()[0], reduction=4).shape == (24, 40, 3)


def test_opencv_and_pillow_agree_on_jpeg():
    generator = np.random.default_rng(0)
    smooth = cv2.resize(generator.integers(0, 255, (6, 9, 3), np.uint8), (131, 97), interpolation=cv2.INTER_CUBIC)
    data = saved(smooth, "JPEG", quality=90)
    with Image.open(io.BytesIO(data)) as image:
        assert np.abs(decode(data).astype(int) - np.asarray(image)).max() <= 3


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "RGB"},
        {"mode": "L"},
        {"mode": "CMYK"},
        {"mode": "RGB", "progressive": True},
        {"mode": "RGB", "comment": b"x" * 300, "icc_profile": b"y" * 90_000},
        {"mode": "RGB", "keep_rgb": True},
    ],
    ids=str,
)
def test_the_header_of_a_jpeg_is_what_pillow_says(options: dict):
    options = dict(options)
    data = saved(Image.fromarray(scene(24, 41)).convert(options.pop("mode")), "JPEG", **options)
    header = read_header(data)
    with Image.open(io.BytesIO(data)) as image:
        assert (header.format, header.mode, header.size) == (image.format, image.mode, (image.height, image.width))
    assert header.orientation == 1


def test_pillow_is_not_asked_for_the_header_of_an_ordinary_jpeg(monkeypatch: pytest.MonkeyPatch):
    data = saved(scene(), "JPEG")
    monkeypatch.setattr(Image, "open", None)
    assert read_header(data).size == (24, 40)
    assert decode(data).shape == (24, 40, 3)


def test_a_jpeg_of_twelve_bits_is_left_to_pillow():
    data = saved(scene(), "JPEG")
    bits = data.index(b"\xff\xc0") + 4
    with pytest.raises(ImageError, match=r"12-bit|not an image"):
        read_header(data[:bits] + b"\x0c" + data[bits + 1 :])


def test_parts_of_a_file_can_be_read(tmp_path: Path):
    file = tmp_path / "archive"
    file.write_bytes(b"0123456789")
    assert read_bytes(file) == b"0123456789"
    assert read_bytes(file, 3, 4) == b"3456"
    with pytest.raises(ImageError, match="archive: the file ends 2 bytes early"):
        read_bytes(file, 8, 4)


def test_files_that_cannot_be_read_are_image_errors(tmp_path: Path):
    with pytest.raises(ImageError, match=r"gone\.jpg: no such file or directory"):
        read_bytes(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="is a directory"):
        read_bytes(tmp_path)


def test_decoding_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in MODES:
            decode(make()[0])


class OneImage(Dataset):
    """Decodes a file, and writes to the terminal after it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 1

    def __getitem__(self, position: int) -> int:
        image = decode(read_bytes(self.path))
        os.write(2, b"still there\n")
        return len(image)


def test_workers_keep_libjpeg_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """A JPEG with a hole is decoded, by Pillow too; libjpeg's remark about it stays out of the terminal."""
    data = saved(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), "JPEG")
    middle = len(data) // 2
    path = tmp_path / "hole.jpg"
    path.write_bytes(data[:middle] + bytes(200) + data[middle + 200 :])
    said = {}
    for workers in (1, 0):
        assert list(DataLoader(OneImage(path), batch_size=None, num_workers=workers)) == [64]
        said[workers] = capfd.readouterr().err
    assert said[1] == "still there\n"
    assert "Corrupt JPEG data" in said[0]
