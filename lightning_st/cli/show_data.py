"""``lightning_st show labels`` and ``show augmentations``: what a config's data are, as training sees them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser
from PIL import Image

from lightning_st.cli.console import prepare_console, say
from lightning_st.cli.parsing import add_not_read, make_parser, parse
from lightning_st.cli.store_pictures import require_count
from lightning_st.cli.vocabulary import data_vocabulary
from lightning_st.data import SelfTrainingDataModule
from lightning_st.data.image_file import ImageFile
from lightning_st.data.labels import EvaluationLabels
from lightning_st.data.sampling import Draw, Stream
from lightning_st.data.split import Split
from lightning_st.errors import ConfigError
from lightning_st.reports.choice import ORDERS, choose
from lightning_st.reports.sheet import PAGE, Sheet, Unreadable, write_sheet
from lightning_st.reports.tiles import Tile, at_tile_size, box_tile, mask_tile
from lightning_st.stages.building import build, import_name
from lightning_st.transforms import DEFAULT_POLICY
from lightning_st.transforms.policy import SCALE_JITTER
from lightning_st.types import Batch, BoxKind

SPLITS = ("labeled", "val", "test", "unlabeled")

_MOST_DRAWS = 10
_HUMAN = "Boxes are human labels; crowd regions, in which nothing is judged, are in long dashes and hatched."
_MASKS = "Classes in colour, a background without; hatched pixels are ignored."


def labels(words: Sequence[str]) -> None:
    """Write a contact sheet of human labels."""
    parser = _parser("labels", "A contact sheet of a config's images with their human labels.")
    parser.add_argument("--count", type=int, default=24, help="pictures at most")
    parser.add_argument("--split", type=str, default="labeled", help=f"the set: {', '.join(SPLITS)}")
    parser.add_argument("--order", type=str, default="random", help=f"{', '.join(ORDERS)}: of labels")
    parser.add_argument("--class", dest="class_name", type=str, help="only images with labels of this class")
    config = parse(parser, words, data_vocabulary, is_recipe=None)
    for key, known in (("split", SPLITS), ("order", ORDERS)):
        if config[key] not in known:
            raise ConfigError.unknown_choice(key, config[key], known)
    require_count(config["count"])
    split = _open(config).split(config["split"])
    index = split.index
    chosen = choose(index, split.rows, ~index.crowd, config["order"], config["count"], config["class_name"])
    sentence = (_MASKS if index.has_masks else _HUMAN) if index.is_labeled else "These images have no labels."
    sheet = Sheet("Labels", f"data.{split.name}", [sentence], index.classes)
    unreadable = Unreadable()
    output = Path(config["output"])
    count = write_sheet(sheet, _label_tiles(split, [c.row for c in chosen], unreadable), output, unreadable)
    say(f"{output / PAGE}: {count} pictures")


def augmentations(words: Sequence[str]) -> None:
    """Write a contact sheet of what augmentation does to labelled images."""
    about = "What S1 to S4 and the config's own augmentation do to its labelled images, as training draws it."
    parser = _parser("augmentations", about)
    parser.add_argument("--count", type=int, default=6, help="images at most: the first that training sees")
    parser.add_argument("--draws", type=int, default=2, help="times that each policy is drawn for an image")
    config = parse(parser, words, data_vocabulary, is_recipe=None)
    require_count(config["count"])
    if not 1 <= config["draws"] <= _MOST_DRAWS:
        raise ConfigError.expected("draws", f"from 1 to {_MOST_DRAWS}", config["draws"])
    data = _open(config)
    policies = _policies(config["data"])
    height, width = data.image_size
    sentence = f"Each policy makes images of {width} x {height} pixels. {_MASKS if data.target == 'masks' else _HUMAN}"
    own = "The column 'as configured' is what training sees in its first batches."
    sheet = Sheet("Augmentations", "data.labeled", [sentence, own], data.classes, in_rows=True)
    unreadable = Unreadable()
    output = Path(config["output"])
    tiles = _augmented_tiles(data, policies, config["count"], config["draws"], unreadable)
    count = write_sheet(sheet, tiles, output, unreadable)
    say(f"{output / PAGE}: {count} pictures")


def label_tile(split: Split, row: int, title: str, classes: Sequence[str] | None = None) -> Tile:
    """Draw an image with its human labels, turned as training and evaluation turn it.

    Args:
        split: Its set.
        row: Its row in the index of the set.
        title: See ``Tile``.
        classes: Whose order and colours the labels get; the set's own where missing.

    Raises:
        ImageError: If it cannot be read.
    """
    index = split.index
    file = ImageFile.open(index.image(row), index.is_labeled)
    image, scale = small_original(file)
    if not index.is_labeled:
        return Tile(title, image)
    names = index.classes if classes is None else classes
    found = EvaluationLabels(index, split.class_map(names), split.target).of(row)
    if split.target == "masks":
        mask = found["mask"].numpy()
        return mask_tile(title, image, mask, names) if mask.size else Tile(title, image, "no mask")
    kinds = np.where(found["crowd"].numpy(), BoxKind.CROWD, BoxKind.OBJECT).astype(np.uint8)
    return box_tile(title, image, found["boxes"].numpy(), found["labels"].numpy(), kinds, names, scale)


def small_original(file: ImageFile) -> tuple[Image.Image, float]:
    """Return an image at the size of a contact sheet, and its pixels for each of the original."""
    image = at_tile_size(Image.fromarray(file.decode()))
    return image, image.width / file.size[1]


def _label_tiles(split: Split, rows: Sequence[int], unreadable: Unreadable) -> Iterator[tuple[str, Tile]]:
    for row in rows:
        with unreadable.noted():
            yield "", label_tile(split, row, split.index.name(row))


def _augmented_tiles(
    data: SelfTrainingDataModule,
    policies: Mapping[str, Mapping[str, Any]],
    count: int,
    draws: int,
    unreadable: Unreadable,
) -> Iterator[tuple[str, Tile]]:
    """Draw the first images of the training, each as it is and by every policy, through the training's own data set."""
    split = data.split("labeled")
    sets = {name: data.train_dataset(**policy) for name, policy in policies.items()}
    for place, row in enumerate(
        Stream("labeled", split.rows, data.seed).draw(np.arange(min(count, len(split)))).tolist()
    ):
        group = split.index.name(row)
        for number in range(draws):
            # The position decides what is drawn; the first draw is that of the image's first pass.
            position = place + number * len(split)
            title = group if draws == 1 else f"{group}, draw {number + 1}"
            batches = {name: found[Draw("labeled", row, position)] for name, found in sets.items()}
            bad = next(iter(batches.values()))["bad_images"]
            if bad:
                unreadable.lines += [line for line in bad if line not in unreadable.lines]
                break  # the data set shows another image instead, which has a row of its own
            yield title, label_tile(split, row, "original")
            for name, batch in batches.items():
                yield title, batch_tile(batch, name, data.classes)


def batch_tile(batch: Batch, title: str, classes: Sequence[str]) -> Tile:
    """Draw the first image of a training batch with its labels."""
    pixels = batch["images"][0].permute(1, 2, 0).numpy()
    image = at_tile_size(Image.fromarray(pixels))
    if "masks" in batch:
        return mask_tile(title, image, batch["masks"][0].numpy(), classes)
    boxes, box_labels, kinds = (batch[key][0].numpy() for key in ("boxes", "labels", "kinds"))
    is_box = kinds > 0
    return box_tile(
        title, image, boxes[is_box], box_labels[is_box], kinds[is_box], classes, image.width / pixels.shape[1]
    )


def _policies(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what ``train_dataset`` is called with for each column: the paper's policies, then the config's own."""
    named: dict[str, dict[str, Any]] = {name: {"augment": name} for name in SCALE_JITTER if name != "none"}
    augment, options = data.get("augment") or DEFAULT_POLICY["boxes"], data.get("augment_options")
    if augment in named and not options:
        return {f"{name}, as configured" if name == augment else name: given for name, given in named.items()}
    own = augment if isinstance(augment, str) else "own"
    return {**named, f"{own}, as configured": {}}


def _open(config: Mapping[str, Any]) -> SelfTrainingDataModule:
    """Return the config's data, opened; what is learnt the model's class says, where there is one."""
    prepare_console()
    model = config["model"]
    path = ((model.get("init_args") or {}).get("task") or model).get("class_path")
    arguments = build(config["data"])
    if arguments.get("target") is None and path is not None:
        arguments["target"] = getattr(import_name(path), "target", None)
    arguments["seed"] = config["seed_everything"] if arguments.get("seed") is None else arguments["seed"]
    data = SelfTrainingDataModule(**arguments)
    data.setup()
    return data


def _parser(what: str, about: str) -> ArgumentParser:
    parser = make_parser(
        f"show {what}",
        f"{about} Takes configs of self_train and of fit; data is read, and of the model what it learns.",
    )
    parser.add_argument("--config", action="config", help="a config in YAML; several are merged in order")
    parser.add_argument("--output", type=str, required=True, help="the folder for index.html, sheet.png and pictures/")
    parser.add_argument("--seed_everything", type=int, default=0, help="the seed of every random draw")
    parser.add_class_arguments(SelfTrainingDataModule, "data", instantiate=False)
    parser.add_argument(
        "--model", type=dict[str, Any], default={}, help="its class says whether boxes or masks are read"
    )
    add_not_read(parser, read=("output", "seed_everything"))
    return parser
