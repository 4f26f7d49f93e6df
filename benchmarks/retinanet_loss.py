"""Target assignment, loss and its gradient: this package against torchvision's RetinaNet, on the same anchors.

    python benchmarks/retinanet_loss.py [--images 16] [--size 640] [--classes 80] [--repeats 5] [--device cpu]

Both start from the head's outputs and end with the gradients by them, so that convolutions, the same in both, do not
count. Images hold 1 to 14 boxes, 7 on average (COCO's mean); here they are padded to 32 rows. torchvision matches by
the same rule (0.5, each box claims its best anchor). The two run in turns; medians, with the lowest and highest.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection._utils import Matcher

from lightning_st.models import RetinaNet
from lightning_st.types import Batch, BoxKind

BOX_ROWS = 32


def make_batch(image_count: int, size: int, class_count: int, device: str) -> Batch:
    """Return a batch with random boxes of 8 pixels to half the image's side, and no pixels."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(1, 15, (image_count, 1), generator=generator)
    is_object = torch.arange(BOX_ROWS) < counts
    sides = 8 * (size / 16) ** torch.rand(image_count, BOX_ROWS, 2, generator=generator)
    corners = torch.rand(image_count, BOX_ROWS, 2, generator=generator) * (size - sides)
    labels = torch.randint(0, class_count, (image_count, BOX_ROWS), generator=generator)
    return Batch(
        images=torch.zeros(image_count, 3, 0, 0, dtype=torch.uint8, device=device),
        boxes=(torch.cat([corners, corners + sides], dim=-1) * is_object.unsqueeze(-1)).to(device),
        labels=labels.masked_fill(~is_object, -1).to(device),
        kinds=(is_object * int(BoxKind.OBJECT)).to(device, torch.uint8),
        pseudo=torch.zeros(image_count, dtype=torch.bool, device=device),
        rows=torch.arange(image_count),
        positions=torch.arange(image_count),
        bad_images=[],
    )


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
    kept = [kinds == BoxKind.OBJECT for kinds in batch["kinds"]]
    targets = [
        {"boxes": boxes[rows], "labels": labels[rows]}
        for boxes, labels, rows in zip(batch["boxes"], batch["labels"], kept, strict=True)
    ]

    def loss(logits: Tensor, deltas: Tensor) -> Tensor:
        outputs = {"cls_logits": logits, "bbox_regression": deltas}
        parts = model.compute_loss(targets, outputs, [anchors] * len(targets))
        return parts["classification"] + parts["bbox_regression"]

    return loss


def seconds_of(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, deltas: Tensor) -> float:
    """Return how long one loss and its gradient take."""
    inputs = (logits.detach().requires_grad_(), deltas.detach().requires_grad_())
    # On a CPU, processor time: other programs on the machine do not count.
    clock = time.perf_counter if logits.is_cuda else time.process_time
    start = clock()
    loss(*inputs).backward()
    if logits.is_cuda:
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    batch = make_batch(arguments.images, arguments.size, arguments.classes, arguments.device)
    model = RetinaNet(["object"], "resnet10t")
    anchors = model.anchors.boxes(arguments.size, arguments.size, torch.device(arguments.device))
    logits = torch.randn(arguments.images, len(anchors), arguments.classes, device=arguments.device) - 4.6
    deltas = torch.randn(arguments.images, len(anchors), 4, device=arguments.device) / 10
    rivals = {
        "lightning_st": make_ours(batch, anchors, arguments.classes),
        "torchvision": make_torchvision(batch, anchors, arguments.classes),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for loss in rivals.values():
        seconds_of(loss, logits, deltas)  # warm up
    for _ in range(arguments.repeats):
        for name, loss in rivals.items():
            seconds[name].append(seconds_of(loss, logits, deltas))
    print(f"{vars(arguments)}, {len(anchors)} anchors, {torch.get_num_threads()} threads")
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    for name, times in seconds.items():
        print(f"{name:>12}: {median(times):8.3f} s   ({min(times):.3f} - {max(times):.3f})")
    print(f"       ratio: {median(seconds['torchvision']) / median(seconds['lightning_st']):.2f}")


if __name__ == "__main__":
    main()
