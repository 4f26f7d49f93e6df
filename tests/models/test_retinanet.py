"""RetinaNet as a task (paper.md, sections 4 and 8)."""

import copy
import re

import helpers
import numpy as np
import pytest
import torch
from torch import nn

from lightning_st.errors import ConfigError
from lightning_st.models import RetinaNet
from lightning_st.models.boxes import encode
from lightning_st.models.images import views_at
from lightning_st.models.matching import match_anchors
from lightning_st.models.normalization import set_momentum
from lightning_st.types import BoxKind

TINY = {
    "backbone": "resnet10t",
    "backbone_options": {"channels": [8, 8, 16, 16], "stem_width": 8},
    "max_level": 5,
    "neck_width": 16,
    "head_width": 16,
    "head_depth": 1,
    "anchor_size": 2.0,
    "batch_norm_momentum": 0.1,
}


def make_tiny(classes: int = 3, **changes) -> RetinaNet:
    torch.manual_seed(0)
    return RetinaNet([f"class {i}" for i in range(classes)], **(TINY | changes))


def make_lively(**changes) -> RetinaNet:
    """A model whose predictions differ between images: fresh ones all say the same."""
    model = make_tiny(**changes)
    nn.init.normal_(model.head.class_predictor.weight, std=0.2)
    nn.init.normal_(model.head.box_predictor.weight, std=0.02)
    set_momentum(model, 1.0)
    with torch.no_grad():
        model.train()(make_images())  # evaluation mode normalises as training mode did
    set_momentum(model, 0.1)
    return model


def make_images(count: int = 4, height: int = 64, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def make_batch(image_count: int = 4, row_count: int = 4, **changes):
    """Two boxes in the first image, one in the second, none in the others; padded rows."""
    boxes, kinds = torch.zeros(image_count, row_count, 4), torch.zeros(image_count, row_count, dtype=torch.uint8)
    labels = torch.full((image_count, row_count), -1)
    for image, row, label, box in [(0, 0, 2, [8, 8, 40, 40]), (0, 1, 0, [50, 10, 90, 60]), (1, 0, 1, [20, 4, 36, 20])]:
        if image < image_count and row < row_count:
            boxes[image, row], labels[image, row] = torch.tensor(box, dtype=torch.float32), label
            kinds[image, row] = BoxKind.OBJECT
    batch = {
        "images": make_images(image_count),
        "boxes": boxes,
        "labels": labels,
        "kinds": kinds,
        "pseudo": torch.zeros(image_count, dtype=torch.bool),
        "rows": torch.arange(image_count),
        "positions": torch.arange(image_count),
        "bad_images": [],
    }
    return batch | changes


@pytest.mark.parametrize(
    ("backbone", "count"), [("resnet50", 34_091_159), ("resnet101", 53_083_287), ("resnet152", 68_726_935)]
)
def test_parameter_counts_of_the_published_models(backbone, count):
    with torch.device("meta"):
        model = RetinaNet([str(i) for i in range(91)], backbone)
    assert sum(p.numel() for p in model.parameters()) == count
    assert sum(p.numel() for p in model.head.parameters()) == 6_711_895


def test_a_fresh_model_on_an_image_without_boxes():
    model = make_tiny(classes=91, max_level=7, anchor_size=4.0)
    batch = make_batch(image_count=1, row_count=0, images=torch.zeros(1, 3, 640, 640, dtype=torch.uint8))
    loss, parts = model.losses(batch)
    assert loss.item() == pytest.approx(52.63, abs=0.01)
    assert parts["box_loss"].item() == 0


def test_initialisation():
    with torch.device("cpu"):
        model = make_tiny(head_width=256, neck_width=256)
    tower = model.head.class_tower.convolutions[0]
    assert tower.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert model.head.box_predictor.weight.std().item() == pytest.approx(1e-5, rel=0.05)
    assert model.head.class_predictor.bias.unique().tolist() == pytest.approx([-4.59512])
    limit = (6 / (256 * 9 * 2)) ** 0.5  # Glorot uniform
    assert 0.99 * limit < model.neck.output[0].weight.abs().max().item() <= limit
    biases = [model.neck.output[0].bias, model.neck.lateral[0].bias, tower.bias, model.head.box_predictor.bias]
    assert not any(bias.any() for bias in biases)
    assert {norm.eps for norm in [*model.neck.norm, *model.head.box_tower.norms[0]]} == {1e-4}
    assert {m.momentum for m in RetinaNet(["a"], "resnet10t").modules() if isinstance(m, nn.BatchNorm2d)} == {0.003}


def test_losses_equal_the_papers_formula():
    """One image and one anchor at a time, in plain Python, for each stream by itself."""
    model = make_lively()
    batch = make_batch(pseudo=torch.tensor([False, True, True, False]))
    losses, parts = model.losses(batch)
    logits, deltas = model(batch["images"])
    anchors = model.anchors.boxes(64, 96, torch.device("cpu"))
    matched, _ = match_anchors(anchors, batch["boxes"], batch["kinds"])
    for stream in (False, True):
        class_sum, box_sum, positives = 0.0, 0.0, 0
        members = [image for image in range(4) if bool(batch["pseudo"][image]) == stream]
        for image in members:
            targets = torch.zeros_like(logits[image])
            for anchor in (matched[image] < 4).nonzero().flatten().tolist():
                row = matched[image, anchor]
                targets[anchor, batch["labels"][image, row]] = 1
                error = (deltas[image, anchor] - encode(batch["boxes"][image, row], anchors[anchor])).abs()
                box_sum += torch.where(error <= 0.1, error**2 / 2, 0.1 * error - 0.005).sum().item()
                positives += 1
            p = logits[image].sigmoid()
            positive_term = 0.25 * (1 - p) ** 1.5 * -p.log() * targets
            class_sum += (positive_term + 0.75 * p**1.5 * -(1 - p).log() * (1 - targets)).sum().item()
        expected_class, expected_box = class_sum / (positives + 1), 50 * box_sum / (4 * (positives + 1))
        assert positives > 0
        assert parts["class_loss"][members].mean().item() == pytest.approx(expected_class, rel=1e-4)
        assert parts["box_loss"][members].mean().item() == pytest.approx(expected_box, rel=1e-4)
        assert losses[members].mean().item() == pytest.approx(expected_class + expected_box, rel=1e-4)


@pytest.mark.parametrize("row_count", [0, 1, 4])
@pytest.mark.parametrize("pseudo", [False, True])
def test_without_boxes_every_parameter_still_gets_a_gradient(row_count, pseudo):
    model = make_tiny()
    batch = make_batch(2, row_count, pseudo=torch.full((2,), pseudo))
    batch["kinds"] = torch.zeros_like(batch["kinds"])
    losses, _ = model.losses(batch)
    losses.mean().backward()
    assert losses.shape == (2,)
    assert losses.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert not model.head.box_predictor.weight.grad.any()


def test_padding_rows_do_not_matter():
    model = make_lively().eval()
    short = make_batch(row_count=2)
    long = make_batch(row_count=32)
    long["boxes"][:, 10:] = torch.tensor([30.0, 30.0, 62.0, 62.0])
    long["labels"][:, 10:] = 1
    assert torch.equal(model.losses(short)[0], model.losses(long)[0])


def test_crowd_and_unsure_boxes_spare_the_background():
    model = make_lively().eval()
    plain = model.losses(make_batch())[1]
    for kind in (BoxKind.CROWD, BoxKind.UNSURE):
        batch = make_batch()
        batch["boxes"][2, 0], batch["kinds"][2, 0] = torch.tensor([16.0, 16.0, 64.0, 60.0]), int(kind)
        batch["labels"][2, 0] = 1
        parts = model.losses(batch)[1]
        assert parts["class_loss"][2] < plain["class_loss"][2]
        # No positive more: the other images' losses have the same normaliser.
        assert torch.equal(parts["class_loss"][[0, 1, 3]], plain["class_loss"][[0, 1, 3]])
        assert torch.equal(parts["box_loss"], plain["box_loss"])


def test_the_weight_of_a_box_is_that_of_its_anchors():
    model, weights = make_lively().eval(), torch.ones(4, 4)
    _, plain = model.losses(make_batch())
    _, same = model.losses(make_batch(weights=weights))
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    weights[0, :2] = 0.25  # both boxes of the first image
    _, less = model.losses(make_batch(weights=weights))
    assert less["box_loss"][0].item() == pytest.approx(0.25 * plain["box_loss"][0].item(), rel=1e-5)
    assert less["class_loss"][0] < plain["class_loss"][0]
    for name in plain:
        assert torch.equal(less[name][1:], plain[name][1:])


def test_a_class_that_is_not_known_is_learnt_where_it_is_labelled_and_nowhere_else():
    model = make_lively().eval()
    unknown = torch.zeros(4, 3, dtype=torch.bool)
    unknown[:2, 1] = True  # labelled in the second image, not in the first
    images = model.normalise(make_batch()["images"])
    logits, deltas = (x.detach().requires_grad_() for x in model._judge(images))
    losses, _ = model.losses_of(logits, deltas, model._canvas_anchors(images), make_batch(unknown_classes=unknown))
    losses.sum().backward()
    assert not logits.grad[0, :, 1].any()
    assert (logits.grad[1, :, 1] <= 0).all()
    assert (logits.grad[1, :, 1] < 0).any()
    assert (logits.grad[2:, :, 1] > 0).all()
    assert (logits.grad[0, :, 0] > 0).any()


def test_losses_are_float32_under_autocast():
    model = make_lively()
    batch = make_batch()
    plain, _ = model.losses(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, parts = model.losses(batch)
    assert {losses.dtype, *(part.dtype for part in parts.values())} == {torch.float32}
    assert torch.allclose(losses, plain, rtol=0.05)


@pytest.mark.slow
def test_losses_compile_into_one_graph():
    model = make_lively()
    batch = make_batch()
    anchors = model.anchors.boxes(64, 96, torch.device("cpu"))
    logits, deltas = (output.detach().requires_grad_() for output in model(batch["images"]))
    expected, _ = model.losses_of(logits, deltas, anchors, batch)
    expected_gradient = torch.autograd.grad(expected.sum(), logits)[0]
    losses, _ = torch.compile(model.losses_of, backend="aot_eager", fullgraph=True)(logits, deltas, anchors, batch)
    assert torch.allclose(losses, expected)
    assert torch.allclose(torch.autograd.grad(losses.sum(), logits)[0], expected_gradient)


@pytest.mark.slow
def test_normalisation_and_anchors_compile_for_changing_canvases():
    model = make_tiny()

    def start(images):
        normalised = model.normalise(images)
        return normalised, model.anchors.boxes(*normalised.shape[-2:], images.device)

    compiled = torch.compile(start, backend="aot_eager", fullgraph=True)
    for images in (make_images(1), make_images(1, height=128, width=70)):
        assert all(torch.equal(*pair) for pair in zip(compiled(images), start(images), strict=True))


def same(first, second, tolerance: float = 0.0) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a["labels"], b["labels"])
        and torch.allclose(a["scores"], b["scores"], rtol=0, atol=tolerance)
        and torch.allclose(a["boxes"], b["boxes"], rtol=0, atol=100 * tolerance)
        for a, b in zip(first, second, strict=True)
    )


def test_predictions_are_sorted_inside_the_image_and_repeatable():
    model = make_lively(max_detections=30).eval()
    images = make_images()
    predictions = model.predict(images)
    assert len(predictions) == 4
    for prediction in predictions:
        assert 0 < len(prediction["scores"]) <= 30
        assert (prediction["scores"].diff() <= 0).all()
        assert prediction["scores"].min() > 0.05
        assert prediction["boxes"].min() >= 0
        assert prediction["boxes"][:, 2].max() <= 96
        assert prediction["boxes"][:, 3].max() <= 64
    assert same(predictions, model.predict(images))
    assert not predictions[0]["scores"].requires_grad


def test_a_fresh_model_predicts_nothing():
    predictions = make_tiny().eval().predict(make_images(2))
    assert [prediction["boxes"].shape for prediction in predictions] == [(0, 4), (0, 4)]


def test_flip_averaging_of_mirrored_images_is_mirrored():
    model = make_lively(max_detections=20).eval()
    images = make_images()
    mirrored = model.predict(images.flip(-1), flip=True)
    for prediction in mirrored:
        left, top, right, bottom = prediction["boxes"].unbind(1)
        prediction["boxes"] = torch.stack([96 - right, top, 96 - left, bottom], dim=1)
    predictions = model.predict(images, flip=True)
    assert same(predictions, mirrored, tolerance=1e-5)
    assert not same(predictions, model.predict(images), tolerance=1e-3)


def test_only_canvases_that_are_mirrored_end_with_every_map(monkeypatch):
    """At 64 x 96 pixels the map of stride 128 reaches beyond the image, where its mirror image would begin."""
    model, canvases = make_lively(max_level=7).eval(), []
    judge = model._judge
    monkeypatch.setattr(model, "_judge", lambda images: canvases.append(tuple(images.shape[-2:])) or judge(images))
    model.predict(make_images())
    model.predict(make_images(), flip=True)
    assert canvases == [(64, 96), (128, 128), (128, 128)]


@pytest.mark.parametrize("scale", [2.0, 0.75, 1.3])
def test_another_scale_predicts_what_resized_images_do(scale):
    model = make_lively(max_detections=20).eval()
    images = make_images(2, height=60, width=90)
    (view,) = views_at(images, [scale])
    expected = model.predict(view.images)
    for prediction in expected:
        prediction["boxes"] = prediction["boxes"] / torch.tensor(
            [view.images.shape[-1] / 90, view.images.shape[-2] / 60] * 2
        )
    assert all(len(prediction["scores"]) for prediction in expected)
    assert same(model.predict(images, scales=[scale]), expected, tolerance=1e-5)


def test_candidates_of_all_scales_are_joined():
    """With no suppression and no limit, the union of what each scale finds by itself."""
    model = make_lively(nms_iou=1.0, max_detections=10**6, pre_nms_count=10**6).eval()
    images = make_images(2)
    alone = [model.predict(images, flip=True, scales=[scale]) for scale in (1.0, 1.5)]
    for joined, *parts in zip(model.predict(images, flip=True, scales=[1.0, 1.5]), *alone, strict=True):
        scores = torch.cat([part["scores"] for part in parts])
        order = scores.argsort(descending=True, stable=True)
        assert len(order) == len(joined["scores"])
        assert torch.equal(joined["scores"], scores[order])
        assert torch.equal(joined["boxes"], torch.cat([part["boxes"] for part in parts])[order])


def test_canvases_of_any_size_are_padded_inside():
    model = make_lively().eval()
    images = make_images(2, height=50, width=70)
    assert model(images)[0].shape[1] == len(model.anchors.boxes(64, 96, torch.device("cpu")))
    for flip in (False, True):
        predictions = model.predict(images, flip=flip)
        assert all(p["boxes"][:, 2].max() <= 70 and p["boxes"][:, 3].max() <= 50 for p in predictions)
    # The padding is the mean colour after normalisation, exactly.
    padded = torch.zeros(2, 3, 64, 96)
    padded[..., :50, :70] = model.normalise(images)[..., :50, :70]
    assert torch.equal(model.normalise(images), padded)


@pytest.mark.parametrize(
    ("changes", "canvas"),
    [
        ({"max_level": 7}, (64, 96)),  # the coarsest map that an FPN adds to another has a stride of 32
        ({"backbone": "spinenet-49s", "backbone_options": None, "neck": "identity", "max_level": 7}, (128, 128)),
        ({"neck": "nas-fpn", "neck_options": {"repeats": 1}, "max_level": 7}, (128, 128)),
    ],
)
def test_canvases_are_no_larger_than_the_neck_asks(changes, canvas):
    model = make_tiny(**changes).eval()
    images = make_images(1, height=50, width=70)
    assert model.normalise(images).shape[-2:] == canvas
    logits, deltas = model(images)
    anchors = model.anchors.boxes(*canvas, torch.device("cpu"))
    assert logits.shape[:2] == deltas.shape[:2] == (1, len(anchors))


def test_images_are_normalised_from_uint8():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).repeat(3, 1)[None, :, None, :]
    normalised = make_tiny().normalise(pixels)[0, :, 0, :2]
    assert torch.allclose(normalised[:, 0], torch.tensor([-2.1179, -2.0357, -1.8044]), atol=1e-4)
    assert torch.allclose(normalised[:, 1], torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-4)


def test_restore():
    model = make_tiny()
    boxes = torch.tensor([[10.0, 20.0, 30.0, 40.0], [90.0, 0.0, 96.0, 64.0], [0.0, 0.0, 96.0, 64.0]])
    prediction = {"boxes": boxes, "labels": torch.tensor([2, 1, 0]), "scores": torch.tensor([0.9, 0.8, 0.7])}
    scales, sizes = torch.tensor([[0.5, 0.25], [1.0, 1.0]]), torch.tensor([[200, 170], [64, 96]])
    first, second = model.restore([prediction, prediction], scales, sizes)
    assert first["boxes"].tolist() == [[20, 80, 60, 160], [0, 0, 170, 200]]  # the second box lies in the padding
    assert first["labels"].tolist() == [2, 0]
    assert first["scores"].tolist() == pytest.approx([0.9, 0.7])
    assert same([second], [prediction])


def test_the_metric_has_the_classes_and_the_limit():
    metric = make_tiny(max_detections=7).metric()
    assert metric.classes == ("class 0", "class 1", "class 2")
    assert metric.max_detections == 7


def test_frozen_batch_norm_stays_as_it_is():
    model = make_lively(batch_norm="frozen")
    before = {name: value.clone() for name, value in model.state_dict().items() if "running" in name or "num_b" in name}
    holder = nn.Sequential(model).train()
    losses, _ = holder[0].losses(make_batch())
    losses.mean().backward()
    assert model.training
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert model.neck.norm[0].weight.grad.any()
    # Its losses are those of evaluation mode, and so do not depend on the other images of the batch.
    assert torch.allclose(losses, model.eval().losses(make_batch())[0])


def test_copies_and_state_dicts_predict_the_same():
    model = make_lively().eval()
    expected = model.predict(make_images())
    assert same(copy.deepcopy(model).predict(make_images()), expected)
    other = make_tiny(batch_norm="sync")  # other layers, the same names
    other.load_state_dict(model.state_dict())
    assert same(other.eval().predict(make_images()), expected)


def test_bfloat16_weights():
    model = make_lively().to(torch.bfloat16)
    losses, _ = model.losses(make_batch())
    assert losses.dtype == torch.float32
    assert all(p["scores"].dtype == torch.float32 for p in model.eval().predict(make_images()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 0}, "at least one name"),
        ({"neck": "fnp"}, "Unknown neck 'fnp'. Did you mean 'fpn'?"),
        ({"min_level": 5, "max_level": 4}, "min_level and max_level"),
        ({"negative_iou": 0.6}, "negative_iou and positive_iou"),
        ({"activation": "gelu"}, "Unknown activation 'gelu'"),
        ({"batch_norm": "synced"}, "Unknown batch_norm 'synced'"),
        ({"neck_options": {"repeats": 3}}, "neck 'fpn' cannot be made with neck_options {'repeats': 3}"),
        ({"focal_alpha": 2.5}, "Expected focal_alpha to be 0 to 1, got 2.5"),
        ({"nms_iou": -0.1}, "Expected nms_iou to be 0 to 1, got -0.1"),
        ({"anchor_size": 0.0}, "Expected anchor_size to be above 0, got 0.0"),
        ({"aspect_ratios": [1.0, -2.0]}, "Expected aspect_ratios to be above 0, each"),
        ({"aspect_ratios": []}, "Expected aspect_ratios to be above 0, each"),
        ({"head_depth": -1}, "Expected head_depth to be at least 0, got -1"),
        ({"max_detections": 0}, "Expected max_detections to be at least 1, got 0"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_tiny(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_level": 7},
        {"min_level": 2, "max_level": 4},
        {"head_depth": 0},
        {"activation": "swish", "head_depth": 3, "head_width": 24},
        {"scales_per_octave": 1, "aspect_ratios": [1.0]},
    ],
)
def test_other_shapes_train_and_predict(changes):
    model = make_lively(**changes)
    model.losses(make_batch())[0].mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert len(model.eval().predict(make_images())) == 4


class Projections(nn.Module):
    """An own neck: no pyramid, and an option of its own."""

    def __init__(self, levels, channels, max_level, width, kernel=1):
        super().__init__()
        self.width = width
        sizes = [(count, width, kernel) for count in channels]
        self.convolutions = nn.ModuleList(nn.Conv2d(*size, padding=kernel // 2) for size in sizes)
        assert levels[-1] == max_level

    def forward(self, features):
        return [convolve(x) for convolve, x in zip(self.convolutions, features, strict=True)]


@pytest.mark.parametrize("neck", [Projections, f"{__name__}.Projections"], ids=["callable", "import path"])
def test_own_neck_and_its_options(neck):
    model = make_lively(neck=neck, neck_options={"kernel": 3})
    assert type(model.neck).__name__ == "Projections"
    assert model.neck.convolutions[0].kernel_size == (3, 3)
    assert model.losses(make_batch())[0].isfinite().all()


def test_no_images_have_no_predictions():
    assert make_lively().eval().predict(make_images()[:0], flip=True, scales=[1.0, 1.5]) == []


def test_config_files_can_name_every_argument():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_subclass_arguments(RetinaNet, "task", instantiate=True)
    arguments = {"classes": ["cat"], **TINY, "pretrained": False, "aspect_ratios": [1.0], "batch_norm": "frozen"}
    config = parser.parse_object({"task": {"class_path": "lightning_st.models.RetinaNet", "init_args": arguments}})
    # `instantiate_classes` is its name before jsonargparse 4.49.
    model = getattr(parser, "instantiate", parser.instantiate_classes)(config).task
    assert isinstance(model, RetinaNet)
    assert model.batch_norm == "frozen"
    assert model.anchors.per_location == 3


def test_learns_a_few_images():
    """Coloured shapes on noise: from nothing to nearly all of them in seconds."""
    generator = np.random.default_rng(0)
    pictures = [helpers.make_picture(generator, (64, 64), ("square", "disc"), max_shapes=2) for _ in range(6)]
    batch = make_batch(6, 4, images=torch.stack([torch.from_numpy(p).permute(2, 0, 1) for p, _ in pictures]))
    for name, value in (("kinds", 0), ("labels", -1), ("boxes", 0)):
        batch[name].fill_(value)
    targets = []
    for image, (_, shapes) in enumerate(pictures):
        for row, (label, box) in enumerate(shapes):
            batch["boxes"][image, row], batch["labels"][image, row] = torch.tensor(box, dtype=torch.float32), label
            batch["kinds"][image, row] = BoxKind.OBJECT
        boxes, labels = batch["boxes"][image, : len(shapes)], batch["labels"][image, : len(shapes)]
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        targets.append(
            {"boxes": boxes, "labels": labels, "crowd": torch.zeros(len(boxes), dtype=torch.bool), "areas": areas}
        )
    model = make_tiny(classes=2, neck_width=32, head_width=32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=120)
    for _ in range(120):
        optimizer.zero_grad()
        model.losses(batch)[0].mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        scheduler.step()
    metric = model.metric()
    metric.update(range(6), model.eval().predict(batch["images"]), targets)
    assert metric.compute()["AP50"] > 0.9
