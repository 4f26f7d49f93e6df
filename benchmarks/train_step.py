"""A whole training step on a CPU, R50-FPN: forward, targets, loss, backward, optimiser, beside torchvision's RetinaNet.

The same images, boxes, layers that learn and optimiser; convolutions are counted first. One thread; images/s are per
second of the processor.
"""

import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.detectors import (
    TORCHVISION,
    batch_with_pixels,
    forward_flops,
    make_ours,
    make_theirs,
    same_work,
    training_loss,
)
from benchmarks.measuring import OURS, Comparison, Settings, interleave

CASES = [(2, 320), (1, 640)]
"""(images, pixels a side)"""


def make_step(model: nn.Module, loss: Callable[[], Tensor], image_count: int) -> Callable[[int], float]:
    """Return a function that takes one step and returns images per second of the processor."""
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step(turn: int) -> float:
        start = time.process_time()
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        return image_count / (time.process_time() - start)

    return step


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield a comparison for each size; a step at 640 pixels takes some ten seconds of each side."""
    torch.set_num_threads(1)
    class_count = 3 if settings.tiny else 80
    for image_count, size in [(2, 128)] if settings.tiny else CASES:
        print(f"  {image_count} images of {size} pixels", file=sys.stderr, flush=True)
        batch = batch_with_pixels(image_count, size, class_count)
        models = {OURS: make_ours(class_count)}
        models |= {name: make_theirs(name, class_count, size) for name in TORCHVISION}
        losses = {name: training_loss(model, batch) for name, model in models.items()}
        note = same_work({name: forward_flops(loss) for name, loss in losses.items()}, OURS)
        speeds = interleave(
            {name: make_step(model, losses[name], image_count) for name, model in models.items()},
            settings.repetitions,
        )
        yield Comparison.of(
            speeds,
            case=f"training step, batch {image_count}, {size} px, {class_count} classes, one thread",
            unit="images/s",
            better="more",
            goals=dict.fromkeys(TORCHVISION, 1.05),
            note=note,
        )
