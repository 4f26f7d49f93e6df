"""Classification of whole images: the vector of an image, its loss, its predictions, and how often it is right."""

import math

import helpers
import numpy as np
import pytest
import torch
from torch import nn

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError
from lightning_st.models import Accuracy, ImageClassifier
from lightning_st.models.pooling import ImagePooling

TINY = {"backbone": "resnet10t", "backbone_options": {"channels": [8, 8, 16, 16], "stem_width": 8}}


def make_classifier(classes: int = 3, **changes) -> ImageClassifier:
    torch.manual_seed(0)
    return ImageClassifier([f"class {i}" for i in range(classes)], **(TINY | changes))


def make_batch(labels):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (len(labels), 3, 64, 96), generator=generator, dtype=torch.uint8)
    return {"images": images, "image_labels": torch.tensor(labels)}


def test_it_learns_two_classes(tmp_path):
    folder = helpers.write_class_folders(tmp_path / "train", 8)
    held_out = helpers.write_class_folders(tmp_path / "val", 8, seed=1)
    data = SelfTrainingDataModule(
        labeled={"images": str(folder)}, val={"images": str(held_out)}, target="classes", seed=0,
        image_size=64, batch_size=8, num_workers=0, epoch_batches=40, augment_options={"crop_area": [0.5, 1.0]},
    )  # fmt: skip
    model = make_classifier(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    for batch in data.train_dataloader():
        losses, _ = model.losses(batch)
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
    metric = model.eval().metric()
    for batch in data.val_dataloader():
        metric.update(batch["rows"].tolist(), model.predict(batch["images"]), batch["targets"])
    assert metric.compute()["top1"] > 0.9


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy(smoothing):
    model, batch = make_classifier(label_smoothing=smoothing).eval(), make_batch([0, 2, 1, -1])
    losses, parts = model.losses(batch)
    logits = model(batch["images"]).detach().double().numpy()
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = np.full((4, 3), smoothing / 3) + (1 - smoothing) * np.eye(3)[[0, 2, 1, 0]]
    wanted = -(targets * log).sum(axis=1) * [1, 1, 1, 0]  # of the last image nothing is known
    np.testing.assert_allclose(losses.detach().numpy(), wanted, rtol=1e-5)
    assert parts["accuracy"].tolist() == (logits.argmax(axis=1) == [0, 2, 1, -1]).astype(float).tolist()


def test_predictions_are_averaged_over_mirrors_and_sizes():
    model, images = make_classifier().eval(), make_batch([0, 1])["images"]
    plain = torch.stack([each["probabilities"] for each in model.predict(images)])
    torch.testing.assert_close(plain, model(images).softmax(1).detach())
    mirrored = model(images.flip(-1)).softmax(1).detach()
    both = torch.stack([each["probabilities"] for each in model.predict(images, flip=True)])
    torch.testing.assert_close(both, (plain + mirrored) / 2)
    sizes = torch.stack([each["probabilities"] for each in model.predict(images, scales=(1.0, 0.5))])
    torch.testing.assert_close(sizes.sum(dim=1), torch.ones(2))
    assert not torch.allclose(sizes, plain)


def test_pooling_averages_the_coarsest_map_or_all_of_one_width():
    maps = [torch.randn(2, 8, 6, 4), torch.randn(2, 8, 3, 2)]
    joined = ImagePooling((3, 4), (8, 8))(maps)
    # SpineNet's authors enlarge each map to the finest one's size, average the maps, then the places.
    enlarged = nn.functional.interpolate(maps[1], size=(6, 4), mode="nearest")
    torch.testing.assert_close(joined, ((maps[0] + enlarged) / 2).mean(dim=(2, 3)))
    coarsest = ImagePooling((3, 4), (4, 8))
    torch.testing.assert_close(coarsest(maps), maps[1].mean(dim=(2, 3)))
    assert coarsest.width == 8


@pytest.mark.parametrize("changes", [TINY, {"backbone": "spinenet-49s", "backbone_options": {"drop_rate": 0.0}}])
def test_every_weight_learns(changes):
    model, batch = make_classifier(**changes), make_batch([0, 1])
    model.losses(batch)[0].mean().backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing to be at least 0 and below 1"),
        ({"dropout": -0.1}, "dropout to be at least 0 and below 1"),
        ({"backbone": "resnet10x"}, "Unknown backbone 'resnet10x'"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_classifier(**changes)


def judged(probabilities, labels, classes=6):
    metric = Accuracy([f"c{i}" for i in range(classes)])
    predictions = [{"probabilities": torch.tensor(each)} for each in probabilities]
    metric.update(range(len(labels)), predictions, [{"label": torch.tensor(label)} for label in labels])
    return metric


def test_accuracy():
    order = [0.3, 0.25, 0.2, 0.12, 0.08, 0.05]
    numbers = judged([order] * 5, [0, 4, 5, 0, -1]).compute()
    assert numbers["top1"] == 0.5
    assert numbers["top5"] == 0.75
    assert (numbers["top1/c0"], numbers["top1/c4"]) == (1.0, 0.0)
    assert math.isnan(numbers["top1/c1"])
    assert "top5" not in judged([[0.5, 0.5]], [0], classes=2).compute()


@pytest.mark.parametrize("value", [1 / 6, float("nan")])
def test_who_says_the_same_of_all_classes_knows_none(value):
    numbers = judged([[value] * 6] * 2, [0, 5]).compute()
    assert (numbers["top1"], numbers["top5"]) == (0.0, 0.0)


def test_accuracies_of_ranks_are_merged_without_repetition():
    first, second = judged([[0.9, 0.1], [0.9, 0.1]], [0, 1], 2), judged([[0.1, 0.9]], [0], 2)
    whole = Accuracy(["c0", "c1"])
    whole.merge([first.state(), {7: second.state()[0]}, {1: first.state()[1]}])
    assert whole.compute()["top1"] == pytest.approx(1 / 3)
    whole.reset()
    assert math.isnan(whole.compute()["top1"])
