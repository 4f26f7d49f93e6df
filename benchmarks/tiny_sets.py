"""The smallest sets of images and the smallest recipe on them, for figures that are not about images."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (64, 64)

MODEL = {
    "class_path": "lightning_st.RetinaNet",
    "init_args": {
        "backbone": "resnet10t",
        "backbone_options": {"channels": [8, 8, 16, 16], "stem_width": 8},
        "max_level": 4,
        "neck_width": 8,
        "head_width": 8,
        "head_depth": 1,
        "anchor_size": 3.0,
        "batch_norm_momentum": 0.3,
        "score_threshold": 0.001,
    },
}
TRAINING = {"optimizer": "adamw", "warmup_steps": 2, "ema_decay": 0.9}
TRAINER = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1}


def jpeg(generator: np.random.Generator) -> bytes:
    """Return a JPEG of noise with a bright square at 16 to 40."""
    picture = generator.integers(0, 90, (*SIZE, 3), dtype=np.uint8)
    picture[16:40, 16:40] = 230
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def write_sets(folder: Path, unlabeled: int = 8) -> dict[str, Any]:
    """Write eight labelled images and four of val, and a tar of unlabelled ones; return the arguments of the data."""
    generator = np.random.default_rng(0)
    sources: dict[str, Any] = {}
    for name, count in (("labeled", 8), ("val", 4)):
        images = folder / name
        images.mkdir(parents=True)
        content: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
        for number in range(count):
            (images / f"{number}.jpg").write_bytes(jpeg(generator))
            content["images"].append({"id": number, "file_name": f"{number}.jpg", "width": SIZE[1], "height": SIZE[0]})
            box = {"id": number + 1, "image_id": number, "category_id": 1, "bbox": [16, 16, 24, 24], "area": 576}
            content["annotations"].append(box | {"iscrowd": 0})
        (folder / f"{name}.json").write_text(json.dumps(content | {"categories": [{"id": 1, "name": "square"}]}))
        sources[name] = {"images": str(images), "annotations": str(folder / f"{name}.json")}
    pictures = [jpeg(generator) for _ in range(8)]
    with tarfile.open(folder / "unlabeled.tar", "w") as archive:
        for number in range(unlabeled):
            member = tarfile.TarInfo(f"{number:09d}.jpg")
            member.size = len(pictures[number % 8])
            archive.addfile(member, io.BytesIO(pictures[number % 8]))
    sources["unlabeled"] = {"images": str(folder / "unlabeled.tar")}
    common = {"image_size": 64, "batch_size": 4, "num_workers": 0, "cache_folder": str(folder / "cache")}
    return sources | common


def recipe_of(data: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe of a few steps."""
    training = {**TRAINING, "max_steps": 4, "validate_every": 2}
    return {
        "data": data,
        "model": MODEL,
        "teacher": training,
        "student": {**training, "init": "teacher"},
        "pseudo_label": {"score_threshold": 0.002, "shard_size": 1024},
        "trainer": TRAINER,
    }
