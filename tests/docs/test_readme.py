"""The README: its recipes are understood, and its Python runs, in small."""

import json
import shutil
from pathlib import Path

import helpers
import pytest
from guide_commands import DOCS, blocks, lines, words

from lightning_st.cli.stage_commands import parse_recipe, recipe_parser

README = DOCS.parent / "README.md"


@pytest.mark.parametrize("line", [line for line in lines(README) if line.startswith("lightning_st self_train")])
def test_the_commands_are_understood(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("configs").symlink_to(DOCS.parent / "configs")
    assert parse_recipe(recipe_parser("self_train", ""), words(line)[1:])["data"]["unlabeled"]["images"]


def test_the_python_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, annotations = helpers.write_coco(tmp_path / "made", 8, size=(64, 80))
    images.rename("photos")
    shutil.copy(annotations, "all.json")
    split_json(Path("all.json"))
    code, predicting = blocks(README, "python")
    assert predicting in blocks(DOCS / "deploying.md", "python")  # which a test of that guide runs
    small = code.replace("image_size=640", "image_size=64, batch_size=2, num_workers=0")
    small = small.replace("max_steps=1000", "max_steps=1, logger=False, enable_checkpointing=False, accelerator='cpu'")
    small = small.replace('backbone="resnet50"', 'backbone="resnet10t", neck_width=8, head_width=8, head_depth=1')
    assert small.count("max_steps=1,") == small.count("image_size=64,") == small.count("resnet10t") == 1
    names: dict = {}
    exec(small, names)
    assert names["teacher"].trainer.global_step == 1


def split_json(path: Path) -> None:
    """Write the first six images of a COCO file as boxes.json, the others as val.json."""
    content = json.loads(path.read_text())
    for name, images in (("boxes", content["images"][:6]), ("val", content["images"][6:])):
        ids = {image["id"] for image in images}
        boxes = [each for each in content["annotations"] if each["image_id"] in ids]
        Path(f"{name}.json").write_text(json.dumps({**content, "images": images, "annotations": boxes}))
