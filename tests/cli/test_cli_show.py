"""`lightning_st show`: what is shown is what data, stores and runs say; what cannot be shown is one sentence."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from recipes import tiny_mask_recipe, tiny_recipe

from lightning_st.cli import main, show_data, show_disagreement
from lightning_st.data import SelfTrainingDataModule
from lightning_st.index import IndexWriter, encode_mask, segments_of
from lightning_st.reports.outlines import class_colour
from lightning_st.types import ScoreThresholds


def write_config(folder: Path, recipe) -> list[str]:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return ["--config", str(path)]


def pictures(folder: Path) -> int:
    return len(list((folder / "pictures").iterdir()))


@pytest.fixture(params=[tiny_recipe, tiny_mask_recipe], ids=["boxes", "masks"])
def recipe(request, tmp_path):
    return request.param(tmp_path / "data")


def test_labels_of_every_set_are_shown(tmp_path, recipe, capsys):
    config = write_config(tmp_path, recipe)
    for split, count in (("labeled", 8), ("val", 5), ("unlabeled", 10)):
        out = tmp_path / split
        assert main(["show", "labels", *config, "--split", split, "--output", str(out)]) == 0
        assert f"index.html: {count} pictures" in capsys.readouterr().out
        assert pictures(out) == count
        text = (out / "index.html").read_text()
        assert ("These images have no labels." in text) == (split == "unlabeled")
        assert ("square" in text) == (split != "unlabeled")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "labeled", "recipe.yaml", "unlabeled", "val"]


def test_only_images_of_a_class_and_no_more_than_asked_for(tmp_path, capsys):
    recipe = tiny_recipe(tmp_path / "data")
    truth = json.loads(Path(recipe["data"]["labeled"]["annotations"]).read_text())
    with_disc = {box["image_id"] for box in truth["annotations"] if box["category_id"] == 5}
    words = ["show", "labels", *write_config(tmp_path, recipe), "--class", "disc", "--order", "most"]
    assert main([*words, "--output", str(tmp_path / "all")]) == 0
    assert pictures(tmp_path / "all") == len(with_disc) > 2
    assert main([*words, "--count", "2", "--output", str(tmp_path / "two")]) == 0
    assert pictures(tmp_path / "two") == 2


def test_an_unreadable_image_is_named(tmp_path):
    recipe = tiny_recipe(tmp_path / "data")
    broken = Path(recipe["data"]["labeled"]["images"]) / "image_003.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    assert main(["show", "labels", *write_config(tmp_path, recipe), "--output", str(tmp_path / "out")]) == 0
    assert pictures(tmp_path / "out") == 7
    assert "Images that cannot be read" in (tmp_path / "out" / "index.html").read_text()


def test_augmentations_are_what_the_data_set_yields(tmp_path, monkeypatch, recipe):
    """The pictures of the configured policy are the first images of the first training batches, labels and all."""
    shown = []
    draw = show_data.batch_tile
    monkeypatch.setattr(
        show_data,
        "batch_tile",
        lambda batch, title, classes: shown.append((title, batch)) or draw(batch, title, classes),
    )
    recipe["data"] |= {"augment": "S4", "augment_options": {"magnitude": 9}}
    words = ["--count", "4", "--draws", "1", "--seed_everything", "3", "--output", str(tmp_path / "out")]
    assert main(["show", "augmentations", *write_config(tmp_path, recipe), *words]) == 0
    assert pictures(tmp_path / "out") == 4 * 6
    assert [title for title, _ in shown[:5]] == ["S1", "S2", "S3", "S4", "S4, as configured"]
    data = SelfTrainingDataModule(**recipe["data"], seed=3)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    own = [found for title, found in shown if title == "S4, as configured"]
    for place, found in enumerate(own):
        for key in ("images", "rows", "positions", *(["masks"] if "masks" in found else [])):
            assert np.array_equal(found[key][0], batch[key][place])
        assert np.array_equal(found["boxes"][0], batch["boxes"][place][: len(found["boxes"][0])])


def test_several_draws_differ_and_a_policy_without_options_has_one_column(tmp_path, monkeypatch):
    recipe = tiny_recipe(tmp_path / "data", augment="S2")
    words = ["--count", "2", "--draws", "3", "--output", str(tmp_path / "out")]
    assert main(["show", "augmentations", *write_config(tmp_path, recipe), *words]) == 0
    assert pictures(tmp_path / "out") == 2 * 3 * 5
    assert "S2, as configured" in (tmp_path / "out" / "index.html").read_text()
    first, second = (Image.open(tmp_path / "out" / "pictures" / f"{number:03d}.jpg") for number in (1, 6))
    assert first.tobytes() != second.tobytes()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of twelve images with two boxes each."""
    folder = tmp_path / "store"
    with IndexWriter(folder / "labels.index", ["cat", "<b>dog"], source={"root": str(tmp_path)}) as writer:
        for number in range(12):
            Image.new("RGB", (40, 30), (90, 90, 90)).save(tmp_path / f"{number}.jpg")
            scores = [0.08 * number + 0.05, 0.3]
            writer.add(f"{number}.jpg", 40, 30, boxes=[[2, 2, 20, 20], [9, 9, 30, 25]], labels=[0, 1], scores=scores)
    thresholds = {"keep": [0.5, 0.5], "ignore": [0.25, 0.25]}
    (folder / "manifest.json").write_text(json.dumps({"state": "complete", "thresholds": thresholds}))
    return folder


@pytest.mark.parametrize("order", ["bands", "random", "class", "most", "fewest"])
def test_pseudo_labels_in_every_order(tmp_path, store, order):
    out = tmp_path / "out"
    assert main(["show", "pseudo_labels", str(store), "--order", order, "--count", "5", "--output", str(out)]) == 0
    text = (out / "index.html").read_text()
    assert pictures(out) == 5
    assert "<b>dog" not in text
    assert "&lt;b&gt;dog" in text
    assert ("Scores 0.50 to 0.65" in text) == (order == "bands")
    if order == "most":
        assert "6.jpg" in text
        assert "cat 1" in text
        assert "1 ignored" in text


def test_pseudo_masks(tmp_path):
    folder = tmp_path / "store"
    mask, confidence = np.zeros((30, 40), np.uint8), np.full((30, 40), 90, np.uint8)
    mask[:, 20:], confidence[:, 30:] = 1, 40
    Image.new("RGB", (40, 30), (90, 90, 90)).save(tmp_path / "a.png")
    with IndexWriter(folder / "labels.index", ["background", "cat"], source={"root": str(tmp_path)}) as writer:
        writer.add("a.png", 40, 30, mask=encode_mask(mask, confidence), **segments_of(mask, confidence))
    (folder / "manifest.json").write_text(
        json.dumps({"state": "complete", "thresholds": {"keep": [0.5, 0.5], "ignore": [0.5, 0.5]}})
    )
    assert main(["show", "pseudo_labels", str(folder), "--output", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "index.html").read_text()
    assert "chosen for cat 0.90, 25% ignored" in text
    assert "cat 25%" in text


def test_a_store_is_shown_without_torch():
    code = "import sys, lightning_st.cli.show_command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_disagreement_ranks_the_images_by_what_both_models_find(tiny_run, tmp_path, monkeypatch, capsys):
    _, source = tiny_run
    run = tmp_path / "run"
    shutil.copytree(source, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    kept = []
    rank = show_disagreement.rank
    monkeypatch.setattr(show_disagreement, "rank", lambda *given: kept.append((given, rank(*given))) or kept[-1][1])
    out = tmp_path / "out"
    words = ["show", "disagreement", str(run), "--output", str(out), "--count", "3"]
    assert main(words) == 0
    assert pictures(out) == 9
    (split, believed), ranked = kept[0]
    assert [found.share for found in ranked] == sorted((found.share for found in ranked), reverse=True)
    assert sorted(found.row for found in ranked) == split.rows.tolist()
    assert all(split.index.name(found.row) == believed.student.name(found.rows[1]) for found in ranked)
    text = (out / "index.html").read_text()
    assert f"{split.index.name(ranked[0].row)}: {ranked[0].share:.2f}" in text
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    # The student's predictions are made once; the teacher against itself does not differ.
    assert "5 val images to label" in capsys.readouterr().err
    assert main(words) == 0
    assert "0 val images to label" in capsys.readouterr().err
    same = show_disagreement.Believed(believed.teacher, believed.teacher, ScoreThresholds.uniform(2, 0.0))
    assert {found.share for found in rank(split, same)} == {0.0}


def test_what_cannot_be_shown_is_refused_in_one_sentence(tiny_run, tmp_path, store, capsys):
    recipe, run = tiny_run
    config, out = write_config(tmp_path, recipe), ["--output", str(tmp_path / "out")]
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "mine.txt").write_text("mine")
    for words, message in (
        (["labls", *out], "Unknown thing to show 'labls'. Did you mean 'labels'?"),
        (["labels", *config], "There is no --output"),
        (["labels", *config, *out, "--split", "vall"], "Unknown split 'vall'. Did you mean 'val'?"),
        (["labels", *config, *out, "--order", "moost"], "Unknown order 'moost'. Did you mean 'most'?"),
        (["labels", *config, *out, "--class", "dsc"], "Unknown class 'dsc'. Did you mean 'disc'?"),
        (["labels", *config, *out, "--count", "0"], "Expected count to be from 1 to 500, got 0."),
        (["labels", *config, *out, "--data.augmnt", "S1"], "Unknown option --data.augmnt."),
        (["labels", *config, "--output", str(tmp_path / "labels")], "labels holds 'mine.txt'"),
        (["augmentations", *config, *out, "--draws", "99"], "Expected draws to be from 1 to 10, got 99."),
        (["pseudo_labels", str(tmp_path), *out], "the index cannot be opened"),
        (["pseudo_labels", str(store)], "--output"),
        (["pseudo_labels", str(store), *out, "--score_threshold", "3"], "Expected score_threshold to be from 0 to 1"),
        (["disagreement", str(tmp_path), *out], "is not a self-training run"),
        (["disagreement", str(run), *out, "--round", "7"], "there is no round 7 with a finished student."),
    ):
        assert main(["show", *words]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "labels" / "mine.txt").read_text() == "mine"


def test_help_lists_what_can_be_shown(capsys):
    for words in (["show"], ["show", "--help"]):
        assert main(words) == 0
        assert "disagreement" in capsys.readouterr().out


def test_the_truth_is_drawn_in_the_colours_of_the_models(tmp_path, make_coco):
    """A val set may name the classes in another order."""
    images, annotations = make_coco(tmp_path / "val", 1, classes=("square", "disc"))
    data = SelfTrainingDataModule(val={"images": str(images), "annotations": str(annotations)})
    split = data.split("val")
    for names in (split.index.classes, split.index.classes[::-1]):
        keys = show_data.label_tile(split, 0, "a", names).keys
        assert keys
        assert all(colour == class_colour(names.index(words.split()[0])) for words, colour in keys)
