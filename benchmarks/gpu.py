"""Training on a GPU, R50-FPN at 640 pixels: images/s, memory and waiting for data, beside torchvision's RetinaNet.

Runs alone, with torch, torchvision, timm, lightning and numpy: ``python benchmarks/gpu.py`` in a copy of benchmarks/
and lightning_st/; ``--tiny`` runs it on a CPU. Both have bfloat16 by autocast, channels last, the fused optimiser,
and the same loader, which decodes JPEG bytes in workers and hands over pinned uint8. Ours is also compiled;
torchvision's, whose number of boxes is another in each image, makes no graph of one shape.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

if __name__ == "__main__":  # as a file, without an installation
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.detectors import (
    TORCHVISION,
    batch_with_pixels,
    forward_flops,
    make_ours,
    make_theirs,
    same_work,
    training_loss,
)
from benchmarks.measuring import OURS, Comparison, NotMeasured, Settings, interleave
from benchmarks.random_batch import targets_of
from lightning_st.models import RetinaNet
from lightning_st.modules.optimization import make_optimizer
from lightning_st.modules.speed import compiled_losses, prepare
from lightning_st.types import Batch


class Jpegs(torch.utils.data.Dataset[Tensor]):
    """JPEG bytes in memory, decoded to uint8 [3, S, S] when they are asked for."""

    def __init__(self, size: int, count: int) -> None:
        from torchvision.io import encode_jpeg

        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(8, 3, size // 8, size // 8, generator=generator) * 255
        pictures = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 255).to(torch.uint8)
        self._files = [encode_jpeg(picture, quality=90) for picture in pictures]
        self._count = count

    def __len__(self) -> int:
        """Return how many images there are."""
        return self._count

    def __getitem__(self, number: int) -> Tensor:
        """Return one of them."""
        from torchvision.io import ImageReadMode, decode_jpeg

        return decode_jpeg(self._files[number % len(self._files)], ImageReadMode.RGB)


class Training:
    """One side: a model, its optimiser, and steps over the loader's images with the boxes of one batch."""

    def __init__(self, model: nn.Module, batch: Batch, device: str, compiled: bool) -> None:
        self.device, self.batch = device, batch
        self.model = model.to(device).train()
        if isinstance(model, RetinaNet):
            prepare(model, compiled, channels_last=True)
            self._loss = compiled_losses(model) if compiled else model.losses
        else:
            self.model.to(memory_format=torch.channels_last)
            self._loss = self.model
        self.targets = None if isinstance(model, RetinaNet) else targets_of(batch)
        self.optimiser = make_optimizer("sgd", model.parameters(), 0.9, 1e-4, fused=True)
        for group in self.optimiser.param_groups:
            group["lr"] = 1e-4

    def step(self, images: Tensor) -> None:
        """Take one step on ``images``, uint8 [B, 3, H, W] on the host."""
        images = images.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device, dtype=torch.bfloat16):
            if self.targets is None:
                loss = self._loss({**self.batch, "images": images})[0].mean()
            else:
                loss = sum(self._loss(list(images.float().div_(255)), self.targets).values())
        loss.backward()
        self.optimiser.step()


def wait(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


class Turn:
    """Measures one side over some steps; keeps memory and waiting of each turn that counts."""

    def __init__(self, training: Training, loader: Any, steps: int) -> None:
        self.training, self.loader, self.steps = training, loader, steps
        self.waiting: list[float] = []
        self.memory: list[float] = []

    def __call__(self, turn: int) -> float:
        """Return images per second over the steps of a turn."""
        device = self.training.device
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()  # weights and optimisers of all sides
        batches = iter(self.loader)
        self.training.step(next(batches))  # the workers' start, and in the first turn compilation
        wait(device)
        waited, seen, start = 0.0, 0, time.perf_counter()
        for _ in range(self.steps):
            asked = time.perf_counter()
            images = next(batches)
            waited += time.perf_counter() - asked
            self.training.step(images)
            seen += len(images)
        wait(device)
        seconds = time.perf_counter() - start
        if turn > 0:
            self.waiting.append(100 * waited / seconds)
            self.memory.append((torch.cuda.max_memory_allocated() - held) / 1e9 if device == "cuda" else 0.0)
        return seen / seconds


def make_turns(settings: Settings, device: str) -> tuple[dict[str, Turn], str, int]:
    """Return each side's turn, the note on their work, and the number of images in a batch."""
    size, count, class_count = (128, 2, 3) if settings.tiny else (640, 16, 80)
    steps, workers = (2, 0) if settings.tiny else (20, max(1, len(os.sched_getaffinity(0)) - 1))
    batch = batch_with_pixels(count, size, class_count, device)
    makers: dict[str, Callable[[], nn.Module]] = {OURS: partial(make_ours, class_count)}
    makers |= {name: partial(make_theirs, name, class_count, size) for name in TORCHVISION}
    flops = {name: forward_flops(training_loss(make().to(device), batch)) for name, make in makers.items()}
    loader = torch.utils.data.DataLoader(
        Jpegs(size, count * (steps + 2)),
        batch_size=count,
        num_workers=workers,
        pin_memory=device == "cuda",
        persistent_workers=workers > 0,
    )
    turns = {
        name: Turn(Training(make(), batch, device, compiled=False), loader, steps) for name, make in makers.items()
    }
    if not settings.tiny:
        compiled = Training(make_ours(class_count), batch, device, compiled=True)
        turns[f"{OURS}, compiled"] = Turn(compiled, loader, steps)
    return turns, same_work(flops, OURS), count


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield images/s, compiled and not, and for each side memory and the share of the time that the loader costs.

    Raises:
        NotMeasured: Where there is no GPU.
    """
    if not settings.tiny and not torch.cuda.is_available():
        raise NotMeasured("it needs a GPU that torch.cuda knows, and there is none.")
    device = "cpu" if settings.tiny else "cuda"
    torch.backends.cudnn.benchmark = True
    turns, note, count = make_turns(settings, device)
    speeds = interleave(turns, settings.repetitions)
    compiled = speeds.pop(f"{OURS}, compiled", None)
    ours = speeds.pop(OURS)
    where = torch.cuda.get_device_name() if device == "cuda" else "a CPU, which says nothing of speed"
    case = f"training from JPEG bytes, batch {count}, bfloat16, channels last, fused SGD, on {where}"
    yield Comparison(case, "images/s", "more", ours, speeds, dict.fromkeys(TORCHVISION, 1.05), note=note)
    if compiled is not None:
        yield Comparison(
            f"{case}, ours compiled", "images/s", "more", compiled, {**speeds, f"{OURS}, not compiled": ours}
        )
    kept = turns.get(f"{OURS}, compiled", turns[OURS])
    for kind, unit in (("memory", "GB"), ("waiting", "%")):
        peers = {name: getattr(turns[name], kind) for name in TORCHVISION}
        title = (
            "highest memory of a step beyond weights and optimiser"
            if kind == "memory"
            else "share of the time spent waiting for the loader"
        )
        nothing = not all(all(values) for values in peers.values())
        yield Comparison(title, unit, "less", getattr(kept, kind), {} if nothing else peers)


def main() -> None:
    """Measure and print, without the runner and what it needs."""
    from benchmarks import results

    tiny = "--tiny" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        try:
            for comparison in measure(Settings(Path(folder), tiny, 2 if tiny else 7)):
                for row in results.rows_of(comparison):
                    print("  " + " | ".join(cell for cell in row if cell), flush=True)
        except NotMeasured as reason:
            print(f"not measured: {reason}")


if __name__ == "__main__":
    main()
