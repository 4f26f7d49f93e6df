"""`lightning_st check`: what it prints and writes, its exit status, and the list that leaves copies out of a run."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from recipes import tiny_mask_recipe, tiny_recipe

from lightning_st.cli import main
from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import AnnotationError, DataError


@pytest.fixture
def recipe(tmp_path: Path):
    return tiny_recipe(tmp_path / "data")


def check(recipe, tmp_path: Path, *words: str) -> int:
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe))
    return main(["check", "--config", str(config), *words])


def images(recipe, name: str) -> Path:
    return Path(recipe["data"][name]["images"])


def test_sound_data_end_with_status_0(recipe, tmp_path: Path, capsys):
    assert check({**recipe, "output": "runs/mine", "rounds": 2}, tmp_path, "--output", str(tmp_path / "a.json")) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split() == ["set", "images", "labels", "median", "size", "classes,", "by", "labels"]
    assert "Nothing that a training has to wait for." in printed
    found = json.loads((tmp_path / "a.json").read_text())
    assert (found["schema"], found["quick"], found["findings"]) == (1, False, [])
    assert set(found["splits"]) == {"labeled", "unlabeled", "val", "test"}
    assert not Path("runs/mine").exists(), "the folder of the run is not the check's to write to"


def test_masks_are_learnt_where_the_model_learns_masks(tmp_path: Path, capsys):
    assert check(tiny_mask_recipe(tmp_path / "data"), tmp_path) == 0
    assert "of the pixels ignored" in capsys.readouterr().out


def test_a_config_of_fit_and_unlabelled_images_alone_are_taken(recipe, tmp_path: Path):
    task = {"class_path": "lightning_st.RetinaNet"}
    model = {"class_path": "lightning_st.TeacherModule", "init_args": {"task": task}}
    data = {key: recipe["data"][key] for key in ("unlabeled", "image_size", "num_workers")}
    assert check({"data": data, "model": model, "trainer": {"max_steps": 3}}, tmp_path, "--sample", "4") == 0


def test_val_images_in_the_pool_are_an_error_and_a_list_leaves_them_out(recipe, tmp_path: Path, capsys):
    for number in (1, 2):
        shutil.copy(images(recipe, "val") / f"image_00{number}.jpg", images(recipe, "unlabeled") / f"zz{number}.jpg")
    leave_out = tmp_path / "leave_out.txt"
    assert check(recipe, tmp_path, "--exclude", str(leave_out)) == 1
    printed = capsys.readouterr().out
    assert "ERROR    unlabeled: 2 images of data.unlabeled also stand in data.val, with the same bytes" in printed
    assert f"Leave them out with --data.unlabeled.exclude {leave_out}" in printed
    assert leave_out.read_text() == "zz1.jpg\nzz2.jpg\n"
    assert check(recipe, tmp_path, "--data.unlabeled.exclude", str(leave_out)) == 0

    before = SelfTrainingDataModule(**recipe["data"])
    recipe["data"]["unlabeled"]["exclude"] = str(leave_out)
    data = SelfTrainingDataModule(**recipe["data"])
    assert data.image_count("unlabeled") == before.image_count("unlabeled") - 2
    assert data.fingerprints()["unlabeled"] != before.fingerprints()["unlabeled"]
    assert data.fingerprints()["val"] == before.fingerprints()["val"]


def test_one_list_serves_both_sets_where_they_have_the_same_names(recipe, tmp_path: Path):
    """image_001.jpg is another image in each set: one is to go, the other to stay."""
    shutil.copy(images(recipe, "val") / "image_001.jpg", images(recipe, "unlabeled") / "image_001.jpg")
    shutil.copy(images(recipe, "val") / "image_002.jpg", images(recipe, "labeled") / "own.jpg")
    annotations = Path(recipe["data"]["labeled"]["annotations"])
    content = json.loads(annotations.read_text())
    content["images"].append({"id": 999, "file_name": "own.jpg", "width": 80, "height": 64})
    annotations.write_text(json.dumps(content))
    leave_out = tmp_path / "leave_out.txt"
    assert check(recipe, tmp_path, "--exclude", str(leave_out)) == 1
    assert leave_out.read_text().split() == ["own.jpg", f"{images(recipe, 'unlabeled')}/image_001.jpg"]
    for name in ("labeled", "unlabeled"):
        recipe["data"][name]["exclude"] = str(leave_out)
    data = SelfTrainingDataModule(**recipe["data"])
    left = {name: [data.index(name).name(row) for row in data.rows(name)] for name in ("labeled", "unlabeled")}
    assert "own.jpg" not in left["labeled"]
    assert "image_001.jpg" in left["labeled"]
    assert "image_001.jpg" not in left["unlabeled"]
    assert (len(left["labeled"]), len(left["unlabeled"])) == (8, 9)


def test_the_same_files_in_two_sets_are_found_and_left_out(recipe, tmp_path: Path, capsys):
    recipe["data"]["unlabeled"]["images"] = recipe["data"]["val"]["images"]
    with pytest.raises(DataError, match=r"check --exclude FILE` writes as data\.unlabeled\.exclude"):
        SelfTrainingDataModule(**recipe["data"]).prepare_data()
    assert check(recipe, tmp_path) == 1
    assert "unlabeled: 5 images of data.unlabeled also stand in data.val" in capsys.readouterr().out


def test_a_list_that_fits_nothing_is_refused(recipe, tmp_path: Path):
    (tmp_path / "names").write_text("nowhere.jpg\n")
    recipe["data"]["unlabeled"]["exclude"] = str(tmp_path / "names")
    with pytest.raises(AnnotationError, match=r"names: none of 1 names is an image of .*unlabeled/images"):
        SelfTrainingDataModule(**recipe["data"]).setup()


def test_a_coco_file_can_be_the_list(recipe):
    recipe["data"]["unlabeled"]["exclude"] = recipe["data"]["val"]["annotations"]
    assert SelfTrainingDataModule(**recipe["data"]).image_count("unlabeled") == 5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--output"], "--output needs a value: the JSON file"),
        (["--sample", "0"], "Expected sample to be at least 1, got 0"),
        (["--data.labeled.exclude", "nowhere"], "Expected data.labeled.exclude to be a file that is there"),
        (["--data.labeled.imges", "x"], "Did you mean"),
        (["--exlude", "x"], "Did you mean '--exclude'?"),
    ],
)
def test_what_is_wrong_with_the_words_is_one_sentence(recipe, tmp_path: Path, capsys, words, sentence):
    assert check(recipe, tmp_path, *words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1


def test_without_data_there_is_nothing_to_check(capsys):
    assert main(["check"]) == 2
    assert "Expected data.labeled.images (or unlabeled, val, test) to be given" in capsys.readouterr().err


def test_a_terminal_shows_a_bar(recipe, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert check(recipe, tmp_path) == 0
