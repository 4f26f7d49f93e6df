"""Self-training from end to end on the development data sets, a few steps each: every source reaches the report."""

import json
from pathlib import Path
from typing import Any

import pytest
from recipes import TINY_MODEL, TINY_SEGMENTER

from lightning_st.reports import write_report
from lightning_st.stages import self_train

pytestmark = [pytest.mark.data, pytest.mark.slow]


def sources(shared: Path, name: str, folder: Path) -> dict[str, Any]:
    """Return the sources of a run, by what a user would type."""
    bccd, imagenet = shared / "bccd", shared / "imagenet_sample" / "images"
    voc, oid, coco_seg = shared / "voc_formats", shared / "oid_format", shared / "voc_formats" / "coco_seg"
    lists = voc / "original" / "ImageSets" / "Main"
    xml = {"images": str(voc / "images"), "annotations": str(voc / "original" / "Annotations")}
    masks = {"images": str(coco_seg), "classes": str(coco_seg / "class_names.txt")}
    names = sorted(path.stem for path in (coco_seg / "SegmentationClass").iterdir())
    for split, part in {"train": names[:10], "val": names[10:]}.items():
        (folder / f"{split}.txt").write_text("\n".join(part))
    return {
        "boxes of VOC's XML": {
            "labeled": {**xml, "list": str(lists / "train.txt")},
            "unlabeled": {"images": str(voc / "images"), "list": str(lists / "test.txt")},
            "val": {**xml, "list": str(lists / "val.txt")},
        },
        "masks of a VOC root": {
            "labeled": {**masks, "list": str(folder / "train.txt")},
            "unlabeled": {"images": str(voc / "images")},
            "val": {**masks, "list": str(folder / "val.txt")},
        },
        "Open Images": {
            "labeled": {
                "images": str(oid / "images/train"),
                "annotations": str(oid / "csv/train-annotations-bbox.csv"),
            },
            "unlabeled": {"images": str(imagenet)},
            "val": {
                "images": str(oid / "images/validation"),
                "annotations": str(oid / "csv/validation-annotations-bbox.csv"),
                "classes": str(oid / "csv/class-descriptions-boxable.csv"),
            },
        },
        "blood cells and photographs of other things": {
            "labeled": {"images": str(bccd / "images"), "annotations": str(bccd / "annotations/train_labeled_10.json")},
            "unlabeled": {"images": str(imagenet)},
            "val": {"images": str(bccd / "images"), "annotations": str(bccd / "annotations/val.json")},
        },
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "boxes of VOC's XML",
        "masks of a VOC root",
        "Open Images",
        "blood cells and photographs of other things",
    ],
)
def test_every_source_reaches_the_report(shared_data, tmp_path, name):
    is_masks = "masks" in name
    training = {"max_steps": 8, "optimizer": "adamw", "lr": 0.01, "warmup_steps": 2}
    recipe = {
        "data": {**sources(shared_data, name, tmp_path), "image_size": 96, "batch_size": 4, "num_workers": 0},
        "model": TINY_SEGMENTER if is_masks else TINY_MODEL,
        "teacher": training,
        "student": {**training, "init": "teacher"},
        "pseudo_label": {"score_threshold": 0.06 if is_masks else 0.01},
        "trainer": {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1},
    }
    self_train(recipe, tmp_path / "run")
    metrics = write_report(tmp_path / "run")
    counts = metrics["rounds"][0]["pseudo_labels"]
    assert counts["images"] == {"boxes of VOC's XML": 20, "masks of a VOC root": 100}.get(name, 300)
    assert 0 < counts["images_with_labels"] <= counts["images"]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    images = {split: record["images"] for split, record in manifest["data"].items()}
    assert images["labeled"] == {"boxes of VOC's XML": 60, "masks of a VOC root": 10, "Open Images": 48}.get(name, 22)
    assert 0 <= metrics["rounds"][0]["student"]["val"][metrics["metric"]] <= 1
