"""``lightning_st inspect``: what a config's model costs, without data and without computing it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lightning_st.cli.console import say
from lightning_st.cli.parsing import add_not_read, make_parser, parse
from lightning_st.cli.vocabulary import inspect_vocabulary
from lightning_st.data.options import read_size
from lightning_st.errors import ConfigError
from lightning_st.models.inspection import Inspection, inspect_model
from lightning_st.stages.building import arguments_of, build_factory, import_name


def inspect(words: Sequence[str]) -> None:
    """Print parameters, multiply-adds, output shapes and memory of a config's model.

    Raises:
        ConfigError: If the config names no model that can be built.
    """
    config = _parse(words)
    spec = config["model"]
    # A config of `fit` names a LightningModule, which holds the task.
    spec = (spec.get("init_args") or {}).get("task") or spec
    arguments = dict(spec.get("init_args") or {})
    if "pretrained" in arguments:  # no size follows from the weights, which may need a download
        spec = {**spec, "init_args": {**arguments, "pretrained": False}}
    height, width = read_size(config["data"].get("image_size", 640))
    names = [f"class {number}" for number in range(config["classes"])]
    takes_count = "image_class_count" in (arguments_of(import_name(spec["class_path"])) or ())
    more = {"image_class_count": config["image_classes"]} if takes_count else {}
    found = inspect_model(lambda: build_factory(spec)(names, **more), height, width)
    title = spec["class_path"].rpartition(".")[2]
    counted = "1 class" if len(names) == 1 else f"{len(names)} classes"
    say(f"{title}, {counted}, one image of {height} x {width} pixels\n")
    say(format_inspection(found))


def format_inspection(found: Inspection) -> str:
    """Return a table of the parts, and a sentence on memory."""
    header = ("part", "parameters", "multiply-adds", "output")
    rows = [
        (part.name, f"{part.parameters:,}", f"{part.multiply_adds / 1e9:,.2f} G", _shapes(part.outputs))
        for part in found.parts
        if part.parameters or part.outputs
    ]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(3)]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip()
        for row in [header, *rows]
    ]
    kept = f"Training keeps {found.kept_bytes / 2**20:,.0f} MiB of activations for each image, in float32."
    state = 4 * 4 * found.parts[-1].parameters / 2**20
    return "\n".join([*lines, "", kept, f"Weights, gradients and AdamW's averages take {state:,.0f} MiB besides."])


def _shapes(outputs: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in outputs)


def _parse(words: Sequence[str]) -> Mapping[str, Any]:
    parser = make_parser(
        "inspect",
        "Print what a config's model costs. Takes configs of self_train, pretrain and fit; model and "
        "data.image_size are read.",
    )
    parser.add_argument("--config", action="config", help="a config in YAML; several are merged in order")
    parser.add_argument("--classes", type=int, default=91, help="how many; 91 are COCO's ids, as papers count them")
    about_images = "how many of whole images, for JointDetector; 1000 are ImageNet's"
    parser.add_argument("--image_classes", type=int, default=1000, help=about_images)
    parser.add_subclass_arguments(torch.nn.Module, "model", skip={"classes"}, required=True, instantiate=False)
    parser.add_argument("--data", type=dict[str, Any], default={}, help="image_size is read")
    add_not_read(parser)
    plain = parse(parser, words, inspect_vocabulary, is_recipe=None)
    for key in ("classes", "image_classes"):
        if plain[key] < 1:
            raise ConfigError.expected(key, "at least 1", plain[key])
    return plain
