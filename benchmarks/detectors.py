"""The detectors that figures compare: ours and torchvision's RetinaNet, R50-FPN, as alike as they can be made."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2

from benchmarks.random_batch import make_batch, targets_of
from lightning_st.models import RetinaNet
from lightning_st.types import Batch

TORCHVISION = {"torchvision": retinanet_resnet50_fpn, "torchvision v2": retinanet_resnet50_fpn_v2}
"""Their two: without any normalisation in neck and head, and with group normalisation in the head; ours has batch
normalisation in both. All else is alike: ResNet-50, its batch normalisation learning, everything trained, 3 x 3 anchors
of the same sizes at a location, four convolutions of 256 channels in each tower, levels 3 to 7."""


def make_ours(class_count: int, **options: Any) -> RetinaNet:
    """Return our detector with torchvision's number of convolutions; untrained, so it finds what it finds."""
    torch.manual_seed(0)
    return RetinaNet([str(i) for i in range(class_count)], "resnet50", **options)


def make_theirs(name: str, class_count: int, size: int, **options: Any) -> nn.Module:
    """Return torchvision's; its own transform changes no size of images of ``size`` pixels."""
    torch.manual_seed(0)
    return TORCHVISION[name](
        weights=None, weights_backbone=None, num_classes=class_count, min_size=size, max_size=size, **options
    )


def batch_with_pixels(image_count: int, size: int, class_count: int, device: str = "cpu") -> Batch:
    """Return a training batch as our loader makes it: uint8, channels last in memory."""
    batch = make_batch(image_count, size, class_count, device)
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (image_count, size, size, 3), dtype=torch.uint8, generator=generator)
    batch["images"] = pixels.to(device).permute(0, 3, 1, 2)
    return batch


def as_torchvision_takes_it(batch: Batch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return the same images, float 0-1, and the same boxes, as torchvision's detectors take them."""
    return [image.contiguous().float() / 255 for image in batch["images"]], targets_of(batch)


def training_loss(model: nn.Module, batch: Batch) -> Callable[[], Tensor]:
    """Return a function of the loss of ``batch``, of ours or of torchvision's."""
    model.train()
    if isinstance(model, RetinaNet):
        return lambda: model.losses(batch)[0].mean()
    images, targets = as_torchvision_takes_it(batch)
    return lambda: sum(model(images, targets).values())


def forward_flops(loss: Callable[[], Tensor]) -> int:
    """Return the floating-point operations of a forward pass: of convolutions, all else is little."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        loss()
    return counter.get_total_flops()


def same_work(flops: dict[str, int], ours: str, most: float = 1.02) -> str:
    """Return what a note says of the operations of each side.

    Raises:
        RuntimeError: If a side has more than ``most`` times those of another.
    """
    for name, count in flops.items():
        if not 1 / most <= flops[ours] / count <= most:
            raise RuntimeError(f"{name} has {count / 1e9:.1f} GFLOP a forward pass, ours {flops[ours] / 1e9:.1f}")
    return "GFLOP a forward pass: " + ", ".join(f"{name} {count / 1e9:.1f}" for name, count in flops.items())
