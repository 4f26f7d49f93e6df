"""From a checkpoint to a file that runs elsewhere, which is compared with the checkpoint before it is kept."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_st.data.image_file import ImageFile
from lightning_st.deploy.agreement import Agreement, compare_boxes, compare_masks, masks_of
from lightning_st.deploy.card import Card
from lightning_st.deploy.detector import BOX_OUTPUTS, DeployedDetector
from lightning_st.deploy.onnx_file import OnnxModel, require_exporter, require_packages, write_onnx
from lightning_st.deploy.program_file import ProgramModel, trace, write_program
from lightning_st.deploy.segmenter import MASK_OUTPUTS, DeployedSegmenter
from lightning_st.deploy.suppression import suppress_with_onnx, suppress_with_torchvision
from lightning_st.errors import ConfigError, DataError, StageError
from lightning_st.index import build_index
from lightning_st.models.masks import restore_masks
from lightning_st.modules import checkpoint_fingerprint
from lightning_st.stages.trained_model import TrainedModel
from lightning_st.transforms import fit

RUNTIMES = {".onnx": "onnxruntime", ".pt2": "torch.export"}
"""What runs a file, by the ending of its name."""

IMAGE_COUNT = 8
"""Images on which a file is compared with its checkpoint."""


@dataclass(frozen=True)
class Exported:
    """A file, and what was found when it was compared with its checkpoint.

    Attributes:
        path: The file.
        card: What it says of itself.
        runtime: What ran it.
        images: On how many images.
        agreement: How far they agree.
    """

    path: Path
    card: Card
    runtime: str
    images: int
    agreement: Agreement


def export_model(trained: TrainedModel, output: Path, images: str | None = None) -> Exported:
    """Write the model of a checkpoint as ONNX or as a program of ``torch.export``; the output's ending says which.

    Args:
        trained: The checkpoint and what is in it.
        output: ``*.onnx`` or ``*.pt2``; replaced if it exists, once the new file agrees with the checkpoint.
        images: A folder or tar of images to compare on; None for made-up ones.

    Raises:
        CheckpointError: If the weights do not fit the model.
        ConfigError: If the ending is another, the model is no detector or segmenter, or a package is missing.
        DataError: If there are no images in the folder.
        StageError: If the file and the checkpoint disagree; then it is not kept.
    """
    require_writable(output)
    task: Any = trained.build()
    card = Card.of(task, trained.image_size, checkpoint_fingerprint(trained.checkpoint))
    batch = made_up_images(IMAGE_COUNT, card.image_size) if images is None else images_in(images, card.image_size)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        beside = Path(folder) / output.name
        write(task, card, beside)
        agreement = compare(task, card, beside, batch)
        if not agreement.is_close:
            raise StageError(f"{output}: {RUNTIMES[output.suffix]} and the checkpoint disagree: {agreement}. Not kept.")
        os.replace(beside, output)
    return Exported(output, card, RUNTIMES[output.suffix], len(batch), agreement)


def require_writable(output: Path) -> None:
    """Refuse, before anything is computed, a file that cannot be written.

    Raises:
        ConfigError: Naming what to mend.
    """
    if output.suffix not in RUNTIMES:
        raise ConfigError.expected("output", "a file named *.onnx or *.pt2", str(output))
    if not output.parent.is_dir():
        raise ConfigError.expected("output", "in a folder that exists", str(output))
    if output.suffix == ".onnx":
        require_packages("onnx", "onnxscript", "onnxruntime")
        require_exporter()


def write(task: Any, card: Card, path: Path) -> None:
    """Write a task in evaluation mode; the ending of ``path`` says how."""
    is_onnx = path.suffix == ".onnx"
    suppress = suppress_with_onnx if is_onnx else suppress_with_torchvision
    has_masks = card.target == "masks"
    size = card.image_size
    model: nn.Module = DeployedSegmenter(task, size) if has_masks else DeployedDetector(task, size, suppress)
    program = trace(model.eval(), size)
    if is_onnx:
        write_onnx(program, MASK_OUTPUTS if has_masks else BOX_OUTPUTS, card, path)
    else:
        write_program(program, card, path)


def compare(task: Any, card: Card, path: Path, images: Tensor) -> Agreement:
    """Compare what a file says of images, one of them alone and the others together, with what the task says.

    Args:
        task: In evaluation mode, on the CPU.
        card: What the file says of itself.
        path: The file.
        images: uint8 [B, 3, H, W], at least one.
    """
    model = OnnxModel(path, "cpu") if path.suffix == ".onnx" else ProgramModel(path, torch.device("cpu"))
    parts = [part for part in (images[:1], images[1:]) if len(part)]
    expected = [prediction for part in parts for prediction in task.predict(part)]
    if card.target == "boxes":
        found = [prediction for part in parts for prediction in model.predict(part)]
        return compare_boxes(found, expected, task.score_threshold, task.max_detections)
    scales, sizes = torch.ones(len(images), 2), torch.tensor([card.image_size] * len(images))
    masks = [mask for part in parts for mask in masks_of(model.outputs(part))]
    return compare_masks(masks, restore_masks(expected, scales, sizes))


def made_up_images(count: int, size: tuple[int, int]) -> Tensor:
    """Return the same clouds of colour at every call, coarse and fine, uint8 [count, 3, *size]."""
    generator = torch.Generator().manual_seed(0)
    clouds = torch.zeros(count, 3, *size)
    for cells, weight in ((3, 0.5), (9, 0.3), (27, 0.2)):
        noise = torch.rand(count, 3, cells, cells, generator=generator)
        clouds += weight * nn.functional.interpolate(noise, size, mode="bilinear")
    return (255 * ((clouds - 0.5) * 3 + 0.5).clamp(0, 1)).to(torch.uint8)


def images_in(source: str, size: tuple[int, int]) -> Tensor:
    """Return some images of a folder or tar, evenly spread and fitted, uint8 [B, 3, *size].

    Raises:
        DataError: If there are none.
        ImageError: If one cannot be read.
    """
    index = build_index(source, labeled=False)
    if not len(index):
        raise DataError(f"{source}: there is no image to compare on.")
    rows = np.unique(np.linspace(0, len(index) - 1, min(IMAGE_COUNT, len(index))).round().astype(int))
    files = [ImageFile.open(index.image(row), is_labeled=False) for row in rows.tolist()]
    return torch.from_numpy(np.stack([fit(file.decode(), size)[0] for file in files])).permute(0, 3, 1, 2)
