"""The losses (paper.md, sections 4.4 and 8)."""

import math

import pytest
import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from lightning_st.models import blocks
from lightning_st.models.losses import (
    BACKGROUND,
    IGNORED,
    focal_loss,
    huber_loss,
    pixel_loss,
    pixel_weights,
    stream_weights,
)


@pytest.mark.parametrize(
    ("logit", "positive", "negative"),
    [
        (0.0, 0.0612661, 0.1837984),
        (2.0, 0.00130595, 1.3186449),
        (-3.0, 0.7085766, 0.000376363),
        (-4.59512, 1.1340664, 7.53775e-6),
    ],
)
def test_focal_loss_of_one_logit(logit, positive, negative):
    x = torch.tensor([[[logit]]])
    assert focal_loss(x, torch.tensor([[0]]), 0.25, 1.5).item() == pytest.approx(positive, rel=1e-5)
    assert focal_loss(x, torch.tensor([[BACKGROUND]]), 0.25, 1.5).item() == pytest.approx(negative, rel=1e-5)
    assert focal_loss(x, torch.tensor([[IGNORED]]), 0.25, 1.5).item() == 0


def random_logits(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(IGNORED, 5, (3, 50), generator=generator)
    return (4 * torch.randn(3, 50, 5, generator=generator)).to(dtype).requires_grad_(), labels


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0, 0.7])
@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("elements", [2**18, 100])
def test_focal_loss_and_gradient_equal_torchvision(monkeypatch, alpha, gamma, elements):
    monkeypatch.setattr(blocks, "CPU_ELEMENTS", elements)
    logits, labels = random_logits()
    theirs = logits.detach().double().requires_grad_()
    targets = nn.functional.one_hot(labels.clamp(min=0), 5) * (labels >= 0).unsqueeze(-1)
    expected = sigmoid_focal_loss(theirs, targets.double(), alpha=alpha, gamma=gamma)
    expected = (expected * (labels != IGNORED).unsqueeze(-1)).sum(dim=(1, 2))
    loss = focal_loss(logits, labels, alpha, gamma)
    scales = torch.tensor([1.0, 0.5, -2.0])
    (loss * scales).sum().backward()
    (expected * scales).sum().backward()
    assert torch.allclose(loss.double(), expected, rtol=1e-5)
    assert torch.allclose(logits.grad.double(), theirs.grad, rtol=1e-4, atol=1e-6)


def test_gamma_zero_is_half_the_cross_entropy():
    logits, labels = random_logits()
    labels = labels.clamp(min=BACKGROUND)
    targets = (nn.functional.one_hot(labels.clamp(min=0), 5) * (labels >= 0).unsqueeze(-1)).float()
    expected = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=(1, 2)) / 2
    assert torch.allclose(focal_loss(logits, labels, alpha=0.5, gamma=0.0), expected)


def test_half_precision_logits_are_computed_on_in_float32():
    logits, labels = random_logits(torch.bfloat16)
    loss = focal_loss(logits, labels, 0.25, 1.5)
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert logits.grad.dtype == torch.bfloat16
    assert torch.equal(loss, focal_loss(logits.detach().float(), labels, 0.25, 1.5))


@pytest.mark.parametrize("logit", [-1000.0, -90.0, 30.0, 90.0, 1000.0])
def test_extreme_logits_stay_finite(logit):
    x = torch.full((1, 2, 2), logit, requires_grad=True)
    loss = focal_loss(x, torch.tensor([[0, BACKGROUND]]), 0.25, 1.5)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert x.grad.isfinite().all()


def test_a_second_backward_pass_is_refused():
    """The first one overwrites the saved gradient; a silent second one would square the scale."""
    logits, labels = random_logits()
    loss = focal_loss(logits, labels, 0.25, 1.5).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(("error", "loss"), [(0.05, 0.00125), (0.1, 0.005), (1.0, 0.095), (-1.0, 0.095)])
def test_huber_loss(error, loss):
    deltas = torch.tensor([[[error, 0.0, 0.0, 0.0]]], requires_grad=True)
    value = huber_loss(deltas, torch.zeros(1, 1, 4), torch.tensor([[True]]), delta=0.1)
    assert value.item() == pytest.approx(loss)
    value.sum().backward()
    assert deltas.grad[0, 0, 0].item() == pytest.approx(math.copysign(min(abs(error), 0.1), error))


def test_huber_loss_counts_positive_anchors_alone():
    deltas = torch.ones(2, 3, 4, requires_grad=True)
    value = huber_loss(deltas, torch.zeros(2, 3, 4), torch.tensor([[True, False, True], [False] * 3]), delta=0.1)
    assert value.tolist() == pytest.approx([8 * 0.095, 0])
    value.sum().backward()
    assert (deltas.grad != 0).any(dim=2).tolist() == [[True, False, True], [False] * 3]


def test_stream_weights_make_the_mean_the_loss_of_each_stream():
    positives = torch.tensor([4, 0, 7, 2, 1])
    pseudo = torch.tensor([False, True, False, True, True])
    sums = torch.tensor([10.0, 2.0, 3.0, 5.0, 7.0])
    losses = sums * stream_weights(positives, pseudo)
    assert losses[~pseudo].mean().item() == pytest.approx(13 / 12)
    assert losses[pseudo].mean().item() == pytest.approx(14 / 4)


def test_stream_weights_without_positives_or_without_a_stream():
    assert stream_weights(torch.tensor([0, 0]), torch.tensor([True, True])).tolist() == [2, 2]


def test_pixel_loss_by_hand():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).reshape(2, 2, 1, 1).expand(2, 2, 1, 3).requires_grad_()
    labels = torch.tensor([[[0, 1, 255]], [[255, 255, 255]]], dtype=torch.uint8)
    losses = pixel_loss(logits, labels)
    assert losses.tolist() == pytest.approx([math.log1p(math.exp(-2)) + math.log1p(math.exp(2)), 0])
    losses.sum().backward()
    assert logits.grad[0, :, 0, 2].tolist() == [0, 0]
    assert not logits.grad[1].any()


def test_pixel_loss_computes_on_half_precision_in_float32():
    logits = (50 * torch.randn(1, 4, 30, 30, generator=torch.Generator().manual_seed(0))).to(torch.bfloat16)
    labels = torch.zeros(1, 30, 30, dtype=torch.uint8)
    assert pixel_loss(logits, labels).dtype == torch.float32
    assert torch.equal(pixel_loss(logits, labels), pixel_loss(logits.float(), labels))


def test_pixel_weights_make_the_mean_the_loss_of_each_stream():
    pixels = torch.tensor([40, 0, 70, 20, 10])
    pseudo = torch.tensor([False, True, False, True, True])
    sums = torch.tensor([10.0, 0.0, 3.0, 5.0, 7.0])
    losses = sums * pixel_weights(pixels, pseudo)
    assert losses[~pseudo].mean().item() == pytest.approx(13 / 110)
    assert losses[pseudo].mean().item() == pytest.approx(12 / 30)


def test_pixel_weights_of_a_stream_without_pixels_are_finite():
    assert pixel_weights(torch.tensor([0, 0]), torch.tensor([True, True])).tolist() == [2, 2]


@pytest.mark.parametrize("elements", [2**18, 100])
def test_weights_and_unknown_classes_in_the_focal_loss(monkeypatch, elements):
    """Against a sum over every logit, written out: an anchor's weight is that of all its logits, and a class that is
    not known counts where it is the label and nowhere else."""
    monkeypatch.setattr(blocks, "CPU_ELEMENTS", elements)
    logits, labels = random_logits()
    generator = torch.Generator().manual_seed(1)
    weights = torch.rand(labels.shape, generator=generator)
    unknown = torch.tensor([[False] * 5, [True, False, True, False, False], [True] * 5])
    theirs = logits.detach().double().requires_grad_()
    targets = nn.functional.one_hot(labels.clamp(min=0), 5) * (labels >= 0).unsqueeze(-1)
    expected = sigmoid_focal_loss(theirs, targets.double(), alpha=0.25, gamma=1.5)
    counts = (labels != IGNORED).unsqueeze(-1) * weights.unsqueeze(-1) * ((targets == 1) | ~unknown.unsqueeze(1))
    expected = (expected * counts).sum(dim=(1, 2))
    loss = focal_loss(logits, labels, 0.25, 1.5, weights, unknown)
    loss.sum().backward()
    expected.sum().backward()
    assert torch.allclose(loss.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.allclose(logits.grad.double(), theirs.grad, rtol=1e-4, atol=1e-6)


def test_weights_of_one_and_no_unknown_class_change_no_bit():
    logits, labels = random_logits()
    plain, same = (logits.detach().clone().requires_grad_() for _ in range(2))
    loss = focal_loss(plain, labels, 0.25, 1.5)
    other = focal_loss(same, labels, 0.25, 1.5, torch.ones(labels.shape), torch.zeros(3, 5, dtype=torch.bool))
    (loss.sum() + other.sum()).backward()
    assert torch.equal(loss, other)
    assert torch.equal(plain.grad, same.grad)


def test_weights_and_unknown_classes_of_pixels_by_hand():
    logits = torch.tensor([2.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 1, 3).clone().requires_grad_()
    labels = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
    weights = torch.tensor([[[0.5, 1.0, 1.0]]])
    loss = pixel_loss(logits, labels, weights, torch.tensor([[False, False, True]]))
    # Without class 2 the softmax is over the logits 2 and 0.
    assert loss.item() == pytest.approx(0.5 * math.log1p(math.exp(-2)) + math.log1p(math.exp(2)))
    loss.sum().backward()
    assert logits.grad[0, 2].tolist() == [[0, 0, 0]]
    labelled = pixel_loss(logits, torch.full_like(labels, 2), None, torch.tensor([[False, False, True]]))
    assert labelled.item() == pytest.approx(pixel_loss(logits, torch.full_like(labels, 2)).item())


def test_pixels_of_which_no_class_is_known_have_finite_gradients():
    logits = torch.zeros(1, 2, 1, 2, requires_grad=True)
    labels = torch.tensor([[[255, 0]]], dtype=torch.uint8)
    pixel_loss(logits, labels, None, torch.ones(1, 2, dtype=torch.bool)).sum().backward()
    assert logits.grad.isfinite().all()
