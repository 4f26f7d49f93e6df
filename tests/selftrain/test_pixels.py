"""Masks in a store: what is counted, at which threshold, and what a teacher's pixels were worth on val."""

import numpy as np
import pytest

from lightning_st.errors import StageError
from lightning_st.index import AnnotationIndex, IndexWriter, encode_mask, segments_of, to_hundredths
from lightning_st.selftrain import (
    CalibratedThresholds,
    Evidence,
    MaskLabels,
    MatchedCounts,
    PseudoLabels,
    PseudoLabelWriter,
    count_scores,
    match_pixels,
    precision_recall_by_threshold,
)
from lightning_st.types import ScoreThresholds

CLASSES = ("background", "cat", "dog")
SIZE = (20, 30)


def beliefs(count, seed=0):
    """Return `count` masks and confidences, float32 0-1."""
    generator = np.random.default_rng(seed)
    masks = generator.integers(0, 3, (count, *SIZE)).astype(np.uint8)
    return masks, generator.random((count, *SIZE), dtype=np.float32)


def images_index(folder, count):
    with IndexWriter(folder / "images.index", source={"root": "/images"}, is_labeled=False) as writer:
        for number in range(count):
            writer.add(f"{number}.jpg")
    return AnnotationIndex.open(folder / "images.index")


def write_store(folder, masks, confidences, shard_size=2):
    writer = PseudoLabelWriter(folder, images_index(folder, len(masks)), CLASSES, "job", shard_size)
    for number in writer.missing_shards():
        rows = writer.shard_rows(number)
        writer.write_shard(number, [MaskLabels.of(row, masks[row], confidences[row], 3) for row in rows])
    return writer.merge()


def test_masks_and_confidences_come_back(tmp_path):
    masks, confidences = beliefs(5)
    index = write_store(tmp_path, masks, confidences)
    index.verify()
    for row in range(5):
        np.testing.assert_array_equal(index.mask(row), masks[row])
        np.testing.assert_array_equal(index.confidence(row), np.floor(confidences[row] * 100))


@pytest.mark.parametrize("shard_size", [1, 2, 100])
def test_statistics_are_those_of_the_pixels(tmp_path, shard_size):
    """For any threshold, with nothing but what the index says; however the store was cut into shards."""
    masks, confidences = beliefs(5)
    confidences[3] *= 0.3  # an image of which nothing is trusted
    index = write_store(tmp_path, masks, confidences, shard_size)
    steps = np.floor(confidences * 100)
    for keep in ([0.5, 0.5, 0.5], [0.0, 0.75, 2.0], [0.31, 0.301, 1.0]):
        thresholds = ScoreThresholds(np.array(keep, np.float32), np.array(keep, np.float32))
        counts = PseudoLabels(index, {"thresholds": thresholds.to_json()}).statistics()
        shown = steps >= np.ceil(np.array(keep) * 100)[masks]
        by_class = {name: int((shown & (masks == label)).sum()) for label, name in enumerate(CLASSES)}
        assert counts["pixels_by_class"] == by_class
        assert counts["pixels"] == masks.size
        assert counts["images_with_labels"] == int(shown.any((1, 2)).sum())
        present = [[(shown[i] & (masks[i] == label)).any() for label in range(3)] for i in range(5)]
        assert counts["labels"] == int(np.sum(present))
        assert counts["mean_score"] == pytest.approx(steps[shown].mean() / 100)
        assert counts["score_histogram"] == np.histogram(steps, 20, (0, 100))[0].tolist()


def truths_of(path, masks, classes=CLASSES):
    with IndexWriter(path, classes, source={"root": "/images"}) as writer:
        for number, mask in enumerate(masks):
            writer.add(f"{number}.jpg", *SIZE[::-1], mask=encode_mask(mask), **segments_of(mask))
    return AnnotationIndex.open(path)


def test_what_pixels_are_worth(tmp_path):
    masks, confidences = beliefs(4)
    truths, _ = beliefs(4, seed=1)
    truths[:, :3] = 255
    named = truths_of(tmp_path / "truth.index", truths)
    matched = match_pixels(write_store(tmp_path, masks, confidences), named)
    counted, steps = truths != 255, to_hundredths(confidences)
    assert matched.truth_counts.tolist() == np.bincount(truths[counted], minlength=3).tolist()
    curves = precision_recall_by_threshold(matched, [0.2, 0.5, 0.9])
    for label in range(3):
        for place, threshold in enumerate([20, 50, 90]):
            found = counted & (masks == label) & (steps >= threshold)
            right = found & (truths == label)
            assert curves.counts[label, place] == found.sum()
            assert curves.precision[label, place] == right.sum() / found.sum()
            assert curves.recall[label, place] == right.sum() / (counted & (truths == label)).sum()


def test_classes_of_the_truth_may_stand_in_another_order(tmp_path):
    masks, confidences = beliefs(2)
    table = np.array([1, 2, 0], np.uint8)  # of ours, what it is among theirs
    named = truths_of(tmp_path / "truth.index", table[masks], ("dog", "background", "cat"))
    matched = match_pixels(write_store(tmp_path, masks, confidences), named)
    assert matched.is_correct.all()


def test_thresholds_are_calibrated_on_pixels(tmp_path):
    """The rule asks for the lowest confidence from which up enough pixels are right, however many a row stands for."""
    masks, confidences = beliefs(4)
    truths = masks.copy()
    generator = np.random.default_rng(3)
    is_wrong = generator.random(masks.shape) > confidences  # as sure as it is right
    truths[is_wrong] = (truths[is_wrong] + 1) % 3
    store = write_store(tmp_path, masks, confidences)
    matched = match_pixels(store, truths_of(tmp_path / "truth.index", truths))
    keep = CalibratedThresholds(precision=0.8)(Evidence(CLASSES, count_scores(store), matched)).keep
    steps = to_hundredths(confidences)
    for label in range(3):
        precisions = [1 - is_wrong[(masks == label) & (steps >= step)].mean() for step in range(100)]
        assert keep[label] == np.float32(next(step for step, value in enumerate(precisions) if value >= 0.8) / 100)


def test_matched_counts_keep_the_share_of_pixels_that_people_label(tmp_path):
    masks, confidences = beliefs(4)
    rates = np.array([0.2, 0.1, 0.0])
    store = write_store(tmp_path, masks, confidences)
    thresholds = MatchedCounts(ignore_from=0.01)(Evidence(CLASSES, count_scores(store), labeled_rates=rates))
    kept = [
        (masks == label) & (np.floor(confidences * 100) >= np.float32(100) * thresholds.keep[label])
        for label in range(3)
    ]
    assert [share.mean() for share in kept] == pytest.approx(rates, abs=0.005)


def test_masks_of_another_size_are_refused(tmp_path):
    masks, confidences = beliefs(1)
    truth = truths_of(tmp_path / "truth.index", masks[:, :10])
    with pytest.raises(StageError, match=r"0\.jpg: predicted 30 x 20 pixels, labelled 30 x 10"):
        match_pixels(write_store(tmp_path, masks, confidences), truth)
