"""Self-training with masks on tiny images: what it leaves, what it goes on with, and what the command line takes."""

import json
import re
import shutil
from copy import deepcopy

import numpy as np
import pytest
from PIL import Image
from recipes import TINY_SEGMENTER, tiny_mask_recipe

from lightning_st.cli import main
from lightning_st.errors import ConfigError
from lightning_st.index import AnnotationIndex
from lightning_st.reports import write_report
from lightning_st.selftrain import PseudoLabels
from lightning_st.stages import self_train

SPLITS = ("labeled", "unlabeled", "val", "test")


@pytest.fixture(scope="module")
def mask_run(tmp_path_factory):
    """A recipe of masks, and the folder of its complete run."""
    folder = tmp_path_factory.mktemp("masks")
    recipe = {**tiny_mask_recipe(folder / "data"), "control": True}
    recipe["data"]["cache_folder"] = str(folder / "cache")
    self_train(recipe, folder / "run")
    return recipe, folder / "run"


@pytest.fixture
def run(mask_run, tmp_path):
    recipe, folder = mask_run
    shutil.copytree(folder, tmp_path / "run")
    return deepcopy(recipe), tmp_path / "run"


def words_of(recipe, *more):
    """Return the words of a command line that say what a recipe says."""
    words = [f"--data.{split}.{key}={value}" for split in SPLITS for key, value in recipe["data"][split].items()]
    words += [f"--data.{key}={recipe['data'][key]}" for key in ("image_size", "batch_size", "num_workers")]
    words += ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    return [*words, *more]


def test_the_report_judges_by_the_mean_iou(run):
    _, folder = run
    metrics = write_report(folder)
    assert metrics["metric"] == "mIoU"
    first = metrics["rounds"][0]
    for who in ("teacher", "student"):
        for split in ("val", "test"):
            assert 0 < first[who][split]["mIoU"] < 1
            assert {"IoU/background", "IoU/square", "IoU/disc", "pixel_accuracy"} <= first[who][split].keys()
    assert first["pseudo_labels"]["images"] == 10
    assert metrics["control"]["gain_of_student"].keys() == {"val", "test"}
    page = (folder / "report" / "index.html").read_text()
    assert "IoU by class on test" in page
    assert "What is hatched it is not shown" in page
    assert list((folder / "report" / "pictures").iterdir())


def test_the_store_holds_every_pixel_of_the_images(run):
    _, folder = run
    store = PseudoLabels.open(folder / "round_0" / "pseudo_labels")
    for row in range(10):
        assert store.index.mask(row).shape == store.index.confidence(row).shape == (64, 80)
    assert store.statistics()["pixels"] == 10 * 64 * 80
    calibration = store.manifest["calibration"]
    assert calibration.keys() == {"background", "square", "disc"}
    shown = sum(store.statistics()["pixels_by_class"].values())
    steps = np.stack([store.index.confidence(row) for row in range(10)])
    assert shown == (steps >= 34).sum()


def test_a_complete_run_is_not_run_again(run):
    recipe, folder = run
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.ckpt")}
    self_train(recipe, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.ckpt")} == before


def test_another_threshold_needs_no_new_labelling(run):
    recipe, folder = run
    labels = folder / "round_0" / "pseudo_labels" / "labels.index"
    before = labels.stat().st_mtime_ns
    recipe["pseudo_label"]["score_threshold"] = 0.4
    self_train(recipe, folder, restart=True)
    assert labels.stat().st_mtime_ns == before
    assert PseudoLabels.open(labels.parent).thresholds.keep.tolist() == [np.float32(0.4)] * 3


def test_a_changed_mask_is_another_input(run):
    """A mask is part of what its set says, though it lies in a file of its own."""
    recipe, folder = run
    masks = folder.parent / "masks"
    shutil.copytree(recipe["data"]["labeled"]["masks"], masks)
    recipe["data"]["labeled"]["masks"] = str(masks)
    self_train(recipe, folder)  # the same masks elsewhere are no change
    shutil.copy(masks / "image_001.png", masks / "image_000.png")
    with pytest.raises(Exception, match=r"fingerprints\.labeled"):
        self_train(recipe, folder)


def test_labels_over_sizes_and_mirrored_are_others(run):
    recipe, folder = run
    recipe["pseudo_label"] |= {"flip": True, "scales": [0.5, 1.0, 1.5]}
    other = folder.parent / "other"
    shutil.copytree(folder / "round_0" / "teacher", other / "round_0" / "teacher")
    recipe["control"] = False
    self_train(recipe, other)
    one, many = (AnnotationIndex.open(path / "round_0/pseudo_labels/labels.index") for path in (folder, other))
    assert (one.confidence(0) != many.confidence(0)).any()
    assert one.fingerprint != many.fingerprint


def test_the_command_line_takes_masks(mask_run, tmp_path, capsys):
    """`self_train`, `pseudo_label`, and Lightning's own commands; the model's class says that masks are learnt."""
    recipe, run = mask_run
    model = [f"--model={json.dumps(TINY_SEGMENTER)}"]
    words = words_of(recipe, *model)
    out = str(tmp_path / "labels")
    checkpoint = str(run / "round_0" / "student" / "checkpoints" / "best.ckpt")
    assert main(["pseudo_label", *words, "--checkpoint", checkpoint, "--output", out]) == 0
    assert AnnotationIndex.open(tmp_path / "labels" / "labels.index").has_masks
    assert main(["export", out, "--output", str(tmp_path / "png")]) == 0
    assert len(list((tmp_path / "png" / "masks").iterdir())) == 10
    assert main(["inspect", *model]) == 0
    assert "SemanticSegmenter, 91 classes" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")
def test_lightnings_own_commands_take_masks(mask_run, tmp_path, monkeypatch, capsys):
    recipe, run = mask_run
    monkeypatch.setattr("sys.argv", ["lightning_st"])
    arguments = {"class_path": TINY_SEGMENTER["class_path"], "init_args": TINY_SEGMENTER["init_args"]}
    model = ["--model=lightning_st.StudentModule", f"--model.init_args.task={json.dumps(arguments)}"]
    words = words_of(recipe, *model, "--trainer.logger=false", "--trainer.enable_checkpointing=false")
    store = f"--data.pseudo_labels={run}/round_0/pseudo_labels"
    assert main(["fit", *words, store, "--trainer.max_steps=1", "--trainer.enable_model_summary=false"]) == 0
    checkpoint = str(run / "round_0" / "student" / "checkpoints" / "best.ckpt")
    assert main(["test", *words, "--ckpt_path", checkpoint]) == 0
    assert "test/mIoU" in capsys.readouterr().out


def test_a_root_of_pascal_voc_needs_no_masks_to_be_named(tmp_path):
    """Its classes are PASCAL's 21, its lists those for segmentation."""
    recipe = tiny_mask_recipe(tmp_path / "data")
    root = tmp_path / "VOC2012"
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    shutil.copytree(recipe["data"]["labeled"]["images"], root / "JPEGImages")
    shutil.copytree(recipe["data"]["labeled"]["masks"], root / "SegmentationClass")
    for name, numbers in (("train", range(5)), ("val", range(5, 8))):
        lines = "\n".join(f"image_{number:03d}" for number in numbers)
        (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(lines)
    recipe["data"]["labeled"] = {"images": str(root), "list": "train"}
    recipe["data"]["val"] = {"images": str(root), "list": "val"}
    del recipe["data"]["test"]
    recipe["pseudo_label"]["score_threshold"] = 0.01
    self_train(recipe, tmp_path / "run")
    evaluation = json.loads((tmp_path / "run" / "round_0" / "student" / "evaluation.json").read_text())
    assert "IoU/aeroplane" in evaluation["splits"]["val"]
    assert evaluation["images"] == {"val": 3}


def test_a_model_of_boxes_refuses_masks_at_once(mask_run, tmp_path):
    recipe, _ = mask_run
    recipe = deepcopy(recipe)
    recipe["model"] = {"class_path": "lightning_st.RetinaNet", "init_args": {"backbone": "resnet10t"}}
    with pytest.raises(ConfigError, match=r"Expected data\.labeled\.masks to be left out"):
        self_train(recipe, tmp_path / "run")


def spoil(path, change, palette=None):
    """Rewrite a mask with its values changed."""
    image = Image.open(path)
    changed = Image.fromarray(change(np.asarray(image)))
    if palette is not None:
        changed = changed.convert("P")
    if changed.mode == "P":
        changed.putpalette(palette)
    changed.save(path)


COLOURED = [value for level in range(256) for value in (level, level, level)]
REFUSED = {
    "another size": (lambda m: spoil(m, lambda v: v[:-1]), r"image_002\.png: the mask is 80 x 63 pixels, its image"),
    "class index above the list": (
        lambda m: spoil(m, lambda v: np.where(v == 0, 7, v).astype(np.uint8)),
        r"image_002\.png: pixel x=\d+, y=\d+: expected a class index from 0 to 2, got 7",
    ),
    "mixed palettes": (lambda m: spoil(m, lambda v: v, COLOURED), r"its palette gives the class index \d+ the colour"),
    "colours": (lambda m: spoil(m, lambda v: np.dstack([v] * 3)), r"image_002\.png: expected class indices"),
    "no masks": (lambda m: shutil.rmtree(m.parent), r"masks: there is no such file or folder"),
    "a list with an image without mask": (lambda m: m.unlink(), r"1 images of the list have no mask"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_mask_is_one_sentence(mask_run, tmp_path, capsys, name):
    recipe, _ = mask_run
    recipe = deepcopy(recipe)
    labeled = recipe["data"]["labeled"]
    shutil.copytree(labeled["masks"], tmp_path / "masks")
    labeled["masks"] = str(tmp_path / "masks")
    if "list" in name:
        (tmp_path / "list.txt").write_text("image_001\nimage_002\n")
        labeled["list"] = str(tmp_path / "list.txt")
    change, message = REFUSED[name]
    change(tmp_path / "masks" / "image_002.png")
    words = words_of(recipe, f"--model={json.dumps(TINY_SEGMENTER)}", "--output", str(tmp_path / "out"))
    assert main(["self_train", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(message, error), error
    assert error.startswith("lightning_st: ")
    assert not (tmp_path / "out").exists()
