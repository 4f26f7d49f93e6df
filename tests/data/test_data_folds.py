"""Labelled images by a published fold, and the unlabelled ones that they leave."""

import json

import pytest
from helpers import write_coco

from lightning_st import SelfTrainingDataModule
from lightning_st.errors import ConfigError, DataError


@pytest.fixture
def sources(tmp_path):
    images, annotations = write_coco(tmp_path, 8, size=(48, 64))
    folds = tmp_path / "COCO_supervision.txt"
    folds.write_text(json.dumps({"25.0": {"3": [0, 1], "4": [6, 7]}}))
    labeled = {"images": str(images), "annotations": str(annotations), "split_file": str(folds), "fraction": 0.25}
    unlabeled = {"images": str(images), "list": str(annotations), "exclude": "labeled"}
    return {"labeled": labeled, "unlabeled": unlabeled}


def names(data, split):
    found = data.split(split)
    return {found.index.name(row) for row in found.rows}


def test_the_seed_chooses_the_fold_and_the_rest_is_unlabelled(sources):
    data = SelfTrainingDataModule(**sources, seed=4)
    assert names(data, "labeled") == {"image_006.jpg", "image_007.jpg"}
    assert names(data, "unlabeled") == {f"image_{number:03d}.jpg" for number in range(6)}
    sources["labeled"]["fold"] = 3
    assert names(SelfTrainingDataModule(**sources, seed=4), "labeled") == {"image_000.jpg", "image_001.jpg"}


def test_what_a_fraction_leaves_is_unlabelled_too(sources):
    del sources["labeled"]["split_file"]
    data = SelfTrainingDataModule(**sources)
    assert len(names(data, "labeled")) == 2
    assert names(data, "unlabeled") == {f"image_{number:03d}.jpg" for number in range(8)} - names(data, "labeled")


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("labeled", {"split_file": "none.txt"}, ConfigError, r"data\.labeled\.split_file to be a file that is there"),
        ("labeled", {"split_file": None, "fold": 1}, ConfigError, r"data\.labeled\.fold to be left out without data"),
        ("labeled", {"list": "some.txt"}, ConfigError, r"data\.labeled\.split_file .* count the images of a COCO file"),
        ("labeled", {"fold": 5}, DataError, r"there is no fold 5\. There are \['3', '4'\]"),
        ("labeled", {"fraction": 1.0, "split_file": None}, DataError, r"every image of data\.unlabeled is one of"),
        ("unlabeled", {"split_file": "x"}, ConfigError, r"data\.unlabeled\.split_file to be left out: it chooses"),
    ],
)
def test_mistakes_are_one_sentence(sources, name, change, error, message):
    sources[name] |= change
    with pytest.raises(error, match=message):
        SelfTrainingDataModule(**sources, seed=3).setup()


def test_the_rest_of_nothing_is_refused(sources):
    with pytest.raises(ConfigError, match=r"data\.labeled\.images to be given.* data\.unlabeled\.exclude names them"):
        SelfTrainingDataModule(unlabeled=sources["unlabeled"]).setup()
    sources["labeled"]["exclude"] = "labeled"
    with pytest.raises(ConfigError, match=r"data\.labeled\.exclude to be a file that is there"):
        SelfTrainingDataModule(**sources)
