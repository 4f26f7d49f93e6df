"""``lightning_st export DIR --format coco|yolo|masks --output PATH``; loads no torch.

With ``--checkpoint`` it is a model that is exported: ``export_model_command``.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from lightning_st.cli.console import say
from lightning_st.cli.named_labels import open_labels, thresholds_of
from lightning_st.cli.one_sentence import OneSentenceParser
from lightning_st.errors import ConfigError
from lightning_st.index import export_coco, export_masks, export_yolo
from lightning_st.types import BoxKind


def export(words: Sequence[str]) -> None:
    """Write a model, a store of pseudo-labels, or an index file, in a form that other tools read."""
    if "--checkpoint" in {word.partition("=")[0] for word in words}:
        import_module("lightning_st.cli.export_model_command").export_model_of(words)
    else:
        export_labels(words)


def export_labels(words: Sequence[str]) -> None:
    """Write a store of pseudo-labels, or an index file, in a form that other tools read."""
    parser = OneSentenceParser(
        prog="lightning_st export",
        description="Write pseudo-labels that pass their thresholds, or an index, for other tools.",
        usage="lightning_st export DIR --output PATH [--format coco|yolo|masks] [--score_threshold T]\n"
        "       lightning_st export --checkpoint FILE --output FILE.onnx|FILE.pt2 [--images DIR] [--image_size N]",
        epilog="With --checkpoint it writes a model, as ONNX or as a program of torch.export, and compares the two: on "
        "some of --images, or on made-up ones. `lightning_st export --checkpoint FILE --help` lists the keys.",
    )
    parser.add_argument("labels", metavar="DIR", type=Path, help="what pseudo_label left, or a file *.index")
    help_format = "a JSON file, a YOLO folder, or a folder of palette PNGs; masks for a store of masks, else coco"
    parser.add_argument("--format", choices=["coco", "yolo", "masks"], help=help_format)
    parser.add_argument("--output", type=Path, required=True, help="the file of COCO, the folder of the others")
    parser.add_argument("--score_threshold", type=float, help="from this score (0-1) on, instead of the store's own")
    arguments = parser.parse_args(words)
    if arguments.labels.suffix == ".ckpt":
        raise ConfigError(f"{arguments.labels} is a model: lightning_st export --checkpoint FILE --output FILE.onnx.")
    index = open_labels(arguments.labels)
    thresholds = thresholds_of(arguments.labels, len(index.classes), arguments.score_threshold)
    chosen = arguments.format or ("masks" if index.has_masks else "coco")
    if chosen == "masks":
        export_masks(index, arguments.output, None if thresholds is None else thresholds.keep)
        say(f"{arguments.output}: {len(index)} masks")
        return
    if index.has_masks:
        raise ConfigError.expected("format", "masks: the index holds masks, no boxes", chosen)
    kept = np.ones(len(index.boxes), bool)
    if thresholds is not None:
        kept = thresholds.kinds(index.labels, index.scores) == BoxKind.OBJECT
    write = export_coco if chosen == "coco" else export_yolo
    write(index, arguments.output, keep=kept)
    say(f"{arguments.output}: {len(index)} images, {int(kept.sum())} of {len(kept)} boxes")
