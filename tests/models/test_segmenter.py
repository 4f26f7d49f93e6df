"""The segmenter as a task (paper.md, sections 6 and 8)."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from lightning_st.errors import ConfigError
from lightning_st.models import SemanticSegmenter
from lightning_st.models.normalization import set_momentum

TINY = {
    "backbone": "resnet10t",
    "backbone_options": {"channels": [8, 8, 16, 16], "stem_width": 8},
    "neck": "fpn",
    "max_level": 5,
    "neck_width": 16,
    "head_width": 16,
    "head_depth": 1,
    "batch_norm_momentum": 0.1,
}


def make_tiny(classes: int = 3, **changes) -> SemanticSegmenter:
    torch.manual_seed(0)
    return SemanticSegmenter([f"class {i}" for i in range(classes)], **(TINY | changes))


def make_lively(**changes) -> SemanticSegmenter:
    """A model whose predictions differ between pixels: fresh ones all say nearly the same."""
    model = make_tiny(**changes)
    nn.init.normal_(model.head.predictor.weight, std=1.0)
    set_momentum(model, 1.0)
    with torch.no_grad():
        model.train()(make_images())  # evaluation mode normalises as training mode did
    set_momentum(model, 0.1)
    return model


def make_images(count: int = 4, height: int = 64, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def make_batch(count: int = 4, height: int = 64, width: int = 96, **changes):
    """Random classes; a third of the pixels is ignored, all of the last image's left half."""
    generator = torch.Generator().manual_seed(2)
    masks = torch.randint(0, 3, (count, height, width), generator=generator, dtype=torch.uint8)
    masks[torch.rand(masks.shape, generator=generator) < 1 / 3] = 255
    masks[-1, :, : width // 2] = 255
    pseudo = torch.zeros(count, dtype=torch.bool)
    return {"images": make_images(count, height, width), "masks": masks, "pseudo": pseudo} | changes


def test_initialisation():
    model = make_tiny(head_width=256, neck_width=256, head_depth=3, classes=64)
    convolutions = [module for module in model.head.modules() if isinstance(module, nn.Conv2d)]
    assert [tuple(module.kernel_size) for module in convolutions] == [(3, 3)] * 3 + [(1, 1)]
    for convolution in convolutions:
        assert convolution.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert not convolution.bias.any()
    assert {m.eps for m in model.head.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    assert {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_logits_have_a_stride_of_four():
    model = make_tiny()
    assert model(make_images(2)).shape == (2, 3, 16, 24)
    assert model(make_images(2, 50, 70)).shape == (2, 3, 16, 24)  # padded to 64 x 96
    assert model.target == "masks"


def test_every_level_is_resized_bilinearly_and_summed():
    model = make_tiny(head_depth=0)
    maps = [torch.randn(1, 16, 8 // 2**i, 12 // 2**i) for i in range(3)]
    fused = sum(nn.functional.interpolate(x, (16, 24), mode="bilinear", align_corners=False) for x in maps)
    assert torch.allclose(model.head(maps), model.head.predictor(fused), atol=1e-6)


@pytest.mark.parametrize("full_size", [False, True])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 71)])
def test_losses_equal_the_papers_formula(full_size, height, width):
    """One pixel at a time, in numpy, for each stream by itself."""
    model = make_lively(full_size_loss=full_size).eval()
    batch = make_batch(height=height, width=width, pseudo=torch.tensor([False, True, True, False]))
    losses, parts = model.losses(batch)
    logits = model(batch["images"])
    if full_size:
        logits = nn.functional.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
    logits, masks = logits.detach().double().numpy(), batch["masks"].numpy()
    step, first = (1, 0) if full_size else (4, 2)
    for stream in (False, True):
        members = [image for image in range(4) if bool(batch["pseudo"][image]) == stream]
        total, count = 0.0, 0
        for image in members:
            for row in range(first, height, step):
                for column in range(first, width, step):
                    label = masks[image, row, column]
                    if label != 255:
                        x = logits[image, :, row // step, column // step]
                        total += np.log(np.exp(x).sum()) - x[label]
                        count += 1
        assert count > 100
        assert losses[members].mean().item() == pytest.approx(total / count, rel=1e-5)
    assert torch.equal(parts["pixel_loss"], losses)
    assert not parts["pixel_loss"].requires_grad


def test_a_fresh_model_loses_the_logarithm_of_the_classes():
    assert make_tiny().losses(make_batch())[0].mean().item() == pytest.approx(np.log(3), abs=0.02)


@pytest.mark.parametrize("full_size", [False, True])
def test_the_loss_looks_where_the_cells_lie(full_size):
    """Only the pixels of one cell are labelled: only its logits, or those around them, get a gradient."""
    model = make_lively(full_size_loss=full_size)
    masks = torch.full((1, 50, 70), 255, dtype=torch.uint8)
    masks[0, 20:24, 40:44] = 1
    logits = torch.zeros(1, 3, 16, 24, requires_grad=True)
    model.losses_of(logits, {"masks": masks, "pseudo": torch.tensor([False])})[0].sum().backward()
    rows, columns = logits.grad.abs().sum(dim=(0, 1)).nonzero().unbind(1)
    assert set(rows.tolist()) == ({4, 5, 6} if full_size else {5})
    assert set(columns.tolist()) == ({9, 10, 11} if full_size else {10})
    weights = logits.grad.abs().sum(dim=(0, 1))
    assert weights[5, 10] == weights.max()
    assert torch.allclose(weights[5, 9], weights[5, 11])


def test_images_without_a_label_have_no_loss_and_stay_in_the_graph():
    model = make_tiny()
    batch = make_batch(pseudo=torch.tensor([False, False, True, True]))
    batch["masks"][2:] = 255
    losses, _ = model.losses(batch)
    assert losses[2:].tolist() == [0, 0]
    assert (losses[:2] > 0).all()
    losses[2:].mean().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_an_ignored_image_leaves_the_mean_of_its_stream():
    model = make_lively().eval()
    batch = make_batch()
    batch["masks"][3] = 255
    fewer = {key: value[:3] for key, value in batch.items()}
    assert model.losses(batch)[0].mean().item() == pytest.approx(model.losses(fewer)[0].mean().item(), rel=1e-6)


def test_streams_do_not_see_each_other():
    model = make_lively().eval()
    batch = make_batch(pseudo=torch.tensor([False, True, False, True]))
    losses = model.losses(batch)[0]
    batch["masks"][1::2] = torch.where(torch.rand(2, 64, 96) < 0.9, 255, 0)
    changed = model.losses(batch)[0]
    assert torch.equal(changed[::2], losses[::2])
    assert not torch.allclose(changed[1::2], losses[1::2])


def test_losses_are_float32_under_autocast():
    model = make_lively()
    batch = make_batch()
    plain, _ = model.losses(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, parts = model.losses(batch)
    losses.mean().backward()
    assert {losses.dtype, parts["pixel_loss"].dtype} == {torch.float32}
    assert torch.allclose(losses, plain, rtol=0.05)
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_bfloat16_weights():
    model = make_lively().to(torch.bfloat16)
    assert model.losses(make_batch())[0].dtype == torch.float32


def test_frozen_batch_norm_stays_as_it_is():
    model = make_lively(batch_norm="frozen").train()
    before = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    losses, _ = model.losses(make_batch())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert torch.allclose(losses, model.eval().losses(make_batch())[0])


def test_state_dicts_of_all_modes_have_the_same_names():
    model, other = make_lively().eval(), make_tiny(batch_norm="sync")
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(make_images()), model(make_images()))
    assert not any("normalise" in name for name in model.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 0}, "at least one name"),
        ({"classes": 256}, "Expected the number of classes to be at most 255"),
        ({"min_level": 1}, "Expected min_level to be at least 2, got 1"),
        ({"min_level": 5, "max_level": 4}, "min_level and max_level"),
        ({"neck": "fnp"}, "Unknown neck 'fnp'. Did you mean 'fpn'?"),
        ({"activation": "gelu"}, "Unknown activation 'gelu'"),
        ({"batch_norm": "synced"}, "Unknown batch_norm 'synced'"),
        ({"batch_norm_momentum": 2}, "Expected batch_norm_momentum to be 0 to 1, got 2"),
        ({"head_depth": -1}, "Expected head_depth to be at least 0, got -1"),
        ({"head_width": 0}, "Expected head_width to be at least 1, got 0"),
        ({"neck_width": 0}, "Expected neck_width to be at least 1, got 0"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_tiny(**changes)


@pytest.mark.parametrize(
    ("neck_options", "is_separable"), [(None, True), ({"repeats": 2}, False)], ids=["the paper's", "own"]
)
def test_options_of_the_papers_neck(neck_options, is_separable):
    with torch.device("meta"):
        model = make_tiny(neck="nas-fpn", max_level=7, neck_options=neck_options)
    assert len(model.neck.cells) == (7 if neck_options is None else 2)
    assert any(m.groups > 1 for m in model.neck.modules() if isinstance(m, nn.Conv2d)) == is_separable


def test_as_many_classes_as_a_mask_can_hold():
    model = make_lively(classes=255).eval()
    (found, *_) = model.restore(model.predict(make_images()), torch.ones(4, 2), torch.tensor([[64, 96]] * 4))
    assert found["mask"].max() <= 254


def test_config_files_can_name_every_argument():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_subclass_arguments(SemanticSegmenter, "task", instantiate=True)
    arguments = {"classes": ["cat"], **TINY, "pretrained": False, "full_size_loss": True, "batch_norm": "frozen"}
    config = parser.parse_object({"task": {"class_path": "lightning_st.SemanticSegmenter", "init_args": arguments}})
    # `instantiate_classes` is its name before jsonargparse 4.49.
    model = getattr(parser, "instantiate", parser.instantiate_classes)(config).task
    assert isinstance(model, SemanticSegmenter)
    assert model.full_size_loss


@pytest.mark.parametrize("full_size", [False, True])
def test_learns_two_images(full_size):
    """A coloured square and a bar on noise: from nothing to nearly every pixel in seconds."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(90, 160, (2, 3, 64, 64), generator=generator, dtype=torch.uint8)
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 12:36, 20:44], masks[1, 40:56, 8:60] = 1, 2
    for label, colour in ((1, (230, 60, 40)), (2, (40, 90, 230))):
        where = (masks == label).unsqueeze(1)
        images = torch.where(where, torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1), images)
    model = make_tiny(neck_width=32, head_width=32, full_size_loss=full_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=50)
    batch = {"images": images, "masks": masks, "pseudo": torch.tensor([False, True])}
    for _ in range(50):
        optimizer.zero_grad()
        model.losses(batch)[0].mean().backward()
        optimizer.step()
        scheduler.step()
    found = model.eval().restore(model.predict(images), torch.ones(2, 2), torch.tensor([[64, 64]] * 2))
    metric = model.metric()
    metric.update([0, 1], found, [{"mask": mask} for mask in masks])
    assert metric.compute()["mIoU"] > 0.85


@pytest.mark.parametrize("full_size_loss", [False, True])
def test_weights_and_unknown_classes_reach_the_loss(full_size_loss):
    model = make_lively(full_size_loss=full_size_loss).eval()
    plain, _ = model.losses(make_batch())
    full = torch.full((4, 64, 96), 255, dtype=torch.uint8)
    assert torch.equal(model.losses(make_batch(mask_weights=full))[0], plain)
    full[0] = 51  # a fifth
    weighed, _ = model.losses(make_batch(mask_weights=full))
    assert torch.allclose(weighed, plain * torch.tensor([0.2, 1, 1, 1]), rtol=1e-5)
    unknown = torch.zeros(4, 3, dtype=torch.bool)
    unknown[1, 2] = True
    spared, _ = model.losses(make_batch(unknown_classes=unknown))
    assert spared[1] < plain[1]
    assert torch.equal(spared[[0, 2, 3]], plain[[0, 2, 3]])
