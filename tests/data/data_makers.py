"""What the tests of this room share: data modules and stores on small image sets, made on the spot."""

import json
from pathlib import Path
from typing import Any

import helpers
import numpy as np

from lightning_st.data import SelfTrainingDataModule
from lightning_st.index import AnnotationIndex, IndexWriter, build_index
from lightning_st.types import ScoreThresholds

CLASSES = ("square", "disc")


def source(folder: Path, count: int, seed: int = 0, labeled: bool = True, **options: Any) -> dict[str, str]:
    """Return a source of `count` images, written where the folder is not there yet: a test may have damaged them."""
    images, annotations = folder / "images", folder / "annotations.json"
    if not folder.exists():
        helpers.write_coco(folder, count, seed=seed, **options)
    return {"images": str(images)} | ({"annotations": str(annotations)} if labeled else {})


def data_module(folder: Path, labeled: int = 7, pseudo: int = 0, **arguments: Any) -> SelfTrainingDataModule:
    """Return a DataModule on `labeled` labelled, `pseudo` pseudo-labelled and 5 val images of 96 x 128 pixels."""
    arguments = {"image_size": 64, "batch_size": 4, "num_workers": 0, "seed": 3} | arguments
    if pseudo:
        arguments["pseudo_labels"] = str(folder / "store")
        if not (folder / "store").exists():
            store(folder / "store", pseudo)
    sources = {"labeled": source(folder / "labeled", labeled), "val": source(folder / "val", 5, seed=1)}
    return SelfTrainingDataModule(**(sources | arguments))


def store(folder: Path, count: int, scores: tuple[float, ...] = (0.9,), keep: float = 0.5, **options: Any) -> Path:
    """Write a store of pseudo-labels: image i has the labels of its COCO file, with score `scores[i % len(scores)]`."""
    images, annotations = helpers.write_coco(folder / "from", count, seed=7)
    truth = build_index(images, annotations, cache_folder=folder / "cache")
    classes = options.get("classes", CLASSES)
    with IndexWriter(folder / "labels.index", classes, source={"root": str(images)}) as writer:
        for row in range(count):
            add_image(writer, truth, row, scores[row % len(scores)])
    thresholds = ScoreThresholds.uniform(len(classes), keep, options.get("ignore"))
    manifest = {"state": options.get("state", "complete"), "thresholds": thresholds.to_json()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def add_image(writer: IndexWriter, truth: AnnotationIndex, row: int, score: float) -> None:
    """Add one image of `truth`, all of its boxes with `score`."""
    image, found = truth.image(row), truth.annotations(row)
    scores = np.full(len(found.boxes), score, np.float32)
    writer.add(image.name, image.width, image.height, boxes=found.boxes, labels=found.labels, scores=scores)
