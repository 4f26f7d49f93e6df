"""``lightning_st predict``: a checkpoint on a folder of images; with a config of ``fit`` it is Lightning's own."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from lightning_st.cli.console import prepare_console, say
from lightning_st.cli.lightning_commands import run as run_lightning
from lightning_st.cli.model_arguments import add_model_arguments, image_size_of, model_of
from lightning_st.cli.parsing import make_parser, parse
from lightning_st.cli.store_pictures import MOST_PICTURES, sentences_on_stores, store_tiles
from lightning_st.cli.vocabulary import predict_vocabulary
from lightning_st.errors import ConfigError
from lightning_st.index import export_coco, export_masks, export_results, numbered_as
from lightning_st.reports.choice import Chosen
from lightning_st.reports.own_folder import own_folder, require_own
from lightning_st.reports.sheet import PAGE, Sheet, Unreadable, fill_sheet
from lightning_st.selftrain import PseudoLabels
from lightning_st.stages.owned import owned_in
from lightning_st.stages.predict_folder import PredictSettings, predict_folder
from lightning_st.types import BoxKind

RESULTS, IMAGES, STORE = "predictions.json", "images.json", "labels"

_OWN = {"--checkpoint", "--images"}


def predict(words: Sequence[str]) -> None:
    """Run the command that the words mean: ``--checkpoint`` and ``--images`` are ours, all else is Lightning's."""
    names = {word.partition("=")[0] for word in words}
    if names & _OWN or names <= {"-h", "--help"}:
        predict_images(words)
    else:
        run_lightning(["predict", *words])


def predict_images(words: Sequence[str]) -> None:
    """Predict a folder of images, and leave COCO JSON or masks, pictures, a page, and a store of all scores."""
    config = parse(_parser(), words, predict_vocabulary, is_recipe=None)
    threshold, pictures = config["score_threshold"], config["pictures"]
    if threshold is not None and not 0 < threshold <= 1:
        raise ConfigError.expected("score_threshold", "above 0 and at most 1", threshold)
    if not 0 <= pictures <= MOST_PICTURES:
        raise ConfigError.expected("pictures", f"from 0 to {MOST_PICTURES}", pictures)
    output = Path(config["output"])
    require_own(output, [STORE])
    prepare_console()
    found = predict_folder(
        Path(config["checkpoint"]),
        config["images"],
        output / STORE,
        _settings(config),
        config["list"],
        model_of(config),
        config["restart"],
    )
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        listed = None if config["list"] is None else Path(config["list"])
        say(leave(found, Path(config["images"]).resolve().name, output, pictures, listed))


def leave(found: PseudoLabels, name: str, output: Path, pictures: int, listed: Path | None = None) -> str:
    """Write what other tools read, and pictures of images spread evenly over the folder; return a line that says so.

    Args:
        found: The predictions.
        name: What the page calls the images.
        output: The folder.
        pictures: How many; 0 for no page.
        listed: The list of the images; one in COCO JSON says their ids, and perhaps those of the classes.
    """
    index, thresholds = found.index, found.thresholds
    with own_folder(output, besides=[STORE]) as folder:
        if index.has_masks:
            export_masks(index, folder, thresholds.keep)
            said = f"{output / 'masks'}: {len(index)} masks"
        else:
            kept = thresholds.kinds(index.labels, index.scores) == BoxKind.OBJECT
            numbered = index if listed is None else numbered_as(index, listed)
            export_results(numbered, folder / RESULTS, kept)
            export_coco(numbered, folder / IMAGES, keep=np.zeros(len(index.boxes), bool))
            said = f"{output / RESULTS}: {int(kept.sum())} boxes in {len(index)} images"
        if not pictures or not len(index):
            return said
        rows = np.unique(np.linspace(0, len(index) - 1, min(pictures, len(index))).round().astype(int))
        unreadable = Unreadable()
        lowest = f"Shown is what reaches a score of {float(thresholds.keep.min()):g}."
        # One threshold for all: no box is in between, so there is nothing to explain but hatched pixels.
        how = sentences_on_stores(index, is_by_box=False) if index.has_masks else []
        sheet = Sheet("Predictions", name, [lowest, *how], index.classes)
        tiles = store_tiles(index, thresholds, [Chosen(row) for row in rows.tolist()], unreadable)
        count = fill_sheet(sheet, tiles, folder, unreadable)
    return f"{said}\n{output / PAGE}: {count} pictures"


def _settings(config: Mapping[str, Any]) -> PredictSettings:
    given = {field.name: config[field.name] for field in fields(PredictSettings)}
    return PredictSettings(**{**given, "image_size": image_size_of(config)})


def _parser() -> ArgumentParser:
    parser = make_parser(
        "predict",
        "Predict a folder of images with a checkpoint: COCO results JSON, or palette masks, and pictures. "
        "Without --checkpoint and --images it is Lightning's own predict: lightning_st predict --config F --help.",
    )
    parser.add_argument("--checkpoint", type=str, required=True, help="a checkpoint of a teacher or a student")
    parser.add_argument("--images", type=str, required=True, help="a folder or a tar of images")
    parser.add_argument("--list", type=str | None, default=None, help="only these: a name a line, or a COCO JSON")
    parser.add_argument("--output", type=str, required=True, help="the folder to leave everything in")
    parser.add_argument("--pictures", type=int, default=24, help="how many to draw, evenly from the folder")
    parser.add_argument("--restart", type=bool, default=False, nargs="?", const=True, help="predict anew")
    parser.add_class_arguments(PredictSettings, None, skip={"trainer"}, instantiate=False)
    parser.add_class_arguments(Trainer, "trainer", skip=set(owned_in("trainer")), instantiate=False)
    add_model_arguments(parser, read=("trainer", "output", "restart"))
    return parser
