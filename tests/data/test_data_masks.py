"""Masks on their way from a folder to batches of training and evaluation."""

import json
from pathlib import Path
from typing import Any

import cv2
import helpers
import numpy as np
import pytest
import torch
from PIL import Image

from lightning_st.data import SelfTrainingDataModule
from lightning_st.data.decoding import read_header, upright
from lightning_st.data.image_file import ImageFile
from lightning_st.errors import ConfigError, DataError
from lightning_st.index import AnnotationIndex, IndexWriter, build_index, encode_mask, segments_of
from lightning_st.types import IGNORE_INDEX, BoxKind, ScoreThresholds

COLOURS = np.array([helpers.COLOURS["square"], helpers.COLOURS["disc"]])


def source(folder: Path, count: int = 6, seed: int = 0, **arguments: Any) -> dict[str, str]:
    images, masks, classes = helpers.write_masks(folder, count, seed=seed, **arguments)
    return {"images": str(images), "masks": str(masks), "classes": str(classes)}


def data_module(folder: Path, **arguments: Any) -> SelfTrainingDataModule:
    sources = {"labeled": source(folder / "labeled"), "val": source(folder / "val", 3, seed=1)}
    common = {"image_size": 64, "batch_size": 4, "num_workers": 0, "seed": 3}
    return SelfTrainingDataModule(**(sources | common | arguments))


def batches_of(data: SelfTrainingDataModule) -> list[Any]:
    loader = data.train_dataloader()
    batches = list(loader)
    loader.close()
    return batches


@pytest.mark.parametrize("augment", ["none", "S1", "S2", "S3", "S4"])
def test_masks_stand_on_their_shapes(tmp_path, augment):
    """Most pixels of a class have its colour, whatever has moved; outside of the image they are ignored."""
    seen = 0
    for batch in batches_of(data_module(tmp_path, augment=augment, image_size=128, epoch_batches=4)):
        assert batch["masks"].dtype == torch.uint8
        assert batch["masks"].shape == (4, 128, 128)
        assert (batch["kinds"] == BoxKind.PADDING).all()
        for image, mask in zip(batch["images"].permute(0, 2, 3, 1).numpy(), batch["masks"].numpy(), strict=True):
            assert set(np.unique(mask)) <= {0, 1, 2, IGNORE_INDEX}
            for label in (1, 2):
                pixels = image[mask == label].astype(int)
                if len(pixels) > 50 and augment in ("none", "S1"):
                    assert (np.abs(pixels - COLOURS[label - 1]).max(axis=1) < 60).mean() > 0.95
                    seen += 1
    assert seen > 5 or augment not in ("none", "S1")


def test_padding_is_ignored(tmp_path):
    batch = batches_of(data_module(tmp_path, augment="none", image_size=(64, 64)))[0]
    assert (batch["masks"][:, 48:] == IGNORE_INDEX).all()  # 96 x 128 pixels become 48 x 64
    assert (batch["masks"][:, :48] != IGNORE_INDEX).float().mean() > 0.8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_mask_follows_a_reduced_image(tmp_path, orientation, reduction):
    """A JPEG decoded smaller, at sides that do not divide, turned as EXIF says: its mask still lies on it."""
    height, width = (67, 93) if orientation < 5 else (93, 67)
    picture = np.zeros((height, width, 3), np.uint8)
    picture[height // 3 :, width // 4 : width // 2] = 255
    mask = (picture[..., 0] > 0).astype(np.uint8)
    write_turned(tmp_path / "a.jpg", picture, orientation)
    with IndexWriter(tmp_path / "a.index", ["no", "yes"], source={"root": str(tmp_path)}) as writer:
        writer.add("a.jpg", width, height, mask=encode_mask(mask), **segments_of(mask))
    index = AnnotationIndex.open(tmp_path / "a.index")
    file = ImageFile.open(index.image(0), is_labeled=True)
    image = file.decode(reduction)
    small = file.mask_in(image, index.mask(0), reduction)
    assert small.shape == image.shape[:2] != mask.shape
    # Only pixels on the outline may differ: those that stand for pixels of both.
    wrong = (image[..., 0] > 128) != small
    assert wrong.mean() < 0.05
    assert not (cv2.erode(wrong.astype(np.uint8), np.ones((2, 2))) > 0).any()


def write_turned(path: Path, picture: np.ndarray, orientation: int) -> None:
    """Write a JPEG that a viewer shows as `picture`."""
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(upright(picture, undo)).save(path, quality=98, exif=exif)
    assert read_header(path.read_bytes()).size == picture.shape[:2]


def test_targets_of_evaluation_have_the_size_of_the_image(tmp_path):
    data = data_module(tmp_path)
    batch = next(iter(data.val_dataloader()))
    assert [tuple(target["mask"].shape) for target in batch["targets"]] == [(96, 128)] * 3
    np.testing.assert_array_equal(batch["targets"][1]["mask"], data.index("val").mask(1))


def test_classes_of_val_may_stand_in_another_order(tmp_path):
    data = data_module(tmp_path)
    (tmp_path / "val" / "classes.txt").write_text("disc\nbackground\nsquare\n")
    batch = next(iter(data.val_dataloader()))
    table = np.full(256, IGNORE_INDEX)
    table[:3] = 2, 0, 1
    np.testing.assert_array_equal(batch["targets"][0]["mask"], table[data.index("val").mask(0)])


def test_unlabelled_images_have_no_mask(tmp_path):
    unlabeled = source(tmp_path / "unlabeled", 2)
    data = data_module(tmp_path, unlabeled={"images": unlabeled["images"]})
    batch = next(iter(data.predict_dataloader()))
    assert [target["mask"].numel() for target in batch["targets"]] == [0, 0]


def test_statistics_count_pixels_and_the_images_of_a_class(tmp_path):
    data = data_module(tmp_path)
    index, counts = data.index("labeled"), data.statistics()["labeled"]
    masks = np.stack([index.mask(row) for row in range(6)])
    names = ("background", "square", "disc")
    assert counts["pixels_by_class"] == {name: int((masks == i).sum()) for i, name in enumerate(names)}
    assert counts["labels_by_class"] == {name: int((masks == i).any((1, 2)).sum()) for i, name in enumerate(names)}
    assert sum(counts["labels_per_image"]) == 6


def pseudo_store(folder: Path, keep: float) -> Path:
    """Write a store whose only image has the confidences 0.2, 0.5 and 0.9 from left to right."""
    images, _, _ = helpers.write_masks(folder / "from", 1)
    mask = np.ones((96, 128), np.uint8)
    mask[:48] = 2
    confidence = np.repeat(np.array([[20, 50, 90, 90]], np.uint8), 32, axis=1).repeat(96, axis=0)
    with IndexWriter(folder / "labels.index", ["background", "square", "disc"], source={"root": str(images)}) as writer:
        segments = segments_of(mask, confidence)
        writer.add("image_000.jpg", 128, 96, mask=encode_mask(mask, confidence), **segments)
    thresholds = ScoreThresholds.uniform(3, keep)
    thresholds.keep[2] = 0.95  # of the discs nothing is trusted
    manifest = {"state": "complete", "thresholds": thresholds.to_json()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(("keep", "shown"), [(0.15, 128), (0.5, 96), (0.51, 64), (0.9, 64)])
def test_pixels_below_their_threshold_are_ignored(tmp_path, keep, shown):
    store = pseudo_store(tmp_path / "store", keep)
    data = data_module(tmp_path, pseudo_labels=str(store), augment="none", image_size=(96, 128), epoch_batches=1)
    (batch,) = batches_of(data)
    mask = batch["masks"][batch["pseudo"]][0]
    assert (mask[:48] == IGNORE_INDEX).all()
    assert (mask[48:] == 1).sum() == 48 * shown
    assert (mask[48:, 128 - shown :] == 1).all()


def test_another_threshold_needs_no_other_store(tmp_path):
    store = pseudo_store(tmp_path / "store", 0.9)
    arguments = {"augment": "none", "image_size": (96, 128), "epoch_batches": 1}
    data = data_module(tmp_path, pseudo_labels=str(store), score_threshold=0.2, **arguments)
    (batch,) = batches_of(data)
    assert (batch["masks"][batch["pseudo"]][0] != IGNORE_INDEX).all()


def test_masks_and_boxes_do_not_mix(tmp_path):
    images, annotations = helpers.write_coco(tmp_path / "coco", 3)
    boxes = {"images": str(images), "annotations": str(annotations)}
    masks = source(tmp_path / "masks")
    for labeled, target, message in [
        (masks, "boxes", r"data\.labeled\.masks to be left out.*SemanticSegmenter learns masks"),
        (boxes, "masks", r"data\.labeled\.annotations to be left out.*Masks are learnt: data\.labeled\.masks"),
        ({"images": str(images)}, "masks", r"data\.labeled\.masks to be a folder of masks named as the images"),
        (masks | {"format": "coco"}, None, r"data\.labeled\.format to be left out, as masks are learnt"),
        (masks | {"ignore_index": "a,2"}, None, r"data\.labeled\.ignore_index to be one or several values of a mask"),
        (masks, "pixels", r"Unknown data\.target 'pixels'. .*masks, classes, views"),
    ]:
        with pytest.raises(ConfigError, match=message):
            SelfTrainingDataModule(labeled=labeled, target=target).setup()
    store = pseudo_store(tmp_path / "store", 0.5)
    with pytest.raises(DataError, match="the pseudo-labels have the classes"):
        SelfTrainingDataModule(labeled=boxes, pseudo_labels=str(store)).setup()


@pytest.mark.parametrize("given", [2, [2], "2", "2,2"])
def test_a_value_can_be_ignored(tmp_path, given):
    data = data_module(tmp_path, labeled={**source(tmp_path / "labeled"), "ignore_index": given})
    assert set(np.unique(data.index("labeled").mask(0))) <= {0, 1, IGNORE_INDEX}


@pytest.mark.data
def test_real_masks_reach_the_batch(shared_data):
    nuclei = shared_data / "nuclei"
    labeled = {"images": str(nuclei / "images"), "masks": str(nuclei / "masks")}
    labeled["list"] = str(nuclei / "annotations" / "train_labeled_10.json")
    data = SelfTrainingDataModule(labeled=labeled, image_size=128, batch_size=4, num_workers=0)
    assert data.image_count("labeled") == 17
    assert data.classes == ("class 0", "class 1")
    batch = next(iter(data.train_dataloader()))
    assert set(batch["masks"].unique().tolist()) <= {0, 1, IGNORE_INDEX}
    index = build_index(shared_data / "voc_formats" / "coco_seg", format="masks")
    assert (len(index), len(index.classes)) == (16, 21)
