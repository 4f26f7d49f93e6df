"""ONNX files: writing one, and predicting with it by onnxruntime."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from lightning_st.deploy.card import Card
from lightning_st.deploy.outputs import predictions_of
from lightning_st.deploy.program_file import BATCH
from lightning_st.deploy.quiet import without_remarks
from lightning_st.deploy.suppression import onnx_translations
from lightning_st.errors import CheckpointError, ConfigError

OPSET = 18
"""Of ONNX's operators: what PyTorch's exporter speaks natively, and runtimes since early 2023 understand."""

INPUT = "images"


OLDEST_TORCH = (2, 14)
"""Whose exporter is known to write these models; that of 2.6 cannot."""


def require_exporter() -> None:
    """Refuse to write ONNX with a PyTorch that cannot.

    Raises:
        ConfigError: Naming the version that can.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise ConfigError(f"Writing ONNX needs torch {oldest} or newer, got {torch.__version__}: pip install -U torch.")


def require_packages(*names: str) -> None:
    """Refuse to go on without a package.

    Raises:
        ConfigError: Naming those that are missing, and the command that installs them.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ConfigError(f"ONNX needs {', '.join(missing)}: pip install 'lightning_st[export]'.")


def write_onnx(program: ExportedProgram, outputs: tuple[str, ...], card: Card, path: Path) -> None:
    """Write a program as one file of ONNX, with the card as its metadata.

    Args:
        program: See ``trace``; of a detector with ``suppress_with_onnx``.
        outputs: The names of what it returns, in order.
        card: What it says of itself.
        path: The file.
    """
    with torch.no_grad(), without_remarks():
        written: Any = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=onnx_translations(),
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_shapes={INPUT: {0: BATCH}},
            verbose=False,
        )
        for node in written.model.graph.all_nodes():
            node.metadata_props.clear()  # how it was traced: as large as a small model, and with paths of this machine
        written.model.metadata_props.update(card.to_strings())
        written.save(path, external_data=False)


class OnnxModel:
    """An ONNX file; a ``deploy.model.Model``.

    Args:
        path: The file.
        device: "cpu" or "cuda"; None for a GPU where onnxruntime has one.

    Raises:
        CheckpointError: If it cannot be read, or was not written by ``lightning_st export``.
        ConfigError: If onnxruntime is missing, or cannot compute on the device.
    """

    def __init__(self, path: Path, device: str | None) -> None:
        require_packages("onnxruntime")
        import onnxruntime

        if not path.is_file():
            raise CheckpointError(f"{path}: no such file.")
        providers = _providers(device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # its exceptions have no base of their own
            reason = str(error).partition("\n")[0].rstrip(".")
            raise CheckpointError(f"{path}: not a model that onnxruntime can run ({reason}).") from error
        self.card = Card.from_strings(self._session.get_modelmeta().custom_metadata_map, path)
        self._names = [output.name for output in self._session.get_outputs()]

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return the tensors that the file names, see ``DeployedDetector`` and ``DeployedSegmenter``."""
        arrays = self._session.run(None, {INPUT: images.contiguous().numpy()})
        return {name: torch.from_numpy(array) for name, array in zip(self._names, arrays, strict=True)}

    def predict(self, images: Tensor) -> list[Any]:
        """Return what the file predicts."""
        return predictions_of(self.outputs(images))


def _providers(device: str | None) -> list[Any]:
    """Return onnxruntime's names of the devices to try, the first that can do an operator doing it."""
    import onnxruntime

    kind, _, number = (device or "").partition(":")
    has_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if kind not in ("", "cpu", "cuda") or (kind == "cuda" and not has_gpu) or not (number or "0").isdecimal():
        raise ConfigError.expected("device", f"cpu{' or cuda' * has_gpu}, on which onnxruntime computes here", device)
    gpu = [("CUDAExecutionProvider", {"device_id": int(number or 0)})] if has_gpu and kind != "cpu" else []
    return [*gpu, "CPUExecutionProvider"]
