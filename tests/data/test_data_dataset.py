"""From draws to batches: labels, turned and reduced images, replacements, and the same bytes from any worker."""

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from data_makers import data_module, source, store
from PIL import Image

from lightning_st.data import SelfTrainingDataModule
from lightning_st.data.image_file import ImageFile
from lightning_st.data.sampling import Draw
from lightning_st.errors import ConfigError, DataError, ImageError
from lightning_st.index import AnnotationIndex, ImageRecord, IndexWriter, build_index
from lightning_st.transforms.geometry import Geometry
from lightning_st.types import PADDING_COLOUR, Batch, BoxKind, Sample


def batches_of(data: SelfTrainingDataModule) -> list[Batch]:
    loader = data.train_dataloader()
    batches = list(loader)
    loader.close()
    return batches


def same(one: Batch, other: Batch) -> bool:
    tensors = ("images", "boxes", "labels", "kinds", "pseudo", "rows", "positions")
    return all(torch.equal(one[key], other[key]) for key in tensors) and one["bad_images"] == other["bad_images"]


def test_a_batch_is_what_types_say(tmp_path: Path):
    batch = batches_of(data_module(tmp_path, pseudo=3, pseudo_ratio=0.5, image_size=(64, 96)))[0]
    assert batch["images"].shape == (6, 3, 64, 96)
    assert batch["images"].dtype == torch.uint8
    assert batch["images"].is_contiguous(memory_format=torch.channels_last)
    assert batch["boxes"].shape == (6, 32, 4)
    assert batch["boxes"].dtype == torch.float32
    assert batch["labels"].dtype == torch.int64
    assert batch["kinds"].dtype == torch.uint8
    assert batch["pseudo"].tolist() == [False] * 4 + [True] * 2
    assert batch["positions"].tolist() == [0, 1, 2, 3, 0, 1]
    padding = batch["kinds"] == BoxKind.PADDING
    assert (batch["labels"][padding] == -1).all()
    assert (batch["boxes"][padding] == 0).all()
    assert (batch["labels"][~padding] >= 0).all()
    assert batch["bad_images"] == []


def test_labels_stand_on_their_shapes(tmp_path: Path):
    """The centre of every box has the colour of its class: images, boxes and labels belong together."""
    colours = torch.tensor([(230, 60, 40), (40, 90, 230)])
    seen = 0
    for augment in ("none", "S1"):
        data = data_module(tmp_path / augment, augment=augment, image_size=128, epoch_batches=4)
        for batch in batches_of(data):
            for image, boxes, labels, kinds in zip(
                batch["images"], batch["boxes"], batch["labels"], batch["kinds"], strict=True
            ):
                for box, label in zip(boxes[kinds == 1].tolist(), labels[kinds == 1].tolist(), strict=True):
                    if min(box[2] - box[0], box[3] - box[1]) < 20:
                        continue  # the rest of a shape that the crop left
                    x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
                    assert (image[:, y, x].int() - colours[label]).abs().max() < 60
                    seen += 1
    assert seen > 20


@pytest.mark.parametrize("augment", ["S1", "S2", "S3", "S4"])
def test_workers_change_no_byte(tmp_path: Path, augment: str):
    options = {"pseudo": 5, "augment": augment, "epoch_batches": 6}
    here = batches_of(data_module(tmp_path / "a", **options))
    there = batches_of(data_module(tmp_path / "a", num_workers=2, **options))
    assert len(here) == 6
    assert all(map(same, here, there))


def test_data_sets_travel_to_workers_as_paths_and_rows(tmp_path: Path):
    """What is pickled for a worker grows by 8 bytes an image, and not with the annotations."""
    data = data_module(tmp_path, labeled=40, pseudo=5, unlabeled=source(tmp_path / "u", 3, labeled=False))
    loader = data.train_dataloader()
    pickled = pickle.dumps(loader.dataset)
    assert len(pickled) < 5000
    draws = next(iter(loader.batch_sampler))
    assert same(pickle.loads(pickled).__getitems__(draws), loader.dataset.__getitems__(draws))
    assert len(pickle.dumps(data.predict_dataloader().dataset)) < 1000


def test_an_image_looks_different_each_time_and_for_each_seed(tmp_path: Path):
    one = batches_of(data_module(tmp_path, labeled=1, augment="S1"))[0]["images"]
    other = batches_of(data_module(tmp_path, labeled=1, augment="S1", seed=4))[0]["images"]
    assert not any(torch.equal(one[i], one[j]) for i in range(4) for j in range(i))
    assert not torch.equal(one, other)


def test_loading_leaves_the_global_random_numbers_alone(tmp_path: Path):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    batches_of(data_module(tmp_path, num_workers=1))
    assert torch.equal(torch.rand(3), expected)


# What stands in place of an image that cannot be read


def test_an_unreadable_image_is_replaced_by_the_next_of_its_pass(tmp_path: Path):
    options = {"labeled": 7, "epoch_batches": 14, "num_workers": 0}
    whole = batches_of(data_module(tmp_path, **options))
    bad = tmp_path / "labeled" / "images" / "image_003.jpg"
    bad.write_bytes(bad.read_bytes()[:500])
    mended = batches_of(data_module(tmp_path, **options))
    rows = [row for batch in whole for row in batch["rows"].tolist()]
    new_rows = [row for batch in mended for row in batch["rows"].tolist()]
    for start in range(0, 56, 7):
        one_pass = rows[start : start + 7]
        at = one_pass.index(3)
        expected = [*one_pass[:at], one_pass[(at + 1) % 7], *one_pass[at + 1 :]]
        assert new_rows[start : start + 7] == expected
    lines = [line for batch in mended for line in batch["bad_images"]]
    assert len(lines) == 8
    assert {line.split(": ")[0] for line in lines} == {str(bad)}


def test_a_replacement_is_the_same_in_any_worker(tmp_path: Path):
    data_module(tmp_path).prepare_data()
    for number in (1, 2, 4):
        (tmp_path / "labeled" / "images" / f"image_00{number}.jpg").write_bytes(b"no image")
    options = {"pseudo": 3, "augment": "S2", "epoch_batches": 6}
    here = batches_of(data_module(tmp_path, **options))
    assert sum(len(batch["bad_images"]) for batch in here) >= 9
    assert all(map(same, here, batches_of(data_module(tmp_path, **options, num_workers=2))))


def test_a_set_without_a_readable_image_is_refused(tmp_path: Path):
    data = data_module(tmp_path, labeled=3)
    data.setup()
    for image in (tmp_path / "labeled" / "images").iterdir():
        image.unlink()
    with pytest.raises(DataError, match=r"None of 3 images in a row can be read, the last because: .*no such file"):
        batches_of(data)


# Kinds of boxes


def test_crowd_is_marked_in_training_and_passed_on_to_evaluation(tmp_path: Path):
    labeled = source(tmp_path / "crowd", 2)
    content = json.loads(Path(labeled["annotations"]).read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = int(annotation["image_id"] == 10)
    Path(labeled["annotations"]).write_text(json.dumps(content))
    data = SelfTrainingDataModule(labeled, val=source(tmp_path / "val", 1, seed=1), augment="none", num_workers=0)
    batch = batches_of(data)[0]
    for row, kinds in zip(batch["rows"].tolist(), batch["kinds"], strict=True):
        assert set(kinds.tolist()) == {BoxKind.PADDING, BoxKind.CROWD if row == 0 else BoxKind.OBJECT}
    targets = next(iter(data.evaluation_dataloader("labeled")))["targets"]
    assert targets[0]["crowd"].all()
    assert not targets[1]["crowd"].any()
    assert data.statistics()["labeled"]["labels"] == len(targets[1]["labels"])


def test_pseudo_labels_are_seen_through_their_thresholds(tmp_path: Path):
    folder = store(tmp_path / "store", 3, scores=(0.9, 0.4, 0.05), keep=0.5, ignore=0.3)
    data = data_module(tmp_path, pseudo_labels=str(folder), keep_empty_pseudo=True, epoch_batches=3)
    kinds = {
        row: set(kinds.tolist()) - {BoxKind.PADDING}
        for batch in batches_of(data)
        for row, kinds, pseudo in zip(batch["rows"].tolist(), batch["kinds"], batch["pseudo"], strict=True)
        if pseudo
    }
    assert kinds == {0: {BoxKind.OBJECT}, 1: {BoxKind.UNSURE}, 2: set()}


def test_more_boxes_than_32_make_a_wider_batch(tmp_path: Path):
    boxes = [[x, y, x + 2, y + 2] for x in range(0, 40, 4) for y in range(0, 16, 4)]
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1, "bbox": [*b[:2], 2, 2]} for i, b in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "dot"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    labeled = {"images": str(tmp_path), "annotations": str(tmp_path / "a.json")}
    data = SelfTrainingDataModule(labeled, batch_size=1, augment="none", image_size=64, num_workers=0)
    batch = batches_of(data)[0]
    assert batch["boxes"].shape == (1, 64, 4)
    assert batch["boxes"][0, :40].tolist() == boxes


# Files and their annotations


def picture_with_a_mark(
    path: Path, orientation: int, box: tuple[int, int, int, int], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Save a JPEG of `size` (height, width) with a bright `box` and return where it stands when it is upright."""
    stored = np.full((*size, 3), 40, np.uint8)
    stored[box[1] : box[3], box[0] : box[2]] = 220
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stored).save(path, quality=98, subsampling=0, exif=exif)
    return mark_in(ImageFile.open(record_of(path), is_labeled=False).decode())


def mark_in(image: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box (xyxy) of the bright pixels."""
    rows, columns = np.nonzero(image.mean(axis=2) > 130)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def record_of(file: Path, **known: Any) -> ImageRecord:
    """Return the record of an image of which that much is known."""
    with IndexWriter(file.parent / "one.index", source={"root": str(file.parent)}) as writer:
        writer.add(file.name, **known)
    return AnnotationIndex.open(file.parent / "one.index").image(0)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_stay_on_their_objects_in_reduced_and_turned_images(tmp_path: Path, orientation: int, reduction: int):
    """Sides that no reduction divides: the partial pixel must not shift the boxes of mirrored images."""
    box = picture_with_a_mark(tmp_path / "a.jpg", orientation, (64, 32, 144, 96), size=(203, 229))
    file = ImageFile.open(record_of(tmp_path / "a.jpg"), is_labeled=True)
    image = file.decode(reduction)
    (expected,) = file.boxes_in(image, np.array([box], np.float32), reduction)
    assert image.shape[:2] == tuple(-(-side // reduction) for side in file.size)
    assert np.abs(expected - mark_in(image)).max() <= 0.51


def test_boxes_drawn_before_exif_turned_the_image(tmp_path: Path):
    """The annotations give the sides as they lie in the file: then the image is not turned."""
    path = tmp_path / "a.jpg"
    upright_box = picture_with_a_mark(path, 6, (10, 20, 30, 60), size=(80, 120))
    stored = ImageFile.open(record_of(path, width=120, height=80), is_labeled=True)
    assert stored.size == (80, 120)
    assert mark_in(stored.decode()) == (10, 20, 30, 60)
    for known in ({"width": 80, "height": 120}, {}):
        turned = ImageFile.open(record_of(path, **known), is_labeled=True)
        assert turned.size == (120, 80)
        assert mark_in(turned.decode()) == upright_box
    unlabeled = ImageFile.open(record_of(path, width=120, height=80), is_labeled=False)
    assert unlabeled.size == (120, 80)


def test_annotations_of_another_size_are_refused(tmp_path: Path):
    Image.new("RGB", (800, 600)).save(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match=r"a\.jpg: annotations say 640 x 480, the file is 800 x 600"):
        ImageFile.open(record_of(tmp_path / "a.jpg", width=640, height=480), is_labeled=True)


def test_members_of_an_archive_are_read_in_place(tmp_path: Path):
    Image.new("RGB", (5, 4), (9, 8, 7)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "all.tar").write_bytes(b"x" * 100 + data + b"y" * 100)
    record = record_of(tmp_path / "a.png", path=tmp_path / "all.tar", offset=100, length=len(data))
    assert ImageFile.open(record, is_labeled=False).decode()[0, 0].tolist() == [9, 8, 7]
    broken = record_of(tmp_path / "a.png", path=tmp_path / "all.tar", offset=101, length=len(data))
    with pytest.raises(ImageError, match=r"all\.tar/a\.png: not an image"):
        ImageFile.open(broken, is_labeled=False)


# Evaluation


def test_evaluation_keeps_the_original_pixels_of_labels(tmp_path: Path):
    val = source(tmp_path / "val", 3, seed=1)
    data = data_module(tmp_path, val=val, image_size=(64, 64), eval_batch_size=2)
    batches = list(data.val_dataloader())
    assert [batch["rows"].tolist() for batch in batches] == [[0, 1], [2]]
    index = build_index(val["images"], val["annotations"])
    for batch in batches:
        for i, row in enumerate(batch["rows"].tolist()):
            target, truth = batch["targets"][i], index.annotations(row)
            assert np.array_equal(target["boxes"], truth.boxes)
            assert np.array_equal(target["labels"], truth.labels)
            assert np.array_equal(target["areas"], truth.areas)
            assert batch["sizes"][i].tolist() == [96, 128]
            assert batch["scales"][i].tolist() == [0.5, 0.5]
            image = cv2.cvtColor(cv2.imread(index.image(row).path), cv2.COLOR_BGR2RGB)
            shown = batch["images"][i, :, :48].permute(1, 2, 0).numpy().astype(int)
            assert np.abs(shown - cv2.resize(image, (64, 48))).max() <= 1
            assert (batch["images"][i, :, 48:] == torch.tensor(PADDING_COLOUR)[:, None, None]).all()


def test_an_unreadable_image_is_skipped_in_evaluation(tmp_path: Path):
    data = data_module(tmp_path, eval_batch_size=5)
    data.setup()
    (tmp_path / "val" / "images" / "image_002.jpg").write_bytes(b"no image")
    (batch,) = data.val_dataloader()
    assert batch["rows"].tolist() == [0, 1, -1, 3, 4]
    assert len(batch["targets"][2]["boxes"]) == 0
    (line,) = batch["bad_images"]
    assert line.endswith("image_002.jpg: not an image, or of an unknown format")


def test_unlabelled_images_have_empty_targets_and_no_label_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = data_module(tmp_path, unlabeled=source(tmp_path / "u", 3, labeled=False))
    index = data.index("unlabeled")
    monkeypatch.setattr(index, "annotations", lambda row: pytest.fail("a label was read"))
    (batch,) = data.predict_dataloader()
    assert batch["rows"].tolist() == [0, 1, 2]
    assert [len(target["labels"]) for target in batch["targets"]] == [0, 0, 0]


def test_a_draw_stands_for_itself(tmp_path: Path):
    loader = data_module(tmp_path).train_dataloader()
    (first, *_) = loader
    draw = Draw("labeled", int(first["rows"][2]), int(first["positions"][2]))
    assert torch.equal(loader.dataset[draw]["images"][0], first["images"][2])


def believe(folder: Path, **changes: Any) -> None:
    """Change the thresholds of a store."""
    path = folder / "store" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "thresholds": {**manifest["thresholds"], **changes}}))


def test_pseudo_labels_weigh_as_their_scores_and_human_labels_in_full(tmp_path: Path):
    store(tmp_path / "store", 3, scores=(0.9, 0.6), ignore=0.1)
    plain = batches_of(data_module(tmp_path, pseudo=3, augment="S1", epoch_batches=3))
    believe(tmp_path, weight_power=2.0)
    weighed = batches_of(data_module(tmp_path, pseudo=3, augment="S1", epoch_batches=3))
    assert not any("weights" in batch or "unknown_classes" in batch for batch in plain)
    for one, other in zip(plain, weighed, strict=True):
        assert same(one, other)
        weights, is_object = other["weights"], other["kinds"] == BoxKind.OBJECT
        assert weights.dtype == torch.float32
        assert (weights[~other["pseudo"]] == 1).all()
        for row, own in zip(other["rows"][other["pseudo"]], (weights * is_object)[other["pseudo"]], strict=True):
            assert own[own > 0].numpy() == pytest.approx((0.9, 0.6)[row % 2] ** 2)


def test_classes_that_a_teacher_hardly_knows_are_said_of_its_images_alone(tmp_path: Path):
    store(tmp_path / "store", 3)
    believe(tmp_path, unknown=[False, True])
    batch = batches_of(data_module(tmp_path, pseudo=3, pseudo_ratio=0.5))[0]
    assert batch["unknown_classes"].tolist() == [[False, False]] * 4 + [[False, True]] * 2


class Forgetful:
    """A policy that makes its samples anew, and leaves out what it does not know."""

    image_size = (96, 128)

    def draw(self, generator: np.random.Generator, height: int, width: int) -> Any:
        return Geometry(1.0)

    def apply(self, sample: Sample, drawn: Any) -> Sample:
        return Sample(sample.image, sample.boxes, sample.labels, sample.kinds)


def test_a_policy_that_loses_the_weights_is_refused(tmp_path: Path):
    store(tmp_path / "store", 3)
    data = data_module(tmp_path, pseudo=3, augment=Forgetful(), image_size=(96, 128))
    assert batches_of(data)
    believe(tmp_path, weight_power=1.0)
    with pytest.raises(ConfigError, match=r"Forgetful \(data\.augment\) loses how much each label counts"):
        batches_of(data_module(tmp_path, pseudo=3, augment=Forgetful(), image_size=(96, 128)))
