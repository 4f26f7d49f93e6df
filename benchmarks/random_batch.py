"""Batches of random boxes, the same for everybody."""

import torch
from torch import Tensor

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


def targets_of(batch: Batch) -> list[dict[str, Tensor]]:
    """Return the objects of a batch as torchvision's detectors take them."""
    kept = [kinds == BoxKind.OBJECT for kinds in batch["kinds"]]
    return [
        {"boxes": boxes[rows], "labels": labels[rows]}
        for boxes, labels, rows in zip(batch["boxes"], batch["labels"], kept, strict=True)
    ]
