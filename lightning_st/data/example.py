"""The quickstart's images: aerial photographs of trees with a box around each crown, fetched once and cut into tiles.

They come from the wheel of DeepForest (MIT licence; the photographs are of the US National Ecological Observatory
Network, at 10 cm a pixel), which pip downloads as it downloads everything else: through the user's mirror or proxy.
Two scenes near Yellowstone are cut into strips for training, validation and test, further apart than the largest
crown is wide, so no tree stands in two of them.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from lightning_st.errors import DataError
from lightning_st.index import default_cache_folder
from lightning_st.index.cache import make_cache_folder

WHEEL = "deepforest==2.1.0"
WHEEL_SHA256 = "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54"

TILE_SIZE = 256
"""Side of a tile in pixels: 25.6 m."""

LABELED_FRACTION = 0.2
"""Of the training tiles; the rest is the unlabelled set."""

SEED = 0
"""Decides which training tiles are labelled."""

_VISIBLE_FRACTION = 1 / 3
"""A crown that a tile's border cuts is boxed if this much of its box is inside."""

# Strips of each scene, [left, top, right, bottom] in pixels, in whole tiles. The largest crown is 108 pixels wide,
# the gaps 112 and more.
_SCENES: dict[str, dict[str, tuple[int, int, int, int]]] = {
    "2019_YELL_2_528000_4978000_image_crop2": {
        "train": (0, 168, 1536, 2472),
        "val": (1675, 168, 1931, 2472),
        "test": (2043, 168, 2299, 2472),
    },
    "2019_YELL_2_541000_4977000_image_crop": {
        "val": (0, 11, 256, 1035),
        "train": (368, 11, 880, 1035),
        "test": (992, 11, 1248, 1035),
    },
}


def fetch_trees(cache_folder: Path | str | None = None) -> dict[str, dict[str, Any]]:
    """Return the fields of each ``Source`` of the example data, made if the cache does not have them.

    Args:
        cache_folder: They are kept in ``examples/trees`` of it; in the user's cache folder where missing.

    Raises:
        DataError: If they cannot be fetched.
    """
    if cache_folder is None:
        make_cache_folder(default_cache_folder())
    cache = default_cache_folder().parent if cache_folder is None else Path(cache_folder).absolute()
    folder = cache / "examples" / "trees"
    make_trees(folder)
    images = str(folder / "images")
    return {
        "labeled": {"images": images, "annotations": str(folder / "train_labeled.json")},
        "unlabeled": {"images": images, "list": str(folder / "train_unlabeled.txt")},
        "val": {"images": images, "annotations": str(folder / "val.json")},
        "test": {"images": images, "annotations": str(folder / "test.json")},
    }


def make_trees(folder: Path) -> None:
    """Make the example data in ``folder``, unless they are there: fetch the wheel, check it, and cut the tiles.

    It leaves ``images/`` (PNG), ``train_labeled.json``, ``val.json`` and ``test.json`` (COCO), and
    ``train_unlabeled.txt`` (a file name a line). Everything is written beside and renamed, so a run that is cut
    leaves nothing behind that looks complete.

    Raises:
        DataError: If the wheel cannot be fetched, or is not the one that was expected.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if folder.is_dir():
            return
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
            tiles = Path(beside) / "tiles"
            _cut_wheel(_fetch(Path(beside)), tiles)
            os.rename(tiles, folder)


def _fetch(folder: Path) -> Path:
    """Download the wheel into ``folder`` with pip, and return its path."""
    if not any(distributions(name="pip")):
        advice = "Install it (`python -m ensurepip`, or `uv pip install pip` where uv made the environment)."
        raise DataError(f"The example data are downloaded with pip, which this Python environment lacks. {advice}")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet"]
    outcome = subprocess.run([*command, "--dest", str(folder), WHEEL], capture_output=True, text=True, check=False)
    if outcome.returncode:
        reason = (outcome.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(
            f"The example data cannot be downloaded: pip download {WHEEL} failed ({reason}). "
            "Without network, use own images: instead of --data.example give --data.labeled.images, "
            "--data.labeled.annotations, --data.unlabeled.images, --data.val.images and --data.val.annotations."
        )
    (wheel,) = folder.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise DataError(
            f"{wheel.name}: Expected the sha256 {WHEEL_SHA256}, got {digest}. Check the package index that pip uses."
        )
    return wheel


def _cut_wheel(wheel: Path, folder: Path) -> None:
    """Cut the scenes in ``wheel`` into tiles in ``folder``, with their lists and annotations."""
    (folder / "images").mkdir(parents=True)
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    with zipfile.ZipFile(wheel) as archive:
        for scene, strips in _SCENES.items():
            pixels = np.asarray(Image.open(BytesIO(archive.read(f"deepforest/data/{scene}.png"))).convert("RGB"))
            boxes = _read_boxes(archive.read(f"deepforest/data/{scene}.xml"))
            for split, strip in strips.items():
                for left, top in _corners(strip):
                    name = f"{scene[12:18]}_{left:04d}_{top:04d}.png"
                    tile = pixels[top : top + TILE_SIZE, left : left + TILE_SIZE]
                    Image.fromarray(tile).save(folder / "images" / name)
                    splits[split].append({"name": name, "boxes": _boxes_in_tile(boxes, left, top)})
        licence = next(name for name in archive.namelist() if name.endswith("LICENSE"))
        (folder / "LICENSE").write_bytes(archive.read(licence))
    order = np.random.default_rng(SEED).permutation(len(splits["train"]))
    count = round(LABELED_FRACTION * len(order))
    labeled, unlabeled = ([splits["train"][i] for i in sorted(part)] for part in (order[:count], order[count:]))
    for split, tiles in {"train_labeled": labeled, "val": splits["val"], "test": splits["test"]}.items():
        (folder / f"{split}.json").write_text(json.dumps(_to_coco(tiles)), encoding="utf-8")
    (folder / "train_unlabeled.txt").write_text("".join(f"{tile['name']}\n" for tile in unlabeled), encoding="utf-8")


def _corners(strip: tuple[int, int, int, int]) -> Iterator[tuple[int, int]]:
    """Yield the left top corner of each tile of a strip."""
    left, top, right, bottom = strip
    for y in range(top, bottom, TILE_SIZE):
        for x in range(left, right, TILE_SIZE):
            yield x, y


def _read_boxes(xml: bytes) -> NDArray[np.float32]:
    """Return the boxes of a VOC XML file, float32 [N, 4], xyxy in pixels (plain corners, as DeepForest reads them)."""
    corners = ("xmin", "ymin", "xmax", "ymax")
    found = [[float(box.findtext(key, "nan")) for key in corners] for box in ElementTree.fromstring(xml).iter("bndbox")]
    return np.array(found, np.float32).reshape(-1, 4)


def _boxes_in_tile(boxes: NDArray[np.float32], left: int, top: int) -> NDArray[np.float32]:
    """Return what is seen of ``boxes`` in a tile, float32 [K, 4], xyxy in pixels of the tile."""
    inside = np.clip(boxes - np.array([left, top, left, top], np.float32), 0, TILE_SIZE)
    return inside[_areas(inside) >= _VISIBLE_FRACTION * _areas(boxes)]


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = boxes[:, 2:] - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]


def _to_coco(tiles: list[dict[str, Any]]) -> dict[str, Any]:
    """Return tiles as a COCO dictionary."""
    annotations = [
        {
            "image_id": number,
            "category_id": 1,
            "iscrowd": 0,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
        }
        for number, tile in enumerate(tiles, start=1)
        for x1, y1, x2, y2 in tile["boxes"].tolist()
    ]
    images = [
        {"id": number, "file_name": tile["name"], "width": TILE_SIZE, "height": TILE_SIZE}
        for number, tile in enumerate(tiles, start=1)
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "tree"}]}
