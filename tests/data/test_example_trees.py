"""The quickstart's images, made from a wheel that looks like the real one, through the real pip and without network."""

import hashlib
import io
import json
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightning_st.data import SelfTrainingDataModule, example
from lightning_st.errors import DataError

SIZES = {"2019_YELL_2_528000_4978000_image_crop2": (2472, 2299), "2019_YELL_2_541000_4977000_image_crop": (1035, 1249)}
# One crown in the middle of a tile of each strip of the first scene, one cut 3 to 1 by two tiles, one between strips.
BOXES = [
    (100, 200, 140, 240),
    (1700, 200, 1740, 240),
    (2100, 200, 2140, 240),
    (246, 500, 286, 540),
    (1560, 200, 1640, 280),
]


def png(height: int, width: int) -> bytes:
    """Return an image whose pixels tell where they are."""
    rows, columns = np.mgrid[:height, :width]
    file = io.BytesIO()
    Image.fromarray(np.stack([rows // 16, columns // 16, rows * 0], axis=2).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def xml(boxes: list[tuple[int, ...]]) -> str:
    corners = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        "<object><bndbox>"
        + "".join(f"<{key}>{value}</{key}>" for key, value in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for box in boxes
    )
    return f"<annotation>{objects}</annotation>"


@pytest.fixture
def wheel_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip find the wheel in a folder, and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = folder / "deepforest-2.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for scene, boxes in zip(SIZES, (BOXES, []), strict=True):
            archive.writestr(f"deepforest/data/{scene}.png", png(*SIZES[scene]))
            archive.writestr(f"deepforest/data/{scene}.xml", xml(boxes))
        about = "deepforest-2.1.0.dist-info"
        archive.writestr(f"{about}/licenses/LICENSE", "MIT")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: deepforest\nVersion: 2.1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(example, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    return folder


def boxes_of(folder: Path, split: str) -> dict[str, list[list[float]]]:
    content: dict[str, Any] = json.loads((folder / f"{split}.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    found: dict[str, list[list[float]]] = {name: [] for name in names.values()}
    for annotation in content["annotations"]:
        found[names[annotation["image_id"]]].append(annotation["bbox"])
    return found


def test_trees_are_fetched_checked_and_cut(wheel_house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = SelfTrainingDataModule(example="trees", cache_folder=str(tmp_path / "cache"), batch_size=4, num_workers=0)
    data.prepare_data()
    folder = tmp_path / "cache" / "examples" / "trees"
    counts = {name: data.image_count(name) for name in ("labeled", "unlabeled", "val", "test")}
    assert counts == {"labeled": 12, "unlabeled": 50, "val": 13, "test": 13}
    assert len(list((folder / "images").iterdir())) == 88
    assert (folder / "LICENSE").read_text() == "MIT"
    assert data.classes == ("tree",)

    assert boxes_of(folder, "val")["528000_1675_0168.png"] == [[25, 32, 40, 40]]
    assert boxes_of(folder, "test")["528000_2043_0168.png"] == [[57, 32, 40, 40]]
    tile = np.asarray(Image.open(folder / "images" / "528000_2043_0168.png"))
    assert tile.shape == (256, 256, 3)
    assert tile[0, 0].tolist() == [168 // 16, 2043 // 16, 0]

    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    again = SelfTrainingDataModule(example="trees", cache_folder=str(tmp_path / "cache"))
    assert again.fingerprints() == data.fingerprints()
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["trees"]


def test_a_crown_is_boxed_in_the_tiles_where_a_third_of_it_is_seen():
    cut = np.array(BOXES[3:4], np.float32)
    assert example._boxes_in_tile(cut, 0, 424).shape == (0, 4)
    assert example._boxes_in_tile(cut, 256, 424).tolist() == [[0, 76, 30, 116]]


def test_strips_are_further_apart_than_a_crown_is_wide():
    """No crown (the largest is 108 pixels wide) can stand in two splits, and every strip lies in its scene."""
    for scene, strips in example._SCENES.items():
        height, width = SIZES[scene]
        ranges = sorted((left, right) for left, _, right, _ in strips.values())
        assert all(later[0] - earlier[1] >= 108 for earlier, later in pairwise(ranges))
        for left, top, right, bottom in strips.values():
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert (right - left) % example.TILE_SIZE == (bottom - top) % example.TILE_SIZE == 0


def test_own_sources_come_before_the_example(wheel_house: Path, tmp_path: Path):
    (tmp_path / "own").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "own" / "a.png")
    own = {"images": str(tmp_path / "own")}
    data = SelfTrainingDataModule(unlabeled=own, example="trees", cache_folder=str(tmp_path / "cache"))
    assert data.image_count("unlabeled") == 1
    assert data.image_count("labeled") == 12


def test_without_network_one_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    data = SelfTrainingDataModule(example="trees", cache_folder=str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"cannot be downloaded: .*No matching distribution.*--data\.labeled\.images"):
        data.prepare_data()
    assert not (tmp_path / "cache" / "examples" / "trees").exists()


def test_another_wheel_is_refused_and_nothing_is_left(
    wheel_house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(example, "WHEEL_SHA256", "0" * 64)
    data = SelfTrainingDataModule(example="trees", cache_folder=str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"deepforest-2\.1\.0-py3-none-any\.whl: Expected the sha256 0+, got"):
        data.prepare_data()
    assert [path.name for path in (tmp_path / "cache" / "examples").iterdir()] == ["trees.lock"]


def test_an_environment_without_pip_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(example, "distributions", lambda name: iter(()))
    with pytest.raises(DataError, match=r"pip, which this Python environment lacks\. Install it .*uv pip install pip"):
        example.fetch_trees(tmp_path)
