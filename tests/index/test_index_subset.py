"""Subsets are nested and the same everywhere; images in two indexes are found; an export is read by others."""

import itertools
import json
from hashlib import blake2b

import numpy as np
import pytest
from pycocotools.coco import COCO

from lightning_st.errors import ConfigError
from lightning_st.index import (
    AnnotationIndex,
    IndexWriter,
    build_index,
    common_images,
    export_coco,
    merge_indexes,
    nested_subset,
)


def index_of(path, names, **source):
    with IndexWriter(path, source=source, is_labeled=False) as writer:
        for name in names:
            writer.add(name)
    return AnnotationIndex.open(path)


@pytest.fixture
def thousand(tmp_path):
    return index_of(tmp_path / "a.index", [f"{number}.jpg" for number in range(1000)])


def test_subsets_are_nested(thousand):
    fractions = [0.0001, 0.01, 0.0996, 0.1, 0.1004, 0.5, 0.9, 1]
    subsets = [nested_subset(thousand, fraction, seed=3) for fraction in fractions]
    assert [len(rows) for rows in subsets] == [1, 10, 100, 100, 100, 500, 900, 1000]
    for small, large in itertools.pairwise(subsets):
        assert np.isin(small, large).all()
    assert all((np.diff(rows) > 0).all() and rows.dtype == np.int64 for rows in subsets)


def test_a_subset_is_the_same_on_every_machine(thousand):
    """Worked out in whole numbers of Python, which know no byte order and no overflow."""

    def digest(text):
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")

    def rank(row):
        value = digest(f"{row}.jpg") ^ digest("0")
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            value = (value ^ (value >> shift)) * factor % 2**64
        return value

    expected = sorted(sorted(range(1000), key=rank)[:5])
    assert nested_subset(thousand, 0.005, seed=0).tolist() == expected == [150, 312, 313, 721, 937]


def test_a_subset_does_not_depend_on_order_or_neighbours(thousand, tmp_path):
    names = [f"{number}.jpg" for number in reversed(range(1000))]
    turned = index_of(tmp_path / "b.index", names)
    chosen = {thousand.name(row) for row in nested_subset(thousand, 0.1, seed=0)}
    assert {turned.name(row) for row in nested_subset(turned, 0.1, seed=0)} == chosen


def test_seeds_draw_different_and_even_subsets(thousand):
    drawn = np.zeros(1000)
    for seed in range(200):
        drawn[nested_subset(thousand, 0.1, seed)] += 1
    # Binomial(200, 0.1): mean 20, standard deviation 4.2; five of them for a thousand images.
    assert drawn.mean() == 20
    assert 3.5 < drawn.std() < 5
    assert drawn.max() < 20 + 5 * 4.24


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_a_fraction_out_of_range_is_refused(thousand, fraction):
    with pytest.raises(ConfigError, match="Expected fraction to be above 0 and at most 1"):
        nested_subset(thousand, fraction, seed=0)


def test_a_subset_of_nothing_is_empty(tmp_path):
    assert nested_subset(index_of(tmp_path / "a.index", []), 0.5, 0).tolist() == []


def test_images_of_two_indexes_are_found(tmp_path):
    for folder in ("pool/val", "val"):
        (tmp_path / folder).mkdir(parents=True)
    for number in range(6):
        (tmp_path / "pool" / f"{number}.jpg").touch()
    (tmp_path / "val" / "link.jpg").symlink_to(tmp_path / "pool" / "4.jpg")
    (tmp_path / "val" / "1.jpg").touch()
    (tmp_path / "pool" / "val" / "linked").symlink_to(tmp_path / "val")
    pool = index_of(tmp_path / "a.index", ["0.jpg", "4.jpg", "val/linked/1.jpg", "1.jpg"], root=str(tmp_path / "pool"))
    val = index_of(tmp_path / "b.index", ["1.jpg", "2.jpg", "link.jpg"], root=str(tmp_path / "val"))
    rows = common_images(pool, val)
    assert [part.tolist() for part in rows] == [[1, 2], [0, 2]]
    assert [part.tolist() for part in common_images(val, index_of(tmp_path / "c.index", []))] == [[], []]


def test_members_of_one_archive_are_told_apart(tmp_path):
    indexes = []
    for number, offsets in enumerate([(0, 512, 1024), (512, 2048)]):
        with IndexWriter(tmp_path / f"{number}.index", is_labeled=False) as writer:
            for offset in offsets:
                writer.add("a.jpg", path="/part.tar", offset=offset, length=100)
        indexes.append(AnnotationIndex.open(tmp_path / f"{number}.index"))
    assert [rows.tolist() for rows in common_images(*indexes)] == [[1], [0]]


# pycocotools' compiled mask module hands numpy an array without the `copy` keyword of numpy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.data
@pytest.mark.parametrize("name", ["coco_mini/images/train2017 instances_train2017.json", "nuclei/images val.json"])
def test_an_export_reads_back_exactly(shared_data, tmp_path, name):
    images, file = name.split()
    images = shared_data / images
    index = build_index(images, shared_data / name.split("/")[0] / "annotations" / file)
    export_coco(index, tmp_path / "export.json")
    again = build_index(images, tmp_path / "export.json")
    assert (again.boxes == index.boxes).all()
    assert again.fingerprint == index.fingerprint
    reference = COCO(tmp_path / "export.json")
    masks = [reference.annToMask(box) for box in list(reference.anns.values())[:20]]
    assert all(mask.any() for mask in masks)


def test_scores_are_exported_where_there_are_some(tmp_path):
    for name, scores in (("a", [0.25]), ("b", None)):
        with IndexWriter(tmp_path / name, ["cat"], [7]) as writer:
            writer.add("x.jpg", 10, 10, boxes=[[1, 2, 3, 4]], labels=[0], scores=scores)
        export_coco(AnnotationIndex.open(tmp_path / name), tmp_path / f"{name}.json")
    first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    box = {"id": 1, "image_id": 0, "category_id": 7, "bbox": [1, 2, 2, 2], "area": 4, "iscrowd": 0}
    assert (first["annotations"], second["annotations"]) == ([box | {"score": 0.25}], [box])
    assert first["categories"] == [{"id": 7, "name": "cat"}]


def test_an_unknown_size_is_not_exported(tmp_path):
    (tmp_path / "a.jpg").touch()
    export_coco(index_of(tmp_path / "a.index", ["a.jpg"]), tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["images"] == [{"id": 0, "file_name": "a.jpg"}]


def test_ids_of_joined_sources_are_made_distinct(tmp_path):
    paths = [index_of(tmp_path / name, ["x.jpg"], root=f"/{name}").path for name in "ab"]
    export_coco(merge_indexes(paths, tmp_path / "c"), tmp_path / "c.json")
    assert [image["id"] for image in json.loads((tmp_path / "c.json").read_text())["images"]] == [1, 2]


def test_a_failing_export_leaves_nothing(thousand, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_st.index.export._categories", lambda index: [None])
    with pytest.raises(TypeError):
        export_coco(thousand, tmp_path / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.index"]
