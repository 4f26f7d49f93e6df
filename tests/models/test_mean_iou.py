"""The metric against one class at a time in numpy."""

import math
import pickle

import numpy as np
import pytest
import torch

from lightning_st.models import MeanIoU

CLASSES = ("background", "cat", "dog", "ghost")


def random_masks(seed: int, image_count: int = 8):
    """Masks of all sizes; a third of the pixels are guessed, some are ignored; nothing ever is a ghost."""
    generator = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(image_count):
        size = tuple(generator.integers(1, 40, 2))
        truth = generator.integers(0, generator.integers(1, 4), size).astype(np.uint8)
        guess = np.where(generator.random(size) < 0.3, generator.integers(0, 3, size), truth).astype(np.uint8)
        truth[generator.random(size) < 0.2] = 255
        predictions.append({"mask": torch.from_numpy(guess), "confidence": torch.ones(size)})
        targets.append({"mask": torch.from_numpy(truth)})
    return predictions, targets


def evaluate_by_numpy(predictions, targets):
    found = np.concatenate([prediction["mask"].numpy().ravel() for prediction in predictions])
    truth = np.concatenate([target["mask"].numpy().ravel() for target in targets])
    found, truth = found[truth != 255], truth[truth != 255]
    ious, recalls = {}, []
    for label, name in enumerate(CLASSES):
        is_found, is_true = found == label, truth == label
        union = (is_found | is_true).sum()
        ious[f"IoU/{name}"] = (is_found & is_true).sum() / union if union else math.nan
        if is_true.any():
            recalls.append(is_found[is_true].mean())
    numbers = {"mIoU": np.nanmean(list(ious.values())), "pixel_accuracy": (found == truth).mean()}
    return numbers | {"mean_accuracy": np.mean(recalls)} | ious


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_numpy(seed):
    predictions, targets = random_masks(seed)
    metric = MeanIoU(CLASSES)
    metric.update(range(8), predictions, targets)
    expected = evaluate_by_numpy(predictions, targets)
    assert metric.compute() == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert 0.3 < expected["mIoU"] < 0.9
    assert math.isnan(expected["IoU/ghost"])
    assert metric.primary in expected


def test_by_hand():
    """Of four pixels that count: one cat found, one missed, one dog found, one made up of a missed cat."""
    metric = MeanIoU(CLASSES)
    truth = torch.tensor([[1, 1, 2, 255, 255]], dtype=torch.uint8)
    found = torch.tensor([[1, 2, 2, 3, 0]], dtype=torch.uint8)
    metric.update([7], [{"mask": found, "confidence": torch.ones(1, 5)}], [{"mask": truth}])
    numbers = metric.compute()
    assert numbers["IoU/cat"] == numbers["IoU/dog"] == 1 / 2
    assert math.isnan(numbers["IoU/background"])
    assert numbers["mIoU"] == 1 / 2
    assert numbers["pixel_accuracy"] == pytest.approx(2 / 3)
    assert numbers["mean_accuracy"] == pytest.approx(3 / 4)
    assert metric.confusion_matrix().tolist() == [[0] * 4, [0, 1, 1, 0], [0, 0, 1, 0], [0] * 4]


def test_a_class_that_is_predicted_and_nowhere_true_counts():
    metric = MeanIoU(CLASSES)
    truth = torch.zeros(2, 2, dtype=torch.uint8)
    found = torch.tensor([[0, 0], [0, 1]], dtype=torch.uint8)
    metric.update([0], [{"mask": found, "confidence": torch.ones(2, 2)}], [{"mask": truth}])
    numbers = metric.compute()
    assert (numbers["IoU/background"], numbers["IoU/cat"], numbers["mIoU"]) == (0.75, 0, 0.375)
    assert numbers["mean_accuracy"] == 0.75


def test_shards_of_ranks_merge_to_the_whole():
    predictions, targets = random_masks(3)
    whole = MeanIoU(CLASSES)
    whole.update(range(8), predictions, targets)
    states = []
    for rows in (range(5), range(5, 8), range(3, 6)):  # of different lengths, and three images twice
        shard = MeanIoU(CLASSES)
        shard.update(rows, [predictions[row] for row in rows], [targets[row] for row in rows])
        states.append(pickle.loads(pickle.dumps(shard.state())))
    merged = MeanIoU(CLASSES)
    merged.update([99], predictions[:1], targets[:1])
    merged.merge(states)
    assert merged.state().keys() == set(range(8))
    assert np.array_equal(merged.confusion_matrix(), whole.confusion_matrix())
    merged.reset()
    assert merged.state() == {}


def test_the_state_is_as_small_as_the_classes_are_few():
    metric = MeanIoU([str(label) for label in range(255)])
    mask = torch.full((300, 400), 254, dtype=torch.uint8)
    metric.update([0], [{"mask": mask, "confidence": torch.ones(300, 400)}], [{"mask": mask}])
    (image,) = metric.state().values()
    assert image["cells"].tolist() == [255**2 - 1]
    assert image["counts"].tolist() == [120_000]
    assert metric.compute()["IoU/254"] == 1


def test_an_image_that_is_added_again_replaces_itself():
    predictions, targets = random_masks(4, image_count=2)
    once, twice = MeanIoU(CLASSES), MeanIoU(CLASSES)
    once.update([5], predictions[:1], targets[:1])
    twice.update([5], predictions[1:], targets[1:])
    twice.update([5], predictions[:1], targets[:1])
    assert twice.compute() == pytest.approx(once.compute(), nan_ok=True)


@pytest.mark.parametrize("truth", [None, torch.full((3, 3), 255, dtype=torch.uint8)], ids=["no image", "all ignored"])
def test_nothing_to_judge(truth):
    metric = MeanIoU(CLASSES)
    if truth is not None:
        metric.update([0], [{"mask": torch.zeros_like(truth), "confidence": torch.ones(3, 3)}], [{"mask": truth}])
    assert all(math.isnan(value) for value in metric.compute().values())


@pytest.mark.parametrize(
    ("found", "truth", "message"),
    [
        ([[0, 0]], [[0], [0]], r"predicted mask of image 4 to be of its target's size \(2, 1\), got \(1, 2\)"),
        ([[0, 0]], [[0, 4]], "target of image 4 to hold classes below 4, got 4"),
        ([[0, 5]], [[0, 0]], "predicted mask of image 4 to hold classes below 4, got 5"),
    ],
)
def test_what_cannot_be_judged_is_refused(found, truth, message):
    found, truth = torch.tensor(found, dtype=torch.uint8), torch.tensor(truth, dtype=torch.uint8)
    with pytest.raises(ValueError, match=message):
        MeanIoU(CLASSES).update([4], [{"mask": found, "confidence": torch.ones(1, 2)}], [{"mask": truth}])
