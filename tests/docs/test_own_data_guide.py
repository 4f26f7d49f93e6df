"""docs/guides/own_data.md: its formats, its commands, and what it says that people meet."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import helpers
import pytest
from guide_commands import DOCS, blocks, lines, words

from lightning_st.cli import main
from lightning_st.index import build_index, export_yolo

GUIDE = DOCS / "guides" / "own_data.md"
SMALL = "--data.image_size 64 --data.batch_size 4 --data.num_workers 0 --model.score_threshold 0.001 "
SMALL += "--teacher.max_steps 2 --student.max_steps 2 --pseudo_label.score_threshold 0.001 --pseudo_label.rule hard "
SMALL += "--trainer.accelerator cpu --trainer.enable_progress_bar false"


def write_xml(folder: Path, coco: Path) -> None:
    """Write the boxes of a COCO file as labelImg does."""
    folder.mkdir(parents=True)
    content = json.loads(coco.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    for image in content["images"]:
        parts = [f"<size><width>{image['width']}</width><height>{image['height']}</height></size>"]
        for each in content["annotations"]:
            left, top, width, height = each["bbox"]
            if each["image_id"] == image["id"]:
                corners = f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{left + width}</xmax><ymax>{top + height}</ymax>"
                name = names[each["category_id"]]
                parts.append(f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>")
        (folder / image["file_name"]).with_suffix(".xml").write_text(f"<annotation>{''.join(parts)}</annotation>")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder of somebody who follows the guide: COCO, and the first step done."""
    monkeypatch.chdir(tmp_path)
    for folder, labels, count, seed in (("photos", "boxes.json", 10, 0), ("more_photos", "others.json", 6, 1)):
        images, annotations = helpers.write_coco(tmp_path / f"made_{seed}", count, size=(64, 80), seed=seed)
        images.rename(folder)
        annotations.rename(labels)
    (tmp_path / "configs").symlink_to(DOCS.parent / "configs")
    for block in blocks(GUIDE, "yaml"):
        name = re.match(r"# (\w+\.yaml)", block)
        assert name, block
        Path(name[1]).write_text(block)
    subprocess.run(["bash", "-e"], input="\n".join(shell_lines()), text=True, check=True)
    return tmp_path


def shell_lines() -> list[str]:
    return [line for line in lines(GUIDE) if not line.startswith("lightning_st ")]


def write_formats() -> None:
    write_xml(Path("xml"), Path("boxes.json"))
    shutil.copytree("photos", "VOC2012/JPEGImages")
    shutil.copytree("xml", "VOC2012/Annotations")
    lists = Path("VOC2012/ImageSets/Main")
    lists.mkdir(parents=True)
    for name in ("train", "val"):
        stems = [Path(line).stem for line in Path(f"{name}.txt").read_text().splitlines()]
        (lists / f"{name}.txt").write_text("\n".join(stems))
    export_yolo(build_index("photos", "boxes.json"), Path("yolo"))
    for name in ("train", "val"):
        (Path("yolo") / f"{name}.txt").write_text(
            "".join(f"./images/{line}\n" for line in Path(f"{name}.txt").read_text().splitlines())
        )
    with Path("yolo/data.yaml").open("a") as file:
        file.write("\ntrain: train.txt\nval: val.txt\n")


def test_each_format_is_read(here, capsys):
    write_formats()
    names = [path.name for path in sorted(here.glob("*.yaml")) if path.name != "masks.yaml"]
    assert len(names) == 5
    for name in names:
        assert main(["check", "--config", name, "--data.image_size", "64"]) == 0, name + capsys.readouterr().out
        counts = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:4])
        assert counts == {"labeled": "8", "unlabeled": "6", "val": "2"}, name


def test_masks_are_read(here, capsys):
    images, masks, names = helpers.write_masks(here / "made", 10, size=(64, 80))
    shutil.rmtree("photos")
    for path in (images, masks):
        path.rename(path.name.replace("images", "photos"))
    names.rename("names.txt")
    assert main(["check", "--config", "masks.yaml", "--data.image_size", "64"]) == 0, capsys.readouterr().out


def test_the_commands_do_what_the_guide_says(here, capsys):
    commands = [words(line) for line in lines(GUIDE) if line.startswith("lightning_st ")]
    assert [each[0] for each in commands] == ["check", "show", "self_train", "show", "predict", "export"]
    for each in commands:
        more = SMALL.split() if each[0] == "self_train" else []
        assert main([*each, *more]) == 0, capsys.readouterr().err
    assert Path("runs/mine/control/evaluation.json").is_file()
    assert Path("labels_yolo/data.yaml").is_file()
    assert json.loads(Path("predictions/images.json").read_text())["images"]


def change_json(change) -> None:
    content = json.loads(Path("boxes.json").read_text())
    change(content)
    Path("changed.json").write_text(json.dumps(content))


def wrong_class(content) -> None:
    content["annotations"][3]["category_id"] = 99


def another_name(content) -> None:
    content["categories"][0]["name"] = "Square"


def mixed_labels() -> None:
    write_xml(Path("mixed"), Path("boxes.json"))
    Path("mixed/readme.txt").write_text("boxes")


def small_mask() -> None:
    _, masks, _ = helpers.write_masks(Path("made"), 2, size=(64, 80))
    first = next(masks.iterdir())
    _, small, _ = helpers.write_masks(Path("made_small"), 2, size=(48, 64))
    shutil.copy(small / first.name, first)


def break_images() -> None:
    for path in list(Path("photos").iterdir())[:4]:
        path.write_bytes(path.read_bytes()[:100])


SEGMENTATION = "--data.labeled.images made/images --data.labeled.masks made/masks --data.unlabeled.images more_photos"
# What the guide quotes, to how somebody comes to read it: a change to the data, and further words of `self_train`.
MISTAKES = {
    "Unknown key data.labeled.anotations. Did you mean 'annotations'?": (None, "--data.labeled.anotations boxes.json"),
    "annotations[3].category_id: no category has the id 99": (
        lambda: change_json(wrong_class),
        "--data.labeled.annotations changed.json",
    ),
    "cannot tell their format": (mixed_labels, "--data.labeled.annotations mixed"),
    "data.val has classes that data.labeled does not have: Square": (
        lambda: change_json(another_name),
        "--data.val.annotations changed.json",
    ),
    "images of data.unlabeled are also in data.val": (None, "--data.unlabeled.images photos"),
    "the mask is 64 x 48 pixels, its image": (small_mask, SEGMENTATION),
    "none of 6 images has a pseudo-label that reaches": (
        None,
        "--pseudo_label.score_threshold 1",
    ),
    "images cannot be used": (break_images, ""),
}


@pytest.mark.parametrize("said", MISTAKES)
def test_what_people_meet_is_what_they_are_told(said, here, capsys):
    prepare, more = MISTAKES[said]
    if prepare is not None:
        prepare()
    config = "configs/detection/cpu_small.yaml --config mine.yaml"
    small = SMALL
    if more == SEGMENTATION:
        config, small = "configs/segmentation/cpu_small.yaml", SMALL.replace("--model.score_threshold 0.001", "")
    assert main(f"self_train --config {config} --output runs/mistake {small} {more}".split()) == 2
    assert said in capsys.readouterr().err


def test_the_guide_quotes_no_other():
    quoted = re.findall(r"^\| `(.+?)` \|", GUIDE.read_text(), re.MULTILINE)
    quoted = [text for text in quoted if not text.startswith("--")]
    assert [text.replace("12", "6") for text in quoted] == list(MISTAKES)
