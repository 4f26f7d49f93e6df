"""Classes of whole images, views, and joint training, on their way to batches."""

import json
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
import torch
from data_makers import source, store

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import AnnotationError, ConfigError, DataError
from lightning_st.index import IndexWriter
from lightning_st.types import BoxKind, ScoreThresholds

COMMON = {"image_size": 32, "batch_size": 4, "num_workers": 0, "seed": 3, "epoch_batches": 3}


def classes(folder: Path, count: int = 4, **arguments: Any) -> dict[str, str]:
    return {"images": str(helpers.write_class_folders(folder, count, **arguments))}


def batches_of(data: SelfTrainingDataModule) -> list[Any]:
    loader = data.train_dataloader()
    batches = list(loader)
    loader.close()
    return batches


def test_the_folder_of_an_image_is_its_class(tmp_path):
    labeled, val = classes(tmp_path / "train"), classes(tmp_path / "val", 2, seed=1)
    data = SelfTrainingDataModule(labeled=labeled, val=val, target="classes", **COMMON)
    assert data.classes == ("disc", "square")
    for batch in batches_of(data):
        names = [data.index("labeled").name(row) for row in batch["rows"].tolist()]
        assert batch["image_labels"].tolist() == [data.classes.index(name.partition("/")[0]) for name in names]
        assert batch["images"].shape == (4, 3, 32, 32)
        assert not (batch["kinds"] != BoxKind.PADDING).any()
        assert not batch.keys() & {"has_boxes", "other_views", "masks"}
        assert not batch["pseudo"].any()
    batch = next(iter(data.val_dataloader()))
    assert [target["label"].item() for target in batch["targets"]] == [0, 0, 1, 1]
    statistics = data.statistics()["labeled"]
    assert statistics["labels_by_class"] == {"disc": 4, "square": 4}


def test_val_may_have_fewer_classes_and_no_others(tmp_path):
    labeled = classes(tmp_path / "train", 2)
    val = classes(tmp_path / "val", 2, classes=("square",))
    data = SelfTrainingDataModule(labeled=labeled, val=val, target="classes", **COMMON)
    batch = next(iter(data.val_dataloader()))
    assert [target["label"].item() for target in batch["targets"]] == [1, 1]
    (tmp_path / "val" / "square").rename(tmp_path / "val" / "ring")
    with pytest.raises(DataError, match=r"data\.val has classes that data\.labeled does not have: ring"):
        SelfTrainingDataModule(labeled=labeled, val=val, target="classes", **COMMON).setup()


def test_views_are_two_draws_of_one_image(tmp_path):
    unlabeled = classes(tmp_path / "images")
    data = SelfTrainingDataModule(unlabeled=unlabeled, target="views", **COMMON)
    assert (data.classes, data.streams) == (("image",), ("unlabeled",))
    assert not data.index("unlabeled").is_labeled
    (batch, *_) = batches_of(data)
    assert batch["images"].shape == batch["other_views"].shape == (4, 3, 32, 32)
    assert all((a != b).any() for a, b in zip(batch["images"], batch["other_views"], strict=True))
    assert not batch.keys() & {"image_labels", "has_boxes"}
    plain = SelfTrainingDataModule(unlabeled=unlabeled, target="views", augment="none", **COMMON)
    (batch, *_) = batches_of(plain)
    assert torch.equal(batch["images"], batch["other_views"])


def test_views_are_the_same_from_any_worker_and_any_start(tmp_path):
    unlabeled = classes(tmp_path / "images", 5)
    loaded = [
        batches_of(SelfTrainingDataModule(unlabeled=unlabeled, target="views", **(COMMON | {"num_workers": workers})))
        for workers in (0, 2)
    ]
    for one, two in zip(*loaded, strict=True):
        assert all(torch.equal(one[key], two[key]) for key in ("images", "other_views", "rows", "positions"))
    dataset = SelfTrainingDataModule(unlabeled=unlabeled, target="views", **COMMON).train_dataloader().dataset
    sampler = SelfTrainingDataModule(unlabeled=unlabeled, target="views", **COMMON).train_dataloader().batch_sampler
    sampler.position = lambda: 2
    resumed = dataset[next(iter(sampler))[0]]
    assert torch.equal(resumed["other_views"][0], loaded[0][2]["other_views"][0])


def joint_data(folder: Path, **arguments: Any) -> SelfTrainingDataModule:
    sources = {
        "labeled": source(folder / "labeled", 5),
        "val": source(folder / "val", 2, seed=1),
        "joint": classes(folder / "joint", classes=("disc", "ring", "triangle")),
    }
    return SelfTrainingDataModule(**(sources | COMMON | arguments))


def test_joint_training_has_a_second_stream_of_classes(tmp_path):
    data = joint_data(tmp_path, pseudo_ratio=0.5)
    assert data.classes == ("square", "disc")
    assert data.image_classes == ("disc", "ring", "triangle")
    for batch in batches_of(data):
        assert batch["pseudo"].tolist() == [False] * 4 + [True] * 2
        assert torch.equal(batch["has_boxes"], ~batch["pseudo"])
        assert (batch["image_labels"][:4] == -1).all()
        names = [data.index("joint").name(row).partition("/")[0] for row in batch["rows"][4:].tolist()]
        assert [data.image_classes[label] for label in batch["image_labels"][4:]] == names
        assert not batch["kinds"][4:].any()
    assert joint_data(tmp_path, pseudo_ratio=0).streams == ("labeled",)
    assert joint_data(tmp_path, joint=None).image_classes == ()


def test_an_image_that_judges_is_no_image_of_joint_training(tmp_path):
    data = joint_data(tmp_path)
    val = Path(data.sources["val"].images)
    (tmp_path / "joint" / "disc" / "link.jpg").symlink_to(val / "image_000.jpg")
    with pytest.raises(DataError, match=r"1 images of data\.joint are also in data\.val"):
        joint_data(tmp_path).prepare_data()


def test_pseudo_labelled_images_have_the_class_that_joint_says(tmp_path):
    """Boxes by a teacher and a class by its folder, for the same images: paper.md, section 3.5, "+ both"."""
    joint = classes(tmp_path / "joint", 3, classes=("disc", "ring"))
    with IndexWriter(
        tmp_path / "store" / "labels.index", ("square", "disc"), source={"root": joint["images"]}
    ) as writer:
        for number, name in ((2, "ring"), (0, "disc")):
            writer.add(f"{name}/{name}_0_{number:03d}.jpg", 80, 64, boxes=[[4, 4, 60, 60]], labels=[1], scores=[0.9])
    manifest = {"state": "complete", "thresholds": ScoreThresholds.uniform(2, 0.5).to_json()}
    (tmp_path / "store" / "manifest.json").write_text(json.dumps(manifest))
    data = joint_data(tmp_path, joint=joint, pseudo_labels=str(tmp_path / "store"), augment="none")
    assert data.streams == ("labeled", "pseudo")
    for batch in batches_of(data):
        assert batch["has_boxes"].all()
        assert (batch["kinds"][4:] == BoxKind.OBJECT).sum(dim=1).tolist() == [1] * 4
        assert batch["image_labels"].tolist() == [-1] * 4 + [{0: 1, 1: 0}[row] for row in batch["rows"][4:].tolist()]
    elsewhere = joint_data(tmp_path, pseudo_labels=str(store(tmp_path / "other", 3)))
    with pytest.raises(DataError, match=r"None of 3 pseudo-labelled images is also in data\.joint"):
        elsewhere.train_dataloader()


def test_classes_take_no_other_labels(tmp_path):
    boxes, folders = source(tmp_path / "boxes", 2), classes(tmp_path / "folders", 2)
    for arguments, message in [
        ({"labeled": boxes, "target": "classes"}, r"data\.labeled\.annotations to be left out.*folders"),
        ({"labeled": {**folders, "masks": "m"}, "target": "classes"}, r"data\.labeled\.masks to be left out"),
        ({"labeled": {**folders, "format": "folder"}, "target": "classes"}, r"data\.labeled\.format to be left out"),
        ({"labeled": {**folders, "format": "classes"}}, r"Unknown data\.labeled\.format 'classes'"),
        ({"unlabeled": {**folders, "format": "classes"}}, r"Unknown data\.unlabeled\.format 'classes'"),
        ({"labeled": folders, "target": "views"}, r"data\.labeled to be left out.*data\.unlabeled\.images alone"),
        ({"labeled": folders, "joint": folders, "target": "classes"}, r"data\.joint to be left out.*model of boxes"),
        ({"labeled": folders, "pseudo_labels": "x", "target": "classes"}, r"data\.pseudo_labels to be left out"),
        ({"example": "trees", "target": "classes"}, r"data\.example to be left out"),
        ({"labeled": folders, "augment": "SimCLR"}, r"augment to be one that keeps the boxes"),
    ]:
        with pytest.raises(ConfigError, match=message):
            SelfTrainingDataModule(**arguments).setup()
    flat = {"images": str(Path(boxes["images"]))}
    with pytest.raises(AnnotationError, match="the image lies in no folder"):
        SelfTrainingDataModule(labeled=flat, target="classes").setup()


def test_an_image_that_cannot_be_read_is_replaced_in_both_views(tmp_path):
    unlabeled = classes(tmp_path / "images", 3)
    (tmp_path / "images" / "disc" / "disc_0_001.jpg").write_bytes(b"no image")
    seen = batches_of(SelfTrainingDataModule(unlabeled=unlabeled, target="views", augment="none", **COMMON))
    assert any(batch["bad_images"] for batch in seen)
    assert all(torch.equal(batch["images"], batch["other_views"]) for batch in seen)
    assert 1 not in np.concatenate([batch["rows"].numpy() for batch in seen])
