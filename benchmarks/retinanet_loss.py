"""Target assignment, loss and its gradient: this package against torchvision's RetinaNet, on the same anchors.

Both start from the head's outputs and end with the gradients by them, so that convolutions, the same in both, do not
count. Images hold 1 to 14 boxes, 7 on average (COCO's mean); here they are padded to 32 rows. torchvision matches by
the same rule (0.5, each box claims its best anchor); which anchors learn an object is compared before timing.
"""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection._utils import Matcher

from benchmarks.measuring import OURS, Comparison, Settings, interleave
from benchmarks.random_batch import make_batch, targets_of
from lightning_st.models import RetinaNet
from lightning_st.types import Batch


def make_ours(batch: Batch, anchors: Tensor, class_count: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return this package's loss of class logits and box deltas."""
    model = RetinaNet([str(i) for i in range(class_count)], "resnet10t")
    return lambda logits, deltas: model.losses_of(logits, deltas, anchors, batch)[0].mean()


def make_torchvision(batch: Batch, anchors: Tensor, class_count: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return torchvision's loss of class logits and box deltas."""
    backbone = nn.Identity()
    backbone.out_channels = 8
    model = TorchvisionRetinaNet(backbone, class_count)
    model.proposal_matcher = Matcher(0.5, 0.5, allow_low_quality_matches=True)
    targets = targets_of(batch)

    def loss(logits: Tensor, deltas: Tensor) -> Tensor:
        outputs = {"cls_logits": logits, "bbox_regression": deltas}
        parts = model.compute_loss(targets, outputs, [anchors] * len(targets))
        return parts["classification"] + parts["bbox_regression"]

    return loss


def seconds_of(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, deltas: Tensor) -> float:
    """Return how long one loss and its gradient take, of the processor."""
    inputs = (logits.detach().requires_grad_(), deltas.detach().requires_grad_())
    start = time.process_time()
    loss(*inputs).backward()
    return time.process_time() - start


def compare(losses: dict[str, Callable[[Tensor, Tensor], Tensor]], logits: Tensor, deltas: Tensor) -> str:
    """Return how many anchors of each side learn an object.

    Raises:
        RuntimeError: If one of ours is none of torchvision's, which takes all anchors of a tie where we take the first.
    """
    positive = {}
    for name, loss in losses.items():
        inputs = (logits.detach().requires_grad_(), deltas.detach().requires_grad_())
        loss(*inputs).backward()
        positive[name] = inputs[0].grad < 0
    ours, theirs = positive.values()
    if (ours & ~theirs).any():
        raise RuntimeError(f"{int((ours & ~theirs).sum())} positive anchors of ours are none of torchvision's")
    return f"{int(ours.sum())} anchors learn an object, torchvision's {int(theirs.sum())}: all of a tie, not the first"


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield the comparison, at batch 16 and 640 pixels with 80 classes."""
    image_count, size, class_count = (2, 64, 3) if settings.tiny else (16, 640, 80)
    torch.set_num_threads(1)
    batch = make_batch(image_count, size, class_count, "cpu")
    anchors = RetinaNet(["object"], "resnet10t").anchors.boxes(size, size, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(image_count, len(anchors), class_count, generator=generator) - 4.6
    deltas = torch.randn(image_count, len(anchors), 4, generator=generator) / 10
    losses = {
        OURS: make_ours(batch, anchors, class_count),
        "torchvision": make_torchvision(batch, anchors, class_count),
    }
    sides = {name: lambda turn, loss=loss: seconds_of(loss, logits, deltas) for name, loss in losses.items()}
    note = compare(losses, logits, deltas)
    seconds = interleave(sides, settings.repetitions)
    yield Comparison.of(
        seconds,
        case=f"targets, loss and gradient, batch {image_count}, {size} px, {class_count} classes, one thread",
        unit="s",
        better="less",
        goals={"torchvision": 3.0},
        note=note,
    )
