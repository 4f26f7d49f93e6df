"""Folds of a COCO_supervision file: what its numbers count, and files that do not fit."""

import json

import numpy as np
import pytest
from helpers import write_coco

from lightning_st.errors import AnnotationError
from lightning_st.index import build_index, fold_rows
from lightning_st.index import folds as folds_module

BARE, CROWD_ONLY, FLAT, BROKEN_OUTLINE = 2, 5, 7, 9
"""Images without an annotation; with a crowd region alone; with a box without area; with an outline of two points."""


@pytest.fixture
def coco(tmp_path):
    """Twelve images, in another order in the file than by id; ten of them count."""
    images, annotations = write_coco(tmp_path, 12, size=(48, 64))
    content = json.loads(annotations.read_text())
    content["images"].reverse()
    ids = sorted(image["id"] for image in content["images"])
    by_image = {image_id: [a for a in content["annotations"] if a["image_id"] == image_id][:1] for image_id in ids}
    by_image[ids[BARE]] = []
    by_image[ids[CROWD_ONLY]][0] |= {"iscrowd": 1, "segmentation": {"size": [48, 64], "counts": [48 * 64]}}
    by_image[ids[FLAT]][0] |= {"bbox": [3, 3, 0, 5], "segmentation": []}
    by_image[ids[BROKEN_OUTLINE]][0]["segmentation"] = [[1, 1, 5, 5]]
    content["annotations"] = [annotation for found in by_image.values() for annotation in found]
    annotations.write_text(json.dumps(content))
    return build_index(images, annotations, cache_folder=tmp_path / "cache"), annotations, ids


def write_folds(folder, content):
    path = folder / "COCO_supervision.txt"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_numbers_count_images_with_objects_in_the_order_of_their_ids(coco, tmp_path):
    index, annotations, ids = coco
    counted = [i for i in range(12) if i not in (BARE, CROWD_ONLY, BROKEN_OUTLINE)]
    folds = write_folds(tmp_path, {"50.0": {"0": [0, 1, 2, 3], "1": [8, 5, 4, 2]}, "34.0": {"0": [7, 6, 5]}})
    for fold, fraction, numbers in ((0, 0.5, [0, 1, 2, 3]), (1, 0.5, [8, 5, 4, 2]), (0, 0.34, [7, 6, 5])):
        rows = fold_rows(index, annotations, folds, fraction, fold)
        assert sorted(index.image_ids[rows]) == sorted(ids[counted[number]] for number in numbers)
        assert (np.diff(rows) > 0).all()


def test_the_annotations_are_read_once_and_again_when_they_change(coco, tmp_path, monkeypatch):
    index, annotations, _ = coco
    folds = write_folds(tmp_path, {"50.0": {"0": [0, 1, 2, 3]}})
    rows = fold_rows(index, annotations, folds, 0.5, 0)
    reads = []
    counted = folds_module._counted_ids
    monkeypatch.setattr(folds_module, "_counted_ids", lambda path: reads.append(path) or counted(path))
    assert np.array_equal(fold_rows(index, annotations, folds, 0.5, 0), rows)
    assert not reads
    (kept,) = index.path.parent.glob("*.counted.npz")
    kept.write_bytes(kept.read_bytes()[:100])  # a cut file is made anew
    assert np.array_equal(fold_rows(index, annotations, folds, 0.5, 0), rows)
    annotations.write_text(annotations.read_text() + " ")
    assert np.array_equal(fold_rows(index, annotations, folds, 0.5, 0), rows)
    assert reads == [annotations, annotations]


@pytest.mark.parametrize(
    ("content", "fraction", "fold", "message"),
    [
        ("no json", 0.5, 0, r"COCO_supervision\.txt: no valid JSON"),
        ([1, 2], 0.5, 0, r"expected a JSON object.* Expected a file such as COCO_supervision\.txt"),
        ({"50.0": {"0": [0]}}, 0.1, 0, r"there is no split of 10 %\. There are, in percent, \['50\.0'\]"),
        ({"50.0": {"0": [0], "1": [2]}}, 0.5, 7, r"50\.0: there is no fold 7\. There are \['0', '1'\]\."),
        ({"50.0": {"0": ["a.jpg"]}}, 0.5, 0, r"50 %, fold 0: expected a list of whole numbers"),
        (
            {"50.0": {"0": [1, 2, 3]}},
            0.5,
            0,
            r"3 images up to number 3\. .* has 9 images .* would be 4: the",
        ),
        ({"50.0": {"0": [1, 2, 3, 99]}}, 0.5, 0, r"4 images up to number 99\. .* has 9 images"),
    ],
)
def test_what_does_not_fit_is_one_sentence(coco, tmp_path, content, fraction, fold, message):
    index, annotations, _ = coco
    with pytest.raises(AnnotationError, match=message):
        fold_rows(index, annotations, write_folds(tmp_path, content), fraction, fold)
