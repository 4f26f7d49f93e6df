"""What a user can get wrong, one row a mistake: it costs a sentence, or what is wrong alone, and never a traceback.

The tables are in `bad_inputs`: what is wrong, how it is made so, and what comes of it.
"""

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recipes
import yaml
from bad_inputs import archives, coco, configs, formats, images, paths, stores
from bad_inputs.case import Bad, Case, Refused, Used
from bad_inputs.images import Picture

from lightning_st.cli import main
from lightning_st.data import SelfTrainingDataModule
from lightning_st.data.decoding import decode, read_header
from lightning_st.data.image_file import ImageFile
from lightning_st.errors import ImageError
from lightning_st.index import build_index
from lightning_st.index.image_size import read_image_size

TABLES = {"COCO": coco.TABLE, **formats.TABLES, "paths": paths.TABLE, "archives": archives.TABLE, **configs.TABLES}


def rows_of(tables: dict[str, list[Bad]]) -> list[Any]:
    return [pytest.param(row, id=f"{table}: {row.name}") for table, rows in tables.items() for row in rows]


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A recipe, and the folder of its data."""
    folder = tmp_path_factory.mktemp("clean")
    return recipes.tiny_recipe(folder / "data"), folder


def copy_of(recipe: dict[str, Any], old: Path, new: Path, finished: Path | None = None) -> Case:
    """Return a copy of the data that a row may spoil, with its recipe."""
    shutil.copytree(old / "data", new / "data")
    return Case(new, yaml.safe_load(yaml.safe_dump(recipe).replace(str(old), str(new))), finished)


@pytest.fixture
def case(clean, tmp_path):
    recipe, folder = clean
    return copy_of(recipe, folder, tmp_path)


@pytest.fixture
def after_run(tiny_run, tmp_path):
    """The same, with a finished run of these data."""
    recipe, run = tiny_run
    return copy_of({**recipe, "control": False}, run.parent, tmp_path, run)


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    errors = capsys.readouterr().err
    lines = [line for line in errors.splitlines() if line.startswith("lightning_st: ")]
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    assert len(lines[0]) < 1000
    return lines[0]


def run_row(case: Case, row: Bad, capsys: pytest.CaptureFixture[str]) -> None:
    row.spoil(case)
    status = case.run(row.command)
    if isinstance(row.outcome, Refused):
        sentence = one_sentence(capsys)
        assert status == 2
        assert re.search(row.outcome.sentence, sentence), sentence
        return
    said = capsys.readouterr()
    assert status in (0, 1), said.out + said.err  # 1: nothing is left of so small a set
    assert re.search(row.outcome.said, said.out), said.out
    if isinstance(row.outcome, Used):
        index = SelfTrainingDataModule(**case.recipe["data"]).open_sources(1.0)["labeled"].index
        facts = {name: np.asarray(getattr(index, name)).tolist() for name in row.outcome.facts}
        assert facts == row.outcome.facts


@pytest.mark.parametrize("row", rows_of(TABLES))
def test_a_row(case, capsys, row):
    run_row(case, row, capsys)


@pytest.mark.parametrize("row", rows_of(stores.TABLES))
def test_a_row_about_what_a_run_left(after_run, capsys, row):
    run_row(after_run, row, capsys)


@pytest.mark.parametrize("picture", [pytest.param(picture, id=picture.name) for picture in images.TABLE])
def test_a_picture(tmp_path, picture: Picture):
    """It is upright as it looks, wherever its size is asked for; or refused in a sentence, and no memory is lost."""
    path = tmp_path / f"a.{picture.extension}"
    path.write_bytes(picture.make())
    if picture.refused:
        for read in (decode, read_header)[: 1 + ("promises" in picture.refused)]:
            with pytest.raises(ImageError, match=picture.refused) as caught:
                read(path.read_bytes(), path)
            assert str(caught.value).startswith(f"{path}: ")
            assert "\n" not in str(caught.value)
        return
    pixels = decode(path.read_bytes(), path)
    assert pixels.shape == (*picture.size[::-1], 3)
    assert np.abs(pixels[0, 0].astype(int) - picture.corner).max() < 16
    assert read_image_size(path) == picture.size


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_boxes_stand_where_a_person_sees_them(tmp_path, format):
    """Of all eight orientations, drawn in fractions or in pixels, of the upright image or as it lies in the file."""
    suffix = format.lower()
    for number in range(1, 9):
        path = tmp_path / f"images/{number}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(images.turned(number, format))
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / f"labels/{number}.txt").write_text("0 .25 .75 .5 .5\n")  # the blue quarter: lower left
    (tmp_path / "data.yaml").write_text("names: [blue]")
    found = build_index(tmp_path, labeled=True, cache_folder=tmp_path / "cache")
    assert found.boxes.tolist() == [[0, 12, 20, 24]] * 8
    for row in range(8):
        file = ImageFile.open(found.image(row), is_labeled=True)
        left, top, right, bottom = found.annotations(row).boxes[0].astype(int)
        inside = file.decode()[top + 2 : bottom - 2, left + 2 : right - 2]
        assert np.abs(inside.astype(int) - images.BLUE).max() < 16


def test_a_folder_of_all_pictures(case, capsys):
    """One `check` of all of them names each that cannot be read, and no other."""
    shutil.rmtree(case.images("unlabeled"))
    for number, picture in enumerate(images.TABLE):
        name = f"data/unlabeled/images/{number:03d}_{picture.name.replace(' ', '_')}.{picture.extension}"
        case.write({name: picture.make()})
    refused = [picture for picture in images.TABLE if picture.refused]
    assert case.run("check", "--data.max_bad_fraction", "1") == 0
    said = capsys.readouterr().out
    assert re.search(rf"unlabeled: {len(refused)} images \(\d+ %\) cannot be read", said)


@pytest.fixture
def spoilt_run(case, capsys):
    """A run with images and boxes that cannot be used, below the limit."""
    pool = sorted(case.images("unlabeled").iterdir())
    pool[0].write_bytes(pool[0].read_bytes()[:400])
    pool[1].write_text("not a picture")
    pool[2].write_bytes(images.saved(images.Image.new("RGB", (1, 1))))
    pool[3].write_bytes(images.huge("JPEG"))
    pool[4].write_bytes(b"")
    pool[4].rename(pool[4].with_name(paths.NO_UTF8))
    pool[5].rename(pool[5].with_name("<b>\x1b[2J.jpg"))
    case.edit(lambda content: content["annotations"][0].update(bbox=[coco.NAN, 1, 5, 5]))
    case.set(data={"max_bad_fraction": 0.5}, teacher={"max_steps": 2}, student={"max_steps": 2})
    assert case.run("self_train") == 0, capsys.readouterr().err
    return case, pool


def test_what_costs_one_image_does_not_cost_the_run(spoilt_run, capsys):
    """Images that cannot be read are counted and named: in the store's manifest and in the report; so are boxes."""
    case, pool = spoilt_run
    out = case.folder / "out"
    manifest = json.loads((out / "round_0/pseudo_labels/manifest.json").read_text())
    assert manifest["statistics"]["images"] == 6
    names = sorted(Path(line.split(": ")[0]).name for line in manifest["bad_images"])
    assert names == sorted([pool[0].name, pool[1].name, pool[3].name, paths.NO_UTF8])
    page = (out / "report/index.html").read_text()
    for expected in (pool[0].name, pool[1].name, "900,000,000 pixels", r"caf\xe9.jpg", "annotations[0] of image_000"):
        assert expected in page


def test_a_name_that_is_no_utf8_goes_the_whole_way(spoilt_run, capsys):
    """From the folder to the store, and from there to COCO JSON; a list can name it, and `check` writes such lists."""
    case, _ = spoilt_run
    good = case.images("unlabeled") / paths.NO_UTF8
    shutil.copy(case.first_image("val"), good)
    store = case.folder / "out/round_0/pseudo_labels"
    assert main(["export", str(store), "--output", str(case.folder / "e.json")]) == 0
    assert len(json.loads((case.folder / "e.json").read_text())["images"]) == 6
    index = build_index(case.images("unlabeled"), cache_folder=case.folder / "c")
    assert paths.NO_UTF8 in list(index.iterate_names())
    assert case.run("check", "--exclude", str(case.folder / "leave_out.txt")) == 1  # it is an image of val
    assert paths.NO_UTF8.encode("utf-8", "surrogateescape") in (case.folder / "leave_out.txt").read_bytes()
    case.recipe["data"]["unlabeled"]["exclude"] = str(case.folder / "leave_out.txt")
    assert case.run("check") == 0, capsys.readouterr().out


def test_a_name_of_255_bytes_goes_the_whole_way(tmp_path, case):
    first = case.first_image()
    first.rename(first.with_name(paths.LONG))
    case.edit(lambda content: content["images"][0].update(file_name=paths.LONG))
    index = SelfTrainingDataModule(**case.recipe["data"]).open_sources(0.0)["labeled"].index
    assert index.name(0) == paths.LONG
    for format, output in (("coco", "e.json"), ("yolo", "e")):
        words = ["export", str(index.path), "--format", format, "--output", str(tmp_path / output)]
        assert main(words) == 0
    assert (tmp_path / "e/labels").is_dir()


def test_a_command_that_is_none(capsys):
    assert main(["self_trian"]) == 2
    assert "Did you mean 'self_train'" in one_sentence(capsys)


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
def test_lightnings_own_commands_refuse_in_one_sentence(after_run, capsys, command, words, sentence):
    teacher = after_run.finished / "round_0/teacher/checkpoints/best.ckpt"
    config = stores.student_config(after_run, after_run.finished / stores.STORE)
    words = [word.format(teacher=teacher) for word in words]
    assert main([command, "--config", str(config), "--trainer.enable_progress_bar=false", *words]) == 2
    assert re.search(sentence, one_sentence(capsys))


def test_there_are_rows_enough():
    count = sum(len(rows) for rows in [*TABLES.values(), *stores.TABLES.values(), images.TABLE])
    assert count > 300
    names = [name for rows in (rows_of(TABLES), rows_of(stores.TABLES)) for name in (row.id for row in rows)]
    assert len(set(names)) == len(names)
