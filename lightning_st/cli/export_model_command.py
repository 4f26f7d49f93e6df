"""``lightning_st export --checkpoint C --output FILE.onnx``: a model that runs without this package."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from lightning_st.cli.console import say
from lightning_st.cli.model_arguments import add_model_arguments, image_size_of, model_of
from lightning_st.cli.parsing import make_parser, parse
from lightning_st.cli.vocabulary import predict_vocabulary
from lightning_st.deploy.export import Exported, export_model, require_writable
from lightning_st.stages.trained_model import TrainedModel


def export_model_of(words: Sequence[str]) -> None:
    """Write the model of a checkpoint, and say how far the file agrees with it."""
    config = parse(_parser(), words, predict_vocabulary, is_recipe=None)
    output = Path(config["output"])
    require_writable(output)  # before the checkpoint is read
    trained = TrainedModel.describe(config["checkpoint"], model_of(config), image_size_of(config))
    say(sentences_on(export_model(trained, output, config["images"]), config["images"]))


def sentences_on(exported: Exported, images: str | None) -> str:
    """Return what was written, and how far it agrees with its checkpoint.

    Args:
        exported: The file.
        images: Where those came from on which it was compared; None for made-up ones.
    """
    card = exported.card
    counted = "1 class" if len(card.classes) == 1 else f"{len(card.classes)} classes"
    shape = f"uint8 [batch, 3, {card.image_size[0]}, {card.image_size[1]}]"
    megabytes = exported.path.stat().st_size / 1e6
    on = f"{exported.images} {'made-up images' if images is None else f'images of {images}'}"
    lines = [
        f"{exported.path}: {card.model}, {counted}, images {shape}, {megabytes:.1f} MB",
        f"{exported.runtime} agrees with the checkpoint on {on}: {exported.agreement}",
    ]
    if images is None and exported.agreement.count == 0:
        lines.append("That says little: give photographs to compare on, --images DIR.")
    return "\n".join(lines)


def _parser() -> ArgumentParser:
    parser = make_parser(
        "export",
        "Write the model of a checkpoint as ONNX or as a program of torch.export, and compare what it "
        "predicts with what the checkpoint does. Without --checkpoint it exports labels: lightning_st export --help.",
    )
    parser.add_argument("--checkpoint", type=str, required=True, help="a checkpoint of a teacher or a student")
    parser.add_argument("--output", type=str, required=True, help="a file named *.onnx or *.pt2")
    parser.add_argument("--images", type=str | None, default=None, help="a folder or a tar of images to compare on")
    size = int | tuple[int, int] | None
    parser.add_argument(
        "--image_size", type=size, default=None, help="[height, width]; that of the training if missing"
    )
    add_model_arguments(parser, read=("output",))
    return parser
