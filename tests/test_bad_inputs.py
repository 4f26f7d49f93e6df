"""What a user can get wrong: each mistake is one sentence that names it, with exit status 2, and costs nothing."""

import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from lightning_st.cli import main


@pytest.fixture
def case(tiny_run, tmp_path):
    """A copy of the data of a finished run that a test may spoil, with its recipe."""
    recipe, run = tiny_run
    shutil.copytree(run.parent / "data", tmp_path / "data")
    text = yaml.safe_dump({**recipe, "control": False}).replace(str(run.parent), str(tmp_path))
    return Case(tmp_path, run, yaml.safe_load(text))


class Case:
    """A recipe, the folder of its data, and a finished run of the same data."""

    def __init__(self, folder: Path, finished: Path, recipe: dict[str, Any]) -> None:
        self.folder, self.finished, self.recipe = folder, finished, recipe

    def images(self, name: str) -> Path:
        return self.folder / "data" / name / "images"

    def annotations(self, name: str) -> Path:
        return self.folder / "data" / name / "annotations.json"

    def edit(self, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
        content = json.loads(self.annotations(name).read_text())
        change(content)
        self.annotations(name).write_text(json.dumps(content))

    def set(self, **sections: dict[str, Any]) -> None:
        for section, changes in sections.items():
            self.recipe[section] = {**self.recipe[section], **changes}

    def run(self, command: str = "self_train", *words: str) -> int:
        config = self.folder / "recipe.yaml"
        config.write_text(yaml.safe_dump(self.recipe))
        return main([command, "--config", str(config), "--output", str(self.folder / "out"), *words])


def box(number: int, values: list[float]) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][number]["bbox"] = values

    return change


def field(kind: str, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content[kind][0][name] = value

    return change


def without_boxes(content: dict[str, Any]) -> None:
    content["annotations"] = []


def without_field(content: dict[str, Any]) -> None:
    del content["annotations"][0]["bbox"]


def repeat_image(content: dict[str, Any]) -> None:
    content["images"].append(content["images"][0])


def replace_text(case: Case, text: str) -> None:
    case.annotations("labeled").write_text(text)


def cut(case: Case) -> None:
    text = case.annotations("labeled").read_text()
    replace_text(case, text[: len(text) // 2])


def leak(case: Case) -> None:
    case.set(data={"unlabeled": {"images": str(case.images("val"))}})


def foreign_output(case: Case) -> None:
    folder = case.folder / "out" / "round_0" / "teacher"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")


def empty_folder(case: Case) -> None:
    shutil.rmtree(case.images("unlabeled"))
    case.images("unlabeled").mkdir()


def truncate_all(case: Case) -> None:
    for path in case.images("labeled").iterdir():
        path.write_bytes(path.read_bytes()[:300])


def cache_is_a_file(case: Case) -> None:
    (case.folder / "cache").write_text("")
    case.set(data={"cache_folder": str(case.folder / "cache")})


def other_size(case: Case) -> None:
    for path in case.images("labeled").iterdir():
        Image.open(path).resize((50, 50)).save(path)


LABELED = "labeled/annotations.json"
NAN = float("nan")
# What is spoilt, and what the sentence has to say.
REFUSED: dict[str, tuple[Callable[[Case], Any], str]] = {
    "missing folder": (lambda c: shutil.rmtree(c.images("unlabeled")), "unlabeled/images"),
    "empty folder": (empty_folder, "unlabeled/images"),
    "missing annotations": (lambda c: c.annotations("labeled").unlink(), LABELED),
    "JSON cut in the middle": (cut, LABELED),
    "not JSON": (lambda c: replace_text(c, "boxes"), LABELED),
    "a list instead of an object": (lambda c: replace_text(c, "[]"), LABELED),
    "no categories": (lambda c: c.edit("labeled", lambda d: d.pop("categories")), "categories"),
    "annotation of an unknown image": (lambda c: c.edit("labeled", field("annotations", "image_id", 99)), "99"),
    "annotation of an unknown category": (lambda c: c.edit("labeled", field("annotations", "category_id", 77)), "77"),
    "annotation without a box": (lambda c: c.edit("labeled", without_field), "bbox"),
    "image name that is no text": (lambda c: c.edit("labeled", field("images", "file_name", 7)), "file_name"),
    "image name that leaves": (lambda c: c.edit("labeled", field("images", "file_name", "../x.jpg")), r"\.\./x\.jpg"),
    "duplicate image ids": (lambda c: c.edit("labeled", repeat_image), "id"),
    "no labelled box": (lambda c: c.edit("labeled", without_boxes), r"data\.labeled"),
    "boxes that are no numbers": (lambda c: [c.edit("labeled", box(n, [NAN, 1, 5, 5])) for n in (0, 1)], "boxes"),
    "inverted boxes": (lambda c: [c.edit("labeled", box(n, [9, 9, -4, -4])) for n in (0, 1)], "boxes"),
    "boxes outside": (lambda c: [c.edit("labeled", box(n, [500, 500, 5, 5])) for n in (0, 1)], "boxes"),
    "classes of val that differ": (lambda c: c.edit("val", field("categories", "name", "cube")), "cube"),
    "images of val in the unlabelled set": (leak, r"data\.val"),
    "all images truncated": (truncate_all, "Truncated File Read"),
    "images of another size than annotated": (other_size, r"annotations say 80 x 64, the file is 50 x 50"),
    "a cache that is a file": (cache_is_a_file, "cache"),
    "ratio below 0": (lambda c: c.set(data={"pseudo_ratio": -1}), r"data\.pseudo_ratio"),
    "ratio that gives no whole number": (lambda c: c.set(data={"pseudo_ratio": 0.3}), r"data\.pseudo_ratio"),
    "unknown policy": (lambda c: c.set(data={"augment": "S5"}), "S5"),
    "image size 0": (lambda c: c.set(data={"image_size": 0}), r"data\.image_size"),
    "fraction above 1": (lambda c: c.recipe["data"]["labeled"].update(fraction=2.0), r"data\.labeled\.fraction"),
    "unknown backbone": (lambda c: c.recipe["model"]["init_args"].update(backbone="resnett50"), "resnett50"),
    "unknown class": (lambda c: c.recipe["model"].update(class_path="lightning_st.RetinaNett"), "RetinaNet"),
    "wrong type": (lambda c: c.set(teacher={"max_steps": "many"}), "max_steps"),
    "typo in a key": (lambda c: c.set(data={"augmnt": "S1"}), r"'data\.augment'"),
    "typo in a key of a source": (lambda c: c.recipe["data"]["labeled"].update(imges="x"), "'images'"),
    "no step": (lambda c: c.set(teacher={"max_steps": 0}), r"teacher\.max_steps"),
    "a foreign output folder": (foreign_output, r"notes\.txt"),
    "a missing student.init": (lambda c: c.set(student={"init": "nowhere.ckpt"}), r"nowhere\.ckpt"),
}  # fmt: skip


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    errors = capsys.readouterr().err
    lines = [line for line in errors.splitlines() if line.startswith("lightning_st: ")]
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    return lines[0]


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_sentence(case, capsys, name):
    spoil, expected = REFUSED[name]
    spoil(case)
    assert case.run() == 2
    assert re.search(expected, one_sentence(capsys))


def test_a_missing_config(capsys):
    assert main(["self_train", "--config", "nowhere.yaml", "--output", "x"]) == 2
    assert "nowhere.yaml" in one_sentence(capsys)


def test_an_unknown_command(capsys):
    assert main(["self_trian"]) == 2
    assert "Did you mean 'self_train'" in one_sentence(capsys)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_wrong_checkpoint(case, capsys, content):
    path = case.folder / "wrong.ckpt"
    if content is not None:
        path.write_bytes(content)
    assert case.run("pseudo_label", "--checkpoint", str(path)) == 2
    assert "wrong.ckpt" in one_sentence(capsys)


def test_a_checkpoint_of_other_classes(case, capsys):
    for name in ("labeled", "val", "test"):
        case.edit(name, field("categories", "name", "cube"))
    checkpoint = case.finished / "round_0/teacher/checkpoints/best.ckpt"
    assert case.run("pseudo_label", "--checkpoint", str(checkpoint)) == 2
    sentence = one_sentence(capsys)
    assert "square" in sentence
    assert "cube" in sentence


def fit_words(case: Case, store: Path) -> list[str]:
    config = {
        "data": {**case.recipe["data"], "pseudo_labels": str(store)},
        "model": {"class_path": "StudentModule", "init_args": {"task": case.recipe["model"]}},
        "trainer": {"max_steps": 1, "logger": False, "enable_checkpointing": False},
    }
    path = case.folder / "fit.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["fit", "--config", str(path)]


def test_pseudo_labels_of_other_classes(case, capsys):
    for name in ("labeled", "val", "test"):
        case.edit(name, field("categories", "name", "cube"))
    assert main(fit_words(case, case.finished / "round_0/pseudo_labels")) == 2
    sentence = one_sentence(capsys)
    assert "square" in sentence
    assert "cube" in sentence


def test_pseudo_labels_that_are_not_there(case, capsys):
    assert main(fit_words(case, case.folder / "nowhere")) == 2
    assert "nowhere" in one_sentence(capsys)


def test_a_report_of_no_run(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert str(tmp_path) in one_sentence(capsys)


def test_a_disk_that_is_full(case):
    config = case.folder / "recipe.yaml"
    config.write_text(yaml.safe_dump(case.recipe))
    command = [sys.executable, "-m", "lightning_st", "self_train", "--config", config, "--output", case.folder / "out"]

    def allow_small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    result = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=allow_small_files_only)
    assert result.returncode == 2, result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("lightning_st: ")


def test_what_costs_one_image_does_not_cost_the_run(case, capsys):
    """A truncated JPEG, a text file named .jpg, an image of one pixel: the report names the first two."""
    images = sorted(case.images("unlabeled").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:400])
    images[1].write_text("not a picture")
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(images[2])
    case.set(data={"max_bad_fraction": 0.3}, teacher={"max_steps": 2}, student={"max_steps": 2})
    assert case.run() == 0, capsys.readouterr().err
    manifest = json.loads((case.folder / "out/round_0/pseudo_labels/manifest.json").read_text())
    assert manifest["statistics"]["images"] == 8
    assert [Path(line.split(":")[0]).name for line in manifest["bad_images"]] == [images[0].name, images[1].name]
    page = (case.folder / "out/report/index.html").read_text()
    assert images[0].name in page
    assert images[1].name in page


def evaluation(case: Case, command: str, *words: str) -> int:
    config = fit_words(case, case.finished / "round_0/pseudo_labels")[1:]
    return main([command, *config, "--trainer.enable_progress_bar=false", *words])


@pytest.mark.parametrize(
    ("command", "words", "sentence"),
    [
        ("validate", [], "validate needs --ckpt_path FILE"),
        ("validate", ["--ckpt_path", "best"], "best: no such checkpoint file"),
        ("fit", ["--ckpt_path", "nowhere.ckpt"], r"nowhere\.ckpt: no such checkpoint file"),
        ("validate", ["--ckpt_path", "{teacher}", "--data.val=null"], r"Expected data\.val\.images to be given"),
        ("test", ["--ckpt_path", "{teacher}", "--data.test=null"], r"Expected data\.test\.images to be given"),
        ("test", ["--ckpt_path", "{teacher}", "--model.task.neck_width=16"], r"best\.ckpt: its weights are of another"),
        ("fit", ["--ckpt_path", "{teacher}"], r"best\.ckpt: not of a StudentModule"),
        ("fit", ["--model.task.backbone=resnet5"], r"^lightning_st: Unknown backbone 'resnet5'"),
        ("fit", ["--model.lr=-1"], r"^lightning_st: Expected lr to be above 0, got -1"),
        ("fit", ["--trainer.devices=x", "--trainer.accelerator=cpu"], r"trainer: `devices` selected"),
        ("fit", ["--trainer.max_steps=many"], r"Expected trainer\.max_steps to be a whole number, got 'many'"),
    ],
)
def test_lightnings_own_commands_refuse_in_one_sentence(case, capsys, command, words, sentence):
    teacher = case.finished / "round_0/teacher/checkpoints/best.ckpt"
    assert evaluation(case, command, *(word.format(teacher=teacher) for word in words)) == 2
    assert re.search(sentence, one_sentence(capsys))
