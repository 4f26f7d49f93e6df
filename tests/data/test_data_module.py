"""The DataModule: what it opens, refuses, counts, and gives to evaluation."""

import json
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import pytest
from data_makers import data_module, source, store
from jsonargparse import ArgumentParser

from lightning_st.data import SelfTrainingDataModule, Source
from lightning_st.data.loader import RowSampler
from lightning_st.data.split import is_too_many
from lightning_st.errors import ConfigError, DataError, StageError, TooManyBadError
from lightning_st.index import build_index


def edit(source: dict[str, str], change: Any) -> None:
    """Apply `change` to the COCO dictionary of a source."""
    path = Path(source["annotations"])
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# What is opened


def test_classes_come_from_the_labelled_images_without_setup(tmp_path: Path):
    assert data_module(tmp_path).classes == ("square", "disc")


def test_classes_come_from_val_where_nothing_is_labelled(tmp_path: Path):
    data = SelfTrainingDataModule(val=source(tmp_path / "val", 2), unlabeled=source(tmp_path / "u", 2, labeled=False))
    assert data.classes == ("square", "disc")
    assert [data.has(name) for name in ("labeled", "unlabeled", "val", "test", "pseudo")] == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_images_alone_can_be_labelled_but_have_no_classes(tmp_path: Path):
    data = SelfTrainingDataModule(unlabeled=source(tmp_path / "u", 2, labeled=False), num_workers=0)
    data.prepare_data()
    assert [batch["rows"].tolist() for batch in data.predict_dataloader()] == [[0, 1]]
    with pytest.raises(ConfigError, match=r"data\.labeled\.images \(or val, or test\) to be given"):
        data.classes  # noqa: B018


def test_counts_are_those_of_the_annotations(tmp_path: Path):
    data = data_module(tmp_path, labeled=9, pseudo=4, unlabeled=source(tmp_path / "u", 3, labeled=False))
    content = json.loads((tmp_path / "labeled" / "annotations.json").read_text())
    counts = [sum(box["image_id"] == image["id"] for box in content["annotations"]) for image in content["images"]]
    found = data.statistics()["labeled"]
    assert found["images"] == data.image_count("labeled") == 9
    assert found["labels"] == sum(counts) == sum(found["labels_by_class"].values())
    assert found["labels_by_class"]["disc"] == sum(box["category_id"] == 5 for box in content["annotations"])
    assert found["labels_per_image"] == np.bincount(counts, minlength=51).tolist()
    assert data.statistics()["unlabeled"] == {"images": 3}
    assert data.image_count("pseudo") == 4


def test_boxes_that_cannot_be_used_are_counted_with_an_example(tmp_path: Path):
    labeled = source(tmp_path / "labeled", 4)
    path = Path(labeled["annotations"])
    content = json.loads(path.read_text())
    content["annotations"].append(content["annotations"][0] | {"bbox": [5, 5, 0, 9]})
    path.write_text(json.dumps(content))
    data = SelfTrainingDataModule(labeled, unlabeled=source(tmp_path / "u", 3, labeled=False))
    problem = data.statistics()["labeled"]["problems"]["no_area"]
    assert problem["count"] == 1
    assert f"annotations[{len(content['annotations']) - 1}] of image_000.jpg" in problem["examples"][0]


def test_a_fraction_is_counted_as_such(tmp_path: Path):
    labeled = source(tmp_path / "labeled", 10)
    whole = SelfTrainingDataModule(labeled)
    half = SelfTrainingDataModule(labeled | {"fraction": 0.5})
    assert half.image_count("labeled") == 5
    found = half.statistics()["labeled"]
    assert found["labels"] < whole.statistics()["labeled"]["labels"]
    assert sum(found["labels_by_class"].values()) == found["labels"]
    assert sum(found["labels_per_image"]) == 5
    assert half.fingerprints() != whole.fingerprints()
    assert half.fingerprints() == SelfTrainingDataModule(labeled | {"fraction": 0.5}).fingerprints()
    assert set(half.rows("labeled")) == {row for batch in half.train_dataloader() for row in batch["rows"].tolist()}


def test_fingerprints_do_not_say_where_the_data_lie(tmp_path: Path):
    here, there = (SelfTrainingDataModule(source(tmp_path / name, 3)) for name in ("here", "there"))
    assert here.fingerprints() == there.fingerprints()
    folder = store(tmp_path / "store", 3)
    seen = [
        SelfTrainingDataModule(
            source(tmp_path / "here", 3), pseudo_labels=str(folder), score_threshold=t
        ).fingerprints()
        for t in (0.5, 0.6)
    ]
    assert seen[0]["pseudo"] != seen[1]["pseudo"]


def test_evaluation_classes_are_mapped_by_name(tmp_path: Path):
    """Val lists its classes in another order, and has not all of them."""
    labeled = source(tmp_path / "labeled", 3, classes=("square", "disc", "ring"))
    val = source(tmp_path / "val", 4, seed=1, classes=("disc", "square"))
    data = SelfTrainingDataModule(labeled, val=val, num_workers=0)
    index = build_index(val["images"], val["annotations"])
    assert index.classes == ("disc", "square")
    targets = [target for batch in data.val_dataloader() for target in batch["targets"]]
    for row, target in enumerate(targets):
        assert target["labels"].tolist() == [1 - label for label in index.annotations(row).labels]


def test_classes_that_are_not_labelled_are_refused(tmp_path: Path):
    data = SelfTrainingDataModule(
        source(tmp_path / "l", 3), test=source(tmp_path / "t", 3, seed=1, classes=("square", "ring"))
    )
    with pytest.raises(
        DataError, match=r"data\.test has classes that data\.labeled does not have: ring\..*square, disc"
    ):
        data.setup()


@pytest.mark.parametrize("split", ["val", "test"])
def test_images_that_judge_and_train_are_refused(tmp_path: Path, split: str):
    shared = source(tmp_path / "shared", 3)
    leaking = {"unlabeled": {"images": shared["images"]}, split: shared}
    data = SelfTrainingDataModule(source(tmp_path / "l", 3, seed=1), **leaking)
    with pytest.raises(
        DataError, match=rf"3 images of data\.unlabeled are also in data\.{split}, such as image_000\.jpg"
    ):
        data.prepare_data()
    SelfTrainingDataModule(shared, unlabeled={"images": shared["images"]}).prepare_data()


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, r"data\.batch_size to be at least 1, got 0"),
        ({"eval_batch_size": 0}, r"data\.eval_batch_size to be at least 1"),
        ({"epoch_batches": 0}, r"data\.epoch_batches to be at least 1"),
        ({"num_workers": -1}, r"data\.num_workers to be at least 0"),
        ({"max_bad_fraction": 1.5}, r"data\.max_bad_fraction to be from 0 to 1"),
        ({"score_threshold": 0}, r"data\.score_threshold to be above 0"),
        ({"seed": 2**32}, r"data\.seed to be from 0"),
        ({"pseudo_ratio": 0.3}, r"data\.pseudo_ratio=0\.25 or data\.batch_size=10"),
        ({"image_size": 0}, r"data\.image_size"),
        ({"image_size": [64, 64, 3]}, r"data\.image_size"),
        ({"augment": "S5"}, "Unknown augment 'S5'"),
        ({"augment_options": {"magnitude": 5}}, "Expected no magnitude for the policy 'S1'"),
        ({"example": "cats"}, r"Unknown data\.example 'cats'.*trees"),
        ({"labeled": {"image": "x"}}, r"Unknown key of data\.labeled 'image'. Did you mean 'images'"),
        ({"labeled": {"annotations": "x"}}, r"data\.labeled\.images to be a folder"),
        ({"labeled": {"images": "x", "fraction": 0}}, r"data\.labeled\.fraction to be above 0"),
    ],
)
def test_arguments_out_of_range_are_refused_at_once(arguments: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        SelfTrainingDataModule(**arguments)


def test_labels_are_needed_and_refused_where_they_belong(tmp_path: Path):
    labeled, unlabeled = source(tmp_path / "l", 2), source(tmp_path / "u", 2, labeled=False)
    with pytest.raises(ConfigError, match=r"data\.labeled\.annotations to be the file of the labels"):
        SelfTrainingDataModule(unlabeled).setup()
    with pytest.raises(ConfigError, match=r"data\.unlabeled\.annotations to be left out"):
        SelfTrainingDataModule(labeled, unlabeled=labeled).setup()


def test_a_loader_of_a_set_that_is_not_given_names_its_key(tmp_path: Path):
    data = SelfTrainingDataModule(val=source(tmp_path / "val", 2))
    for loader, key in (("train", "labeled"), ("test", "test"), ("predict", "unlabeled")):
        with pytest.raises(ConfigError, match=rf"Expected data\.{key}\.images to be given, got None"):
            getattr(data, f"{loader}_dataloader")()
    with pytest.raises(ConfigError, match=r"Expected data\.pseudo_labels to be given"):
        data.image_count("pseudo")


def test_labelled_images_without_any_label_are_refused(tmp_path: Path):
    labeled = source(tmp_path / "l", 3)
    edit(labeled, lambda content: content.update(annotations=[]))
    with pytest.raises(DataError, match="none of 3 images has a labelled object"):
        SelfTrainingDataModule(labeled).train_dataloader()


def test_too_many_bad_boxes_are_refused(tmp_path: Path):
    def spoil(content: dict[str, Any]) -> None:
        for annotation in content["annotations"][:3]:
            annotation["bbox"][2] = 0

    labeled = source(tmp_path / "l", 9)
    edit(labeled, spoil)
    with pytest.raises(TooManyBadError, match=r"^3 of \d+ boxes cannot be used.*data\.max_bad_fraction=0\.01"):
        SelfTrainingDataModule(labeled).setup()
    SelfTrainingDataModule(labeled, max_bad_fraction=0.5).setup()


@pytest.mark.parametrize(
    ("bad", "count", "fraction", "expected"),
    [(0, 22, 0, False), (1, 22, 0, True), (1, 22, 0.01, False), (2, 22, 0.01, True), (10, 1000, 0.01, False),
     (11, 1000, 0.01, True), (5, 5, 1, False)],
)  # fmt: skip
def test_one_bad_thing_is_allowed_and_more_by_the_fraction(bad: int, count: int, fraction: float, expected: bool):
    assert is_too_many(bad, count, fraction) == expected


def test_bad_images_are_noted_once_until_they_are_too_many(tmp_path: Path):
    data = data_module(tmp_path, labeled=7)
    data.setup()
    data.note_bad_images(["a.jpg: cut"], "train")
    data.note_bad_images(["a.jpg: cut"], "train")
    data.note_bad_images(["b.jpg: cut"], "val")
    assert data.bad_images == {"a.jpg: cut": "train", "b.jpg: cut": "val"}
    with pytest.raises(TooManyBadError, match=r"2 of 7 images cannot be used.*a\.jpg: cut; c\.jpg: cut"):
        data.note_bad_images(["c.jpg: cut"], "train")


# Pseudo-labels


def test_images_without_a_label_that_passes_are_left_out(tmp_path: Path):
    folder = store(tmp_path / "store", 6, scores=(0.9, 0.4, 0.2))
    labeled = source(tmp_path / "l", 3)

    def rows(**arguments: Any) -> list[int]:
        return SelfTrainingDataModule(labeled, pseudo_labels=str(folder), **arguments).rows("pseudo").tolist()

    assert rows() == [0, 3]
    assert rows(score_threshold=0.4) == [0, 1, 3, 4]
    assert rows(keep_empty_pseudo=True) == [0, 1, 2, 3, 4, 5]


def test_a_store_where_nothing_passes_says_what_to_do(tmp_path: Path):
    folder = store(tmp_path / "store", 3, scores=(0.4,))
    data = SelfTrainingDataModule(source(tmp_path / "l", 3), pseudo_labels=str(folder))
    with pytest.raises(StageError, match=r"none of 3 images .*\(0\.5\)\. Lower data\.score_threshold, or train"):
        data.setup()


def test_stores_that_do_not_fit_are_refused(tmp_path: Path):
    labeled = source(tmp_path / "l", 3)

    def open_store(folder: Path) -> None:
        SelfTrainingDataModule(labeled, pseudo_labels=str(folder)).setup()

    with pytest.raises(StageError, match="gone: there is no store of pseudo-labels"):
        open_store(tmp_path / "gone")
    with pytest.raises(StageError, match=r"cut: the pseudo-labels are not complete"):
        open_store(store(tmp_path / "cut", 2, state="running"))
    with pytest.raises(DataError, match=r"have the classes disc, square; data\.labeled has square, disc"):
        open_store(store(tmp_path / "other", 2, classes=("disc", "square")))


@pytest.mark.parametrize("arguments", [{"pseudo_ratio": 0, "pseudo": 3}, {"pseudo_ratio": 1, "pseudo": 0}])
def test_without_a_pseudo_part_batches_are_labelled(tmp_path: Path, arguments: dict[str, Any]):
    data = data_module(tmp_path, **arguments)
    assert not data.has_pseudo_part
    for batch in data.train_dataloader():
        assert batch["pseudo"].tolist() == [False] * 4


# Loaders


def test_an_epoch_is_one_pass_unless_said_otherwise(tmp_path: Path):
    assert len(data_module(tmp_path).train_dataloader()) == 2
    assert len(data_module(tmp_path, epoch_batches=9).train_dataloader()) == 9


def test_other_rows_can_be_evaluated(tmp_path: Path):
    data = data_module(tmp_path, eval_batch_size=2)
    loader = data.evaluation_dataloader("labeled", np.array([5, 0, 3]))
    assert [batch["rows"].tolist() for batch in loader] == [[5, 0], [3]]
    data.predict_on("val", [np.array([4, 1, 0]), np.array([2])])
    assert [batch["rows"].tolist() for batch in data.predict_dataloader()] == [[4, 1], [0], [2]]
    data.predict_on("val", [])
    assert list(data.predict_dataloader()) == []


def test_a_row_sampler_yields_each_row_once():
    for count in range(6):
        sampler = RowSampler([np.arange(count)], 2)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert [row for batch in batches for row in batch] == list(range(count))


def test_the_loader_warns_when_a_run_goes_on_with_other_batches(tmp_path: Path):
    loader = data_module(tmp_path).train_dataloader()
    loader.load_state_dict(loader.state_dict())
    other = data_module(tmp_path, batch_size=2).train_dataloader()
    with pytest.warns(UserWarning, match=r"other batches .*data\.batch_size was 4, is 2\."):
        other.load_state_dict(loader.state_dict())


def test_an_own_compose_augments(tmp_path: Path):
    compose = albumentations.Compose([albumentations.HorizontalFlip(p=1.0)])
    mirrored = next(iter(data_module(tmp_path, augment=compose, image_size=128).train_dataloader()))
    plain = next(iter(data_module(tmp_path, augment="none", image_size=128).train_dataloader()))
    assert np.array_equal(mirrored["images"].flip(-1), plain["images"])


def test_the_options_of_a_policy_change_what_it_draws(tmp_path: Path):
    never_flipped = {"augment_options": {"flip_probability": 0.0, "scale_jitter": [1.0, 1.0]}}
    augmented = next(iter(data_module(tmp_path, augment="S1", **never_flipped).train_dataloader()))
    plain = next(iter(data_module(tmp_path, augment="none").train_dataloader()))
    assert np.array_equal(augmented["images"], plain["images"])


# Config


def test_every_key_of_the_command_line_exists():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SelfTrainingDataModule, "data")
    words = [
        "--data.labeled.images=a",
        "--data.labeled.annotations=b",
        "--data.labeled.format=coco",
        "--data.labeled.list=c",
        "--data.labeled.fraction=.5",
        "--data.unlabeled.images=d",
        "--data.val.images=e",
        "--data.test.images=f",
        "--data.pseudo_labels=g",
        "--data.image_size=[64,96]",
        "--data.batch_size=4",
        "--data.pseudo_ratio=0.5",
        "--data.augment=S3",
        "--data.augment_options.scale_jitter=[0.1,1.9]",
        "--data.augment_options.auto_augment=v2",
        "--data.num_workers=1",
        "--data.max_bad_fraction=.1",
    ]
    data = parser.instantiate(parser.parse_args(words))["data"]
    assert data.sources["labeled"] == Source("a", "b", "coco", "c", 0.5)
    assert data.image_size == (64, 96)


def test_the_seed_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert SelfTrainingDataModule().seed == 0
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    assert SelfTrainingDataModule().seed == 17
    assert SelfTrainingDataModule(seed=4).seed == 4


# Real data


def test_real_images_are_read_where_they_are_turned_grey_or_transparent(shared_data: Path):
    """23 grey and one EXIF-turned ImageNet photo; nuclei as RGBA PNG with up to 369 boxes."""
    nuclei, imagenet = (
        {"images": str(shared_data / folder / "images"), key: str(shared_data / folder / "annotations" / file)}
        for folder, key, file in (
            ("nuclei", "annotations", "train.json"),
            ("imagenet_sample", "list", "unlabeled.json"),
        )
    )
    data = SelfTrainingDataModule(nuclei, unlabeled=imagenet, image_size=64, batch_size=16, num_workers=0)
    shapes = {batch["boxes"].shape[1] % 32 for batch in data.train_dataloader()}
    batches = list(data.predict_dataloader())
    assert shapes == {0}
    assert [line for batch in batches for line in batch["bad_images"]] == []
    rows = np.concatenate([batch["rows"] for batch in batches])
    assert np.array_equal(rows, np.arange(300))
    turned = data.index("unlabeled").find(
        [name for name in data.index("unlabeled").iterate_names() if "can_opener" in name]
    )
    sizes = np.concatenate([batch["sizes"] for batch in batches])
    assert sizes[turned].tolist() == [[392, 294]]
