"""The sets that are checked are those that a training opens."""

import helpers
from PIL import Image

from lightning_st.checks import Settings, check_splits, open_splits
from lightning_st.data import SelfTrainingDataModule


def test_images_of_joint_training_are_opened_by_their_classes(tmp_path):
    images, annotations = helpers.write_coco(tmp_path / "boxes", 2)
    for name in ("cat", "dog"):
        (tmp_path / "joint" / name).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "joint" / name / f"{name}.png")
    labeled = {"images": str(images), "annotations": str(annotations)}
    data = SelfTrainingDataModule(labeled=labeled, joint={"images": str(tmp_path / "joint")}, image_size=64)
    splits = open_splits(data)
    assert {name: split.target for name, split in splits.items()} == {"labeled": "boxes", "joint": "classes"}
    report = check_splits(splits, Settings(data.image_size, cache_folder=tmp_path / "cache"))
    assert report.splits["joint"]["labels_by_class"] == {"cat": 1, "dog": 1}
    assert not [found.text for found in report.findings if found.split == "joint" and found.severity == "error"]
    assert not [found.text for found in report.findings if found.split == "joint" and "box" in found.text]
