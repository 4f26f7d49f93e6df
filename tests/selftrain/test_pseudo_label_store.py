"""The pseudo-label store: written in shards, resumed, merged, counted."""

import json
from collections import Counter

import numpy as np
import pytest

from lightning_st.errors import ConfigError, StageError
from lightning_st.index import AnnotationIndex, IndexWriter
from lightning_st.selftrain import ImageLabels, PseudoLabels, PseudoLabelWriter, count_scores, evidence
from lightning_st.types import ScoreThresholds

CLASSES = ("cat", "dog", "cow")
IMAGE_COUNT = 23


@pytest.fixture
def images(tmp_path):
    with IndexWriter(tmp_path / "images.index", source={"root": "/images"}, is_labeled=False) as writer:
        for number in range(IMAGE_COUNT):
            writer.add(f"{number:02d}.jpg", image_id=100 + number)
    return AnnotationIndex.open(tmp_path / "images.index")


def found_in(row):
    """What a teacher finds in an image, a function of its row; nothing in every fifth, much in one."""
    rng = np.random.default_rng(row)
    count = 0 if row % 5 == 0 else 80 if row == 7 else int(rng.integers(1, 9))
    corners = rng.uniform(0, 50, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(1, 50, (count, 2))]).astype(np.float32)
    scores = np.sort(rng.random(count).astype(np.float32))[::-1]
    return ImageLabels(int(row), 100, 80, boxes, rng.integers(0, 3, count), scores)


def make_writer(folder, images, job="job", **options):
    return PseudoLabelWriter(folder, images, CLASSES, job, shard_size=4, **options)


def write_missing(writer, rank=0, world_size=1):
    numbers = writer.missing_shards(rank, world_size)
    for number in numbers:
        writer.write_shard(number, map(found_in, writer.shard_rows(number)))
    return numbers


def finish(folder, thresholds):
    (folder / "manifest.json").write_text(json.dumps({"state": "complete", "thresholds": thresholds.to_json()}))
    return PseudoLabels.open(folder)


@pytest.fixture
def store(tmp_path, images):
    writer = make_writer(tmp_path / "store", images)
    write_missing(writer)
    writer.merge()
    return finish(tmp_path / "store", ScoreThresholds.uniform(3, keep=0.6, ignore=0.2))


def test_the_merged_index_holds_what_was_found_in_the_order_of_the_images(store, images):
    assert list(store.index.iterate_names()) == list(images.iterate_names())
    assert store.index.classes == CLASSES
    for row in range(IMAGE_COUNT):
        image, expected, annotations = store.index.image(row), found_in(row), store.index.annotations(row)
        assert (image.path, image.image_id, image.width, image.height) == (f"/images/{row:02d}.jpg", 100 + row, 100, 80)
        np.testing.assert_array_equal(annotations.boxes, expected.boxes)
        np.testing.assert_array_equal(annotations.labels, expected.labels)
        np.testing.assert_array_equal(annotations.scores, expected.scores)


def test_a_finished_shard_is_not_written_again(tmp_path, images):
    writer = make_writer(tmp_path / "store", images)
    for number in (0, 3):
        writer.write_shard(number, map(found_in, writer.shard_rows(number)))
    before = (tmp_path / "store/shards/00003.index").stat().st_mtime_ns
    assert write_missing(make_writer(tmp_path / "store", images)) == [1, 2, 4, 5]
    assert (tmp_path / "store/shards/00003.index").stat().st_mtime_ns == before


def test_a_run_cut_within_a_shard_leaves_nothing_of_it(tmp_path, images):
    writer = make_writer(tmp_path / "store", images)

    def until_killed():
        yield found_in(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.write_shard(0, until_killed())
    assert list((tmp_path / "store/shards").iterdir()) == []
    assert writer.missing_shards() == list(range(6))


def test_shards_that_are_foreign_or_of_another_job_are_made_anew(tmp_path, images):
    folder = tmp_path / "store"
    write_missing(make_writer(folder, images))
    (folder / "shards/00001.index").write_bytes(b"not an index")
    (folder / "shards/00002.index").write_bytes((folder / "shards/00002.index").read_bytes()[:200])
    assert make_writer(folder, images).missing_shards() == [1, 2]
    other = make_writer(folder, images, job="another teacher")
    assert other.missing_shards() == list(range(6))
    write_missing(make_writer(folder, images))
    make_writer(folder, images).merge()
    assert other.missing_shards() == list(range(6))


def test_a_run_cut_while_merging_goes_on(tmp_path, images):
    folder = tmp_path / "store"
    writer = make_writer(folder, images)
    write_missing(writer)
    shards = {path.name: path.read_bytes() for path in (folder / "shards").iterdir()}
    fingerprint = writer.merge().fingerprint
    assert not (folder / "shards").exists()
    # Killed after the rename, while the shards were being removed.
    (folder / "shards").mkdir()
    (folder / "shards/00005.index").write_bytes(shards["00005.index"])
    again = make_writer(folder, images)
    assert again.missing_shards() == []
    assert again.merge().fingerprint == fingerprint
    assert sorted(path.name for path in folder.iterdir()) == ["labels.index"]


def test_several_processes_write_every_shard_once_whenever_they_look(tmp_path, images):
    writers = [make_writer(tmp_path / "store", images) for _ in range(3)]
    written = [write_missing(writer, rank, 3) for rank, writer in enumerate(writers)]
    assert written == [[0, 3], [1, 4], [2, 5]]
    assert len(writers[0].merge()) == IMAGE_COUNT


def test_merging_before_all_shards_are_there_names_them(tmp_path, images):
    writer = make_writer(tmp_path / "store", images)
    write_missing(writer, rank=0, world_size=2)
    with pytest.raises(StageError, match=r"3 of 6 shards are missing: \[1, 3, 5\]"):
        writer.merge()


def test_a_subset_of_the_images(tmp_path, images):
    writer = make_writer(tmp_path / "store", images, rows=np.array([20, 3, 5, 8, 9]))
    write_missing(writer)
    assert list(writer.merge().iterate_names()) == ["20.jpg", "03.jpg", "05.jpg", "08.jpg", "09.jpg"]


def test_no_image_at_all_is_refused(tmp_path, images):
    with pytest.raises(StageError, match="no image to label"):
        make_writer(tmp_path / "store", images, rows=np.zeros(0, int)).merge()
    with pytest.raises(ConfigError, match="shard_size"):
        PseudoLabelWriter(tmp_path, images, CLASSES, "job", shard_size=0)


def test_unreadable_images_are_left_out_and_counted(tmp_path, images):
    writer = make_writer(tmp_path / "store", images)
    for number in range(6):
        rows = [row for row in writer.shard_rows(number) if row not in (2, 3, 9)]
        bad = [f"{row:02d}.jpg: truncated" for row in writer.shard_rows(number) if row in (2, 3, 9)]
        writer.write_shard(number, map(found_in, rows), bad)
    index = writer.merge()
    assert len(index) == IMAGE_COUNT - 3
    assert index.problems["unreadable_image"] == {
        "count": 3,
        "examples": ["02.jpg: truncated", "03.jpg: truncated", "09.jpg: truncated"],
    }


@pytest.mark.parametrize("thresholds", [None, ScoreThresholds.uniform(3, 0.3), ScoreThresholds.uniform(3, 2.0)])
def test_statistics_equal_a_count_in_plain_python(store, thresholds, monkeypatch):
    monkeypatch.setattr("lightning_st.selftrain.store._IMAGES_AT_ONCE", 5)
    keep, ignore = (0.6, 0.2) if thresholds is None else (float(thresholds.keep[0]), float(thresholds.ignore[0]))
    found = [found_in(row) for row in range(IMAGE_COUNT)]
    kept = [[(c, s) for c, s in zip(f.labels, f.scores, strict=True) if s >= np.float32(keep)] for f in found]
    every = [float(score) for f in found for score in f.scores]
    by_class = Counter(CLASSES[label] for image in kept for label, _ in image)
    per_image = Counter(min(len(image), 50) for image in kept)
    scores = [float(score) for image in kept for _, score in image]
    statistics = store.statistics(thresholds)
    assert statistics.pop("mean_score") == pytest.approx(sum(scores) / len(scores) if scores else np.nan, nan_ok=True)
    assert statistics == {
        "images": IMAGE_COUNT,
        "images_with_labels": sum(map(bool, kept)),
        "labels": len(scores),
        "unsure": sum(np.float32(ignore) <= score < np.float32(keep) for score in every),
        "labels_by_class": {name: by_class[name] for name in CLASSES},
        "labels_per_image": [per_image[count] for count in range(51)],
        "score_histogram": [sum(int(score * 20) == bin_ for score in every) for bin_ in range(20)],
    }
    json.dumps(statistics)
    assert store.rows_with_labels(thresholds).tolist() == [row for row, image in enumerate(kept) if image]


def test_a_store_that_is_not_complete_is_refused(tmp_path, store):
    folder = tmp_path / "store"
    assert len(PseudoLabels.open(folder)) == IMAGE_COUNT
    for manifest in ({"state": "running", "thresholds": store.thresholds.to_json()}, {"state": "complete"}, []):
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(StageError, match=r"not complete\. Run pseudo_label"):
            PseudoLabels.open(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(StageError, match="there is no store of pseudo-labels"):
        PseudoLabels.open(folder)


@pytest.mark.parametrize("at_once", [7, 1 << 22])
def test_scores_are_counted_a_part_at_a_time(store, monkeypatch, at_once):
    monkeypatch.setattr(evidence, "_BOXES_AT_ONCE", at_once)
    found = count_scores(store.index)
    assert found.total == IMAGE_COUNT
    assert found.levels[[0, 1, -1]].tolist() == [0, 2**-12, 1]
    for level in (0, 1, 2000, 5000, 6143, 6144):
        expected = [
            int(((store.index.labels == label) & (store.index.scores >= found.levels[level])).sum())
            for label in range(3)
        ]
        assert found.from_level_up()[:, level].tolist() == expected
