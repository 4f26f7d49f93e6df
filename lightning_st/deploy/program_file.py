"""Files of ``torch.export``: writing one, and predicting with it."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.passes import move_to_device_pass

from lightning_st.deploy.card import Card
from lightning_st.deploy.outputs import predictions_of
from lightning_st.deploy.program_scan import scanned
from lightning_st.deploy.quiet import without_remarks
from lightning_st.errors import CheckpointError

CARD_FILE = "lightning_st.json"
"""The name of the card among the ``extra_files`` of an exported program."""

BATCH = "batch"

_MOST_IMAGES = 2**31 - 1
"""In a batch: older PyTorch needs to be told that there is a bound."""


def trace(model: nn.Module, image_size: tuple[int, int]) -> ExportedProgram:
    """Return what ``model`` computes of any number of images, as a graph.

    Args:
        model: A ``DeployedDetector`` or ``DeployedSegmenter``.
        image_size: (height, width) in pixels.
    """
    # Two of them: one would be taken for a size that never changes.
    example = torch.zeros(2, 3, *image_size, dtype=torch.uint8)
    shapes = {"images": {0: Dim(BATCH, min=1, max=_MOST_IMAGES)}}
    with torch.no_grad(), without_remarks():
        program = torch.export.export(model, (example,), dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where the code lies on this machine is nobody's business
    return program


def write_program(program: ExportedProgram, card: Card, path: Path) -> None:
    """Write a program with its card."""
    with without_remarks():
        torch.export.save(program, path, extra_files={CARD_FILE: json.dumps(card.to_strings(), indent=2)})


class ProgramModel:
    """A program in a file; a ``deploy.model.Model``.

    ``torch.export.load`` unpickles and evaluates; what could run is refused before (``program_scan``), as far as it is
    known. Open no file of a stranger's.

    Args:
        path: The file.
        device: Where to compute.

    Raises:
        CheckpointError: If it cannot be read, or was not written by ``lightning_st export``.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        import torchvision  # noqa: F401  # its operators stand in the program

        if not path.is_file():
            raise CheckpointError(f"{path}: no such file.")
        archive = scanned(path)
        extra_files = {CARD_FILE: ""}
        with without_remarks():
            try:
                program = torch.export.load(archive, extra_files=extra_files)
            except Exception as error:  # it documents none
                reason = str(error).partition("\n")[0] or type(error).__name__
                raise CheckpointError(f"{path}: not a program that this PyTorch can load ({reason}).") from error
            self.card = Card.from_strings(_strings(extra_files[CARD_FILE], path), path)
            self._module: Any = move_to_device_pass(program, device).module()
        self._device = device

    @torch.no_grad()
    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return the tensors that the program returns, see ``DeployedDetector`` and ``DeployedSegmenter``."""
        outputs: dict[str, Tensor] = self._module(images.to(self._device).contiguous())
        return outputs

    def predict(self, images: Tensor) -> list[Any]:
        """Return what the program predicts."""
        return predictions_of(self.outputs(images))


def _strings(text: str | bytes, path: Path) -> dict[str, str]:
    """Return the fields of a card, as ``Card.to_strings`` wrote them."""
    try:
        strings = json.loads(text or "{}")
    except ValueError as error:
        raise CheckpointError(f"{path}: its {CARD_FILE} is no JSON ({error}).") from error
    if not isinstance(strings, dict):
        raise CheckpointError(f"{path}: expected its {CARD_FILE} to be an object, got a {type(strings).__name__}.")
    return strings
