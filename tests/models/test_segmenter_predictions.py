"""What a segmenter predicts: views that are averaged, and masks at the size of the originals."""

import pytest
import torch
from test_segmenter import make_images, make_lively, make_tiny
from torch import nn

from lightning_st.errors import ConfigError
from lightning_st.models import SemanticSegmenter
from lightning_st.models.images import views_at


def scores_of(model: SemanticSegmenter, *arguments, **options) -> torch.Tensor:
    return torch.stack([prediction["scores"] for prediction in model.predict(*arguments, **options)])


def test_predictions_are_logarithms_of_probabilities():
    model, images = make_lively().eval(), make_images()
    scores = scores_of(model, images)
    assert torch.allclose(scores, model(images).log_softmax(dim=1), atol=1e-5)
    assert torch.allclose(scores.exp().sum(dim=1), torch.ones(4, 16, 24), atol=1e-5)
    assert not scores.requires_grad
    assert torch.equal(scores, scores_of(model, images))


def test_views_are_averaged_as_probabilities():
    model, images = make_lively().eval(), make_images()
    options = [{"flip": flip, "scales": [scale]} for flip in (False, True) for scale in (1.0, 0.5, 1.75)]
    by_view = [scores_of(model, images, **option).exp() for option in options]
    joined = scores_of(model, images, flip=True, scales=[1.0, 0.5, 1.75]).exp()
    assert torch.allclose(joined, sum(by_view[3:]) / 3, atol=1e-5)
    unmirrored = scores_of(model, images, scales=[1.0, 0.5, 1.75]).exp()
    assert torch.allclose(unmirrored, sum(by_view[:3]) / 3, atol=1e-5)
    assert not torch.allclose(joined, unmirrored, atol=1e-3)


@pytest.mark.parametrize("scales", [[1.0], [1.0, 2.0]])
def test_flip_averaging_of_mirrored_images_is_mirrored(scales):
    model, images = make_lively().eval(), make_images()
    scores = scores_of(model, images, flip=True, scales=scales)
    mirrored = scores_of(model, images.flip(-1), flip=True, scales=scales)
    assert torch.allclose(mirrored.flip(-1), scores, atol=1e-4)
    assert not torch.allclose(scores_of(model, images, scales=scales), scores, atol=1e-2)


def test_mirrored_cells_stand_where_they_stood_when_the_canvas_is_padded():
    """A model that reports the brightness of a cell says the same of both views, up to the padding."""
    model = make_tiny(classes=2).eval()
    model._judge = lambda x: nn.functional.avg_pool2d(x, 4)[:, :2]
    images = make_images(1, 50, 70)
    plain, flipped = scores_of(model, images), scores_of(model, images, flip=True)
    assert plain.shape == (1, 2, 13, 18)
    assert torch.allclose(plain, flipped, atol=1e-5)


@pytest.mark.parametrize("scale", [2.0, 0.5, 1.3])
def test_another_scale_lands_on_the_same_cells(scale):
    """The brightness of a wide ramp of colour, seen at any scale, is where it was."""
    model = make_tiny(classes=2).eval()
    model._judge = lambda x: nn.functional.avg_pool2d(x, 4)[:, :2]
    ramp = torch.stack([torch.arange(0, 240, 2), torch.arange(240, 0, -2), torch.zeros(120)]).byte()
    images = ramp[None, :, None, :].expand(1, 3, 80, 120)
    plain, scaled = scores_of(model, images)[0], scores_of(model, images, scales=[scale])[0]
    assert plain.shape == scaled.shape == (2, 20, 30)
    slope = (plain[0, 10, 15] - plain[0, 10, 14]).abs()
    assert (plain - scaled)[..., 2:-2].abs().max() < 0.1 * slope


def test_restored_predictions_of_another_scale_agree_with_resized_images():
    """The images at 1.5 times the size, with scales that say so, give the same pixels of the original."""
    model, images = make_lively().eval(), make_images(2)
    (view,) = views_at(images, [1.5])
    sizes = torch.tensor([[64, 96]] * 2)
    large = model.restore(model.predict(view.images), torch.full((2, 2), 1.5), sizes)
    small = model.restore(model.predict(images, scales=[1.5]), torch.ones(2, 2), sizes)
    agreement = torch.stack([(a["mask"] == b["mask"]).float().mean() for a, b in zip(large, small, strict=True)])
    assert agreement.min() > 0.9


def test_no_images_have_no_predictions():
    assert make_tiny().eval().predict(make_images()[:0], flip=True, scales=[1.0, 1.5]) == []


def test_the_metric_takes_what_is_restored():
    model = make_lively().eval()
    found = model.restore(model.predict(make_images(2)), torch.full((2, 2), 0.5), torch.tensor([[128, 192], [99, 120]]))
    assert [prediction["mask"].shape for prediction in found] == [(128, 192), (99, 120)]
    metric = model.metric()
    metric.update([0, 1], found, [{"mask": prediction["mask"]} for prediction in found])
    assert metric.classes == model.classes
    assert metric.compute()[metric.primary] == 1


def test_impossible_scales_are_refused():
    with pytest.raises(ConfigError, match="Expected scales to be"):
        make_tiny().predict(make_images(1), scales=[])


def test_bfloat16_weights():
    model = make_lively().to(torch.bfloat16).eval()
    predictions = model.predict(make_images(), flip=True, scales=[1.0, 1.5])
    assert all(p["scores"].dtype == torch.float32 and p["scores"].isfinite().all() for p in predictions)
