"""What is planted in small sets is found, and nothing else."""

import shutil
import tarfile
from pathlib import Path

import cv2
import helpers
import numpy as np
import pytest
from check_makers import picture, save, write_pool, write_set
from PIL import Image

from lightning_st.checks import Settings, check_splits, open_splits
from lightning_st.checks import scan as scan_module
from lightning_st.data import SelfTrainingDataModule


def check(sample=None, seconds=None, workers=0, **arguments):
    data = SelfTrainingDataModule(**{"image_size": 64, "num_workers": 0, **arguments})
    settings = Settings(data.image_size, data.max_bad_fraction, 0, sample, workers, seconds=seconds)
    return check_splits(open_splits(data), settings)


def kinds(report):
    return {(found.kind, found.split): found.count for found in report.findings}


@pytest.fixture
def sets(tmp_path: Path):
    """Sound sets: nothing in them is worth a word."""
    return {
        "labeled": write_set(tmp_path / "labeled", range(6)),
        "unlabeled": write_pool(tmp_path / "unlabeled", range(100, 108)),
        "val": write_set(tmp_path / "val", range(200, 205)),
        "test": write_set(tmp_path / "test", range(300, 305)),
    }


@pytest.mark.parametrize("seconds", [None, 60])
def test_nothing_is_found_in_sound_sets(sets, seconds):
    report = check(**sets, seconds=seconds)
    assert kinds(report) == {}
    assert report.splits["labeled"] == {
        "images": 6,
        "looked_at": 6,
        "bytes": sum(path.stat().st_size for path in Path(sets["labeled"]["images"]).iterdir()),
        "sizes": {key: [160, 120] for key in ("smallest", "median", "largest")},
        "labels": 6,
        "images_without_labels": 0,
        "labels_by_class": {"cat": 6},
        "crowd_regions": 0,
    }


COPIES = {
    "bytes": lambda image, path: shutil.copy(image, path),
    "quality": lambda image, path: save(path, cv2.imread(str(image)), 40),
    "half": lambda image, path: save(path, cv2.resize(cv2.imread(str(image)), None, fx=0.5, fy=0.5), 85),
    "larger": lambda image, path: save(path, cv2.resize(cv2.imread(str(image)), None, fx=1.7, fy=1.7)),
    "png": lambda image, path: cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(image))),
    "grey": lambda image, path: Image.open(image).convert("L").save(path),
    "darker": lambda image, path: save(path, (cv2.imread(str(image)) * 0.8).astype(np.uint8)),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_val_image_in_the_pool_is_found(sets, how):
    COPIES[how](Path(sets["val"]["images"]) / "val_202.jpg", Path(sets["unlabeled"]["images"]) / "zz.jpg")
    report = check(**sets)
    assert {kind: count for kind, count in kinds(report).items() if kind[0] != "grey_images"} == {
        ("copies" if how == "bytes" else "near_copies", "unlabeled"): 1
    }
    (found,) = [found for found in report.findings if "copies" in found.kind]
    assert found.severity == "error"
    assert found.examples == [f"zz.{'png' if how == 'png' else 'jpg'} = val_202.jpg of val"]
    assert report.excluded["unlabeled"].tolist() == [8]


@pytest.mark.parametrize(
    "change", [lambda image: image[:, ::-1], lambda image: np.rot90(image)], ids=["mirror", "turn"]
)
def test_mirrored_and_turned_copies_are_other_pictures(sets, change):
    save(Path(sets["unlabeled"]["images"]) / "zz.jpg", change(picture(202)))
    assert kinds(check(**sets)) == {}


def test_each_pair_of_sets_has_its_weight(sets):
    folder = {name: Path(source["images"]) for name, source in sets.items()}
    shutil.copy(folder["labeled"] / "labeled_3.jpg", folder["unlabeled"] / "a.jpg")
    save(folder["labeled"] / "labeled_5.jpg", picture(4), 60)
    shutil.copy(folder["val"] / "val_200.jpg", folder["test"] / "test_300.jpg")
    shutil.copy(folder["test"] / "test_301.jpg", folder["labeled"] / "labeled_0.jpg")
    found = {(item.split, item.kind): (item.severity, item.examples[0]) for item in check(**sets).findings}
    assert found == {
        ("unlabeled", "copies"): ("info", "a.jpg = labeled_3.jpg of labeled"),
        ("labeled", "near_copies"): ("info", "labeled_5.jpg = labeled_4.jpg of labeled"),
        ("test", "copies"): ("warning", "test_300.jpg = val_200.jpg of val"),
        ("labeled", "copies"): ("error", "labeled_0.jpg = test_301.jpg of test"),
    }


def test_many_copies_of_one_image_are_all_left_out(sets):
    pool = Path(sets["unlabeled"]["images"])
    again = save(pool / "a.jpg", picture(202), 50)
    for number in range(5):
        shutil.copy(again, pool / f"b{number}.jpg")
    assert len(check(**sets).excluded["unlabeled"]) == 6


def test_blank_images_are_named_and_no_copies_of_each_other(sets):
    for name, grey in (("unlabeled", 20), ("unlabeled", 21), ("val", 20)):
        for number in range(3):
            noise = (
                np.random.default_rng(number + 10 * len(name)).normal(grey, 0.7, (120, 160, 3)).round().astype(np.uint8)
            )
            file = "val_203.jpg" if name == "val" else f"blank_{grey}_{number}.jpg"
            save(Path(sets[name]["images"]) / file, noise)
    found = kinds(check(**sets))
    assert found["blank", "unlabeled"] == 6
    assert found["blank", "val"] == 1
    assert not any(kind.endswith("copies") for kind, _ in found)


def test_unreadable_images_are_findings_and_never_stop_it(sets, tmp_path: Path):
    pool = Path(sets["unlabeled"]["images"])
    whole = (pool / "pool_100.jpg").read_bytes()
    (pool / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (pool / "text.jpg").write_text("no image")
    (pool / "empty.jpg").touch()
    for seconds in (None, 60):
        report = check(**sets, seconds=seconds)
        assert kinds(report) == {("unreadable_images", "unlabeled"): 3}
        assert report.findings[0].severity == "error", "a run would stop at so many"
        assert any("text.jpg: not an image" in line for line in report.findings[0].examples)
    assert check(**sets, max_bad_fraction=0.5).findings[0].severity == "warning"


def test_odd_images_are_named(sets):
    pool = Path(sets["unlabeled"]["images"])
    save(pool / "thumb.jpg", picture(1, 12, 15))
    save(pool / "strip.jpg", picture(2, 40, 400))
    Image.fromarray(picture(3)).convert("L").save(pool / "grey.jpg")
    Image.fromarray(picture(4)).convert("CMYK").save(pool / "print.jpg")
    Image.fromarray(picture(5)[..., 0].astype(np.uint16) * 257).save(pool / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(6)).save(pool / "turned.jpg", exif=exif)
    del sets["labeled"], sets["val"], sets["test"]
    assert kinds(check(**sets)) == {
        ("small_images", "unlabeled"): 1,
        ("long_images", "unlabeled"): 1,
        ("grey_images", "unlabeled"): 2,
        ("cmyk_images", "unlabeled"): 1,
        ("deep_images", "unlabeled"): 1,
        ("turned_images", "unlabeled"): 1,
    }


def test_odd_boxes_are_named(sets, tmp_path: Path):
    boxes = [
        (0, 0, [10, 10, 40, 40]),
        (0, 0, [10, 10, 40, 40]),  # twice
        (1, 0, [0, 0, 160, 120]),  # the whole image
        (2, 0, [10, 10, 3, 30]),  # 1.2 pixels wide at 64
        (2, 0, [150, 10, 30, 30]),  # partly outside
        (3, 0, [10, 10, 0, 5]),  # without area
        (3, 0, [170, 10, 5, 5]),  # outside
    ]
    sets["labeled"] = write_set(tmp_path / "labeled", range(6), ("cat", "dog"), boxes)
    report = check(**sets)
    assert kinds(report) == {
        ("double_boxes", "labeled"): 1,
        ("whole_image_boxes", "labeled"): 1,
        ("tiny_boxes", "labeled"): 1,
        ("clipped_boxes", "labeled"): 1,
        ("no_area_boxes", "labeled"): 1,
        ("outside_boxes", "labeled"): 1,
        ("images_without_labels", "labeled"): 3,
        ("empty_classes", "labeled"): 1,
    }
    by_kind = {found.kind: found for found in report.findings}
    assert by_kind["tiny_boxes"].examples == ["labeled_2.jpg: cat at (10, 10), 3 x 30 pixels"]
    assert by_kind["no_area_boxes"].severity == "error", "a training is refused"


def test_class_names_that_differ_are_named_with_the_one_that_was_meant(sets, tmp_path: Path):
    sets["labeled"] = write_set(tmp_path / "labeled", range(3), ("red car", "dog"), [(0, 0, [5, 5, 40, 40])])
    sets["val"] = write_set(tmp_path / "val", range(200, 203), ("Red_Car", "dogs", "tree"))
    found = next(found for found in check(**sets).findings if found.kind == "unknown_classes" and found.split == "val")
    assert found.severity == "error"
    assert found.examples == [
        "'Red_Car': written 'red car' in data.labeled",
        "'dogs': near 'dog' of data.labeled",
        "'tree'",
    ]


def test_shares_of_classes_that_differ_are_named(sets, tmp_path: Path):
    def boxes(start, cats):
        return [(start + n % 4, int(n >= cats), [1 + n // 2, 10, 40, 40]) for n in range(80)]

    sets["labeled"] = write_set(tmp_path / "labeled", range(4), ("cat", "dog"), boxes(0, 70))
    sets["val"] = write_set(tmp_path / "val", range(200, 204), ("cat", "dog"), boxes(200, 15))
    del sets["test"]
    found = next(found for found in check(**sets).findings if found.kind == "different_shares")
    assert (found.split, found.count) == ("val", 2)
    assert "cat: 87.5% of the labels of labeled, 18.8% of those of val" in found.examples


def test_masks_are_checked_too(tmp_path: Path):
    images, masks, classes = helpers.write_masks(tmp_path / "labeled", 4)
    void = np.array(Image.open(masks / "image_000.png"))
    for path in masks.iterdir():
        image = Image.fromarray(np.where(np.arange(128) < 100, 255, void).astype(np.uint8), mode="P")
        image.putpalette([value for value in range(256) for _ in range(3)])
        image.save(path)
    report = check(labeled={"images": str(images), "masks": str(masks), "classes": str(classes)})
    assert report.splits["labeled"]["ignored_part"] > 0.7
    assert ("ignored_pixels", "labeled") in kinds(report)
    assert ("no_judge", "labeled") in kinds(report)


def test_a_sample_still_finds_files_that_stand_in_val(sets, tmp_path: Path):
    """Of those that were not looked at, the same file by its path, and a copy by its length."""
    shutil.copy(Path(sets["val"]["images"]) / "val_201.jpg", Path(sets["unlabeled"]["images"]) / "zz.jpg")
    assert kinds(check(**sets, sample=5, seconds=60))[("copies", "unlabeled")] == 1
    sets["unlabeled"] = {"images": sets["val"]["images"]}
    assert kinds(check(**sets, sample=1))[("copies", "unlabeled")] == 5


def test_what_was_seen_is_kept_until_a_file_changes(sets, monkeypatch):
    first = check(**sets, workers=2)
    looked, look_at = [], scan_module.look_at
    monkeypatch.setattr(
        scan_module, "look_at", lambda record, *rest: looked.append(record.name) or look_at(record, *rest)
    )
    assert check(**sets).to_json() == first.to_json()
    assert looked == []
    save(Path(sets["unlabeled"]["images"]) / "pool_103.jpg", picture(202))
    assert kinds(check(**sets)) == {("copies", "unlabeled"): 1}
    assert looked == ["pool_103.jpg"]


def test_archives_are_checked_as_folders_are(sets, tmp_path: Path):
    shutil.copy(Path(sets["val"]["images"]) / "val_202.jpg", Path(sets["unlabeled"]["images"]) / "zz.jpg")
    with tarfile.open(tmp_path / "pool.tar", "w") as archive:
        archive.add(sets["unlabeled"]["images"], "inner")
    report = check(**{**sets, "unlabeled": {"images": str(tmp_path / "pool.tar")}})
    (found,) = report.findings
    assert found.examples == ["inner/zz.jpg = val_202.jpg of val"]


def test_the_time_for_a_quick_look_is_kept(sets):
    report = check(**sets, seconds=0)
    assert {counts["looked_at"] for counts in report.splits.values()} == {0}
    assert kinds(report) == {}
