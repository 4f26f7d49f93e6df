"""`lightning_st predict` on a folder: from a checkpoint alone to JSON or masks that other tools, and we, read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from recipes import tiny_mask_recipe

from lightning_st.cli import main
from lightning_st.data import SelfTrainingDataModule
from lightning_st.index import AnnotationIndex, ReaderOptions, build_index
from lightning_st.stages import self_train

LOW = ["--score_threshold", "0.002", "--num_workers", "0", "--trainer.accelerator", "cpu"]
LOW += ["--trainer.enable_progress_bar", "false"]


@pytest.fixture
def checkpoint(tiny_run) -> Path:
    return tiny_run[1] / "round_0" / "student" / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def mask_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masks")
    recipe = tiny_mask_recipe(folder / "data", cache_folder=str(folder / "cache"))
    return recipe, self_train(recipe, folder / "run")


def predicted(checkpoint, images, output, *words):
    given = ["--checkpoint", str(checkpoint), "--images", str(images), "--output", str(output)]
    return main(["predict", *given, *LOW, *words])


def test_a_checkpoint_alone_labels_a_folder(tiny_run, tmp_path, checkpoint, capsys):
    images = tiny_run[0]["data"]["unlabeled"]["images"]
    out = tmp_path / "out"
    assert predicted(checkpoint, images, out, "--pictures", "4") == 0
    results, listed = (json.loads((out / name).read_text()) for name in ("predictions.json", "images.json"))
    assert f"{len(results)} boxes in 10 images" in capsys.readouterr().out
    assert {record["id"] for record in listed["images"]} >= {record["image_id"] for record in results}
    assert {record["category_id"] for record in results} <= {record["id"] for record in listed["categories"]}
    assert all(record["score"] >= 0.002 for record in results)
    assert len(list((out / "pictures").iterdir())) == 4
    names = ["images.json", "index.html", "labels", "pictures", "predictions.json", "sheet.json", "sheet.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    # The size of the training's images came from the checkpoint.
    assert json.loads((out / "labels" / "manifest.json").read_text())["inputs"]["data"]["image_size"] == [64, 64]
    # Another threshold predicts nothing anew, and replaces what was there.
    assert predicted(checkpoint, images, out, "--score_threshold", "0.9", "--pictures", "0") == 0
    assert json.loads((out / "predictions.json").read_text()) == []
    assert not (out / "index.html").exists()


def test_predictions_are_read_back_as_pseudo_labels(tiny_run, tmp_path, checkpoint):
    """Though the labelled data number the classes otherwise (2 and 5) than a checkpoint, which knows names, does."""
    data = tiny_run[0]["data"]
    assert predicted(checkpoint, data["unlabeled"]["images"], tmp_path / "out", "--pictures", "0") == 0
    unlabeled = {"images": data["unlabeled"]["images"], "list": str(tmp_path / "out" / "images.json")}
    results = {"pseudo_labels": str(tmp_path / "out" / "predictions.json"), "score_threshold": 0.002}
    again = SelfTrainingDataModule(**{**data, **results, "unlabeled": unlabeled})
    stored = SelfTrainingDataModule(
        **{**data, "pseudo_labels": str(tmp_path / "out" / "labels"), "score_threshold": 0.002}
    )
    first, second = again.split("pseudo"), stored.split("pseudo")
    assert first.index.classes == second.index.classes
    assert [first.index.name(row) for row in first.rows] == [second.index.name(row) for row in second.rows]
    found, kept = (np.unique(split.index.labels, return_counts=True) for split in (first, second))
    assert found[0].tolist() == kept[0].tolist()
    row, other = int(first.rows[0]), int(second.rows[0])
    boxes, wanted = first.index.annotations(row), second.index.annotations(other)
    shown = wanted.scores >= np.float32(0.002)
    assert np.allclose(boxes.boxes, wanted.boxes[shown], atol=1e-3)
    assert boxes.labels.tolist() == wanted.labels[shown].tolist()


def test_a_coco_list_says_the_ids(tiny_run, tmp_path, checkpoint):
    """So that COCO's evaluator takes the results as they are."""
    val = tiny_run[0]["data"]["val"]
    out = tmp_path / "out"
    assert predicted(checkpoint, val["images"], out, "--list", val["annotations"], "--pictures", "0") == 0
    truth = json.loads(Path(val["annotations"]).read_text())
    results = json.loads((out / "predictions.json").read_text())
    assert {record["image_id"] for record in results} <= {record["id"] for record in truth["images"]}
    assert {record["category_id"] for record in results} <= {2, 5}
    listed = json.loads((out / "images.json").read_text())
    assert {record["id"]: record["file_name"] for record in listed["images"]} == {
        record["id"]: record["file_name"] for record in truth["images"]
    }


def test_masks_are_palette_images_that_are_read_back(mask_checkpoint, tmp_path):
    recipe, checkpoint = mask_checkpoint
    images, out = recipe["data"]["unlabeled"]["images"], tmp_path / "out"
    words = ["--checkpoint", str(checkpoint), "--images", images, "--output", str(out), "--num_workers", "0"]
    assert main(["predict", *words, "--trainer.enable_progress_bar", "false"]) == 0
    options = ReaderOptions(out / "classes.txt")
    index = build_index(images, out / "masks", "masks", options=options)
    stored = AnnotationIndex.open(out / "labels" / "labels.index")
    assert index.classes == ("background", "square", "disc")
    assert len(index) == len(stored) == 10
    for row in range(10):
        assert np.array_equal(index.mask(row), stored.mask(row))  # every pixel, however unsure
    with Image.open(out / "masks" / "image_000.png") as image:
        assert image.mode == "P"


def test_a_run_that_was_cut_goes_on(tiny_run, tmp_path, checkpoint, capsys):
    images, out = tiny_run[0]["data"]["unlabeled"]["images"], tmp_path / "out"
    assert predicted(checkpoint, images, out) == 0
    for name in ("index.html", "predictions.json", "sheet.json", "images.json", "sheet.png"):
        (out / name).unlink()
    shutil.rmtree(out / "pictures")
    capsys.readouterr()
    assert predicted(checkpoint, images, out) == 0
    assert "to label" not in capsys.readouterr().err
    assert predicted(checkpoint, images, out, "--image_size", "96") == 2
    assert "--restart" in capsys.readouterr().err
    assert predicted(checkpoint, images, out, "--image_size", "96", "--restart") == 0


def test_a_checkpoint_that_says_too_little_takes_a_config(tiny_run, tmp_path, checkpoint, capsys):
    recipe, _ = tiny_run
    content = torch.load(checkpoint, weights_only=True)
    about = content["lightning_st"]
    about["task"]["complete"], about["image_size"] = False, None
    torch.save(content, tmp_path / "old.ckpt")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    images, config = recipe["data"]["unlabeled"]["images"], ["--config", str(tmp_path / "recipe.yaml")]
    assert predicted(tmp_path / "old.ckpt", images, tmp_path / "out") == 2
    assert "Give the config that it was trained with: --config FILE." in capsys.readouterr().err
    assert predicted(tmp_path / "old.ckpt", images, tmp_path / "out", *config) == 0
    about["task"]["complete"] = True
    torch.save(content, tmp_path / "old.ckpt")
    assert predicted(tmp_path / "old.ckpt", images, tmp_path / "other") == 2
    assert "Expected image_size to be given" in capsys.readouterr().err


def test_what_cannot_be_predicted_is_refused_in_one_sentence(tiny_run, tmp_path, checkpoint, capsys):
    images, out = tiny_run[0]["data"]["unlabeled"]["images"], tmp_path / "out"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "predictions.json").write_text("[]")
    for words, message in (
        ((checkpoint, images, mine), "holds 'predictions.json', which this command did not write"),
        ((tmp_path / "no.ckpt", images, out), "no such checkpoint file"),
        ((checkpoint, tmp_path / "nowhere", out), "nowhere"),
        ((checkpoint, images, out, "--score_threshold", "2"), "Expected score_threshold to be above 0 and at most 1"),
        ((checkpoint, images, out, "--pictures", "-1"), "Expected pictures to be from 0 to 500"),
        ((checkpoint, images, out, "--image_sise", "64"), "Did you mean '--image_size'?"),
    ):
        assert predicted(*words) == 2
        said = capsys.readouterr().err
        assert message in said
    assert main(["predict", "--checkpoint", str(checkpoint), "--output", str(out)]) == 2
    assert "There is no --images" in capsys.readouterr().err
    assert (mine / "predictions.json").read_text() == "[]"


def test_the_word_serves_lightnings_own_too(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert "--checkpoint" in capsys.readouterr().out
    assert main(["predict", "--ckpt_path", "x.ckpt", "--model", "lightning_st.TeacherModule"]) == 2
    assert "--images" not in capsys.readouterr().err
