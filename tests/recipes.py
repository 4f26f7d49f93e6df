"""The smallest recipe that goes the whole way: 64-pixel images, a network of some thousand weights, a few steps."""

from pathlib import Path
from typing import Any

import helpers

TINY_MODEL = {
    "class_path": "lightning_st.RetinaNet",
    "init_args": {
        "backbone": "resnet10t",
        "backbone_options": {"channels": [8, 8, 16, 16], "stem_width": 8},
        "max_level": 4,
        "neck_width": 8,
        "head_width": 8,
        "head_depth": 1,
        "anchor_size": 3.0,
        "scales_per_octave": 1,
        "batch_norm_momentum": 0.3,
        "score_threshold": 0.001,
    },
}


TINY_SEGMENTER = {
    "class_path": "lightning_st.SemanticSegmenter",
    "init_args": {
        "backbone": "resnet10t",
        "backbone_options": {"channels": [8, 8, 16, 16], "stem_width": 8},
        "neck": "fpn",
        "max_level": 4,
        "neck_width": 8,
        "head_width": 8,
        "head_depth": 1,
        "batch_norm_momentum": 0.3,
    },
}


def write_data(folder: Path, labeled: int = 8, unlabeled: int = 10) -> dict[str, Any]:
    """Write four small sets of images and return the sources that name them."""
    counts = {"labeled": labeled, "unlabeled": unlabeled, "val": 5, "test": 5}
    sources = {}
    for seed, (name, count) in enumerate(counts.items()):
        images, annotations = helpers.write_coco(folder / name, count, size=(64, 80), seed=seed)
        sources[name] = {"images": str(images), "annotations": str(annotations)}
    del sources["unlabeled"]["annotations"]
    return sources


def write_mask_data(folder: Path, labeled: int = 8, unlabeled: int = 10) -> dict[str, Any]:
    """Write four small sets of images with masks and return the sources that name them."""
    counts = {"labeled": labeled, "unlabeled": unlabeled, "val": 5, "test": 5}
    sources = {}
    for seed, (name, count) in enumerate(counts.items()):
        images, masks, classes = helpers.write_masks(folder / name, count, size=(64, 80), seed=seed)
        sources[name] = {"images": str(images), "masks": str(masks), "classes": str(classes)}
    sources["unlabeled"] = {"images": sources["unlabeled"]["images"]}
    return sources


def tiny_mask_recipe(folder: Path, labeled: int = 8, unlabeled: int = 10, **data: Any) -> dict[str, Any]:
    """Return the same for masks."""
    recipe = tiny_recipe(folder / "boxes")
    common = {key: value for key, value in recipe["data"].items() if key not in ("labeled", "unlabeled", "val", "test")}
    recipe |= {"data": {**write_mask_data(folder, labeled, unlabeled), **common, **data}, "model": TINY_SEGMENTER}
    recipe["pseudo_label"] = {"score_threshold": 0.34, "shard_size": 4}
    for name in ("teacher", "student"):
        recipe[name] |= {"lr": 0.02, "max_steps": 12, "validate_every": 4}
    return recipe


def tiny_recipe(folder: Path, labeled: int = 8, unlabeled: int = 10, **data: Any) -> dict[str, Any]:
    """Return a recipe of a few seconds on images that are written into `folder`."""
    training = {"max_steps": 6, "validate_every": 2, "optimizer": "adamw", "warmup_steps": 2, "ema_decay": 0.9}
    common = {"image_size": 64, "batch_size": 4, "num_workers": 0}
    return {
        "data": {**write_data(folder, labeled, unlabeled), **common, **data},
        "model": TINY_MODEL,
        "teacher": dict(training),
        "student": {**training, "init": "teacher"},
        "pseudo_label": {"score_threshold": 0.002, "shard_size": 4},
        "trainer": {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1},
    }


TINY_BACKBONE = {
    "backbone": "resnet10t",
    "backbone_options": {"channels": [8, 8, 16, 16], "stem_width": 8},
}


def pretrain_recipe(folder: Path, arm: str, **data: Any) -> dict[str, Any]:
    """Return a recipe of `pretrain` of a few seconds: `arm` is "ImageClassifier", "SimCLR" or "JointDetector"."""
    train = helpers.write_class_folders(folder / "classes", 6)
    sources: dict[str, Any] = {
        "ImageClassifier": {
            "labeled": {"images": str(train)},
            "val": {"images": str(helpers.write_class_folders(folder / "classes_val", 3, seed=1))},
        },
        "SimCLR": {"unlabeled": {"images": str(train)}},
    }
    if arm == "JointDetector":
        detection = write_data(folder / "detection")
        sources[arm] = {name: detection[name] for name in ("labeled", "val")} | {"joint": {"images": str(train)}}
    arguments = TINY_MODEL["init_args"] if arm == "JointDetector" else TINY_BACKBONE
    return {
        "data": {**sources[arm], "image_size": 64, "batch_size": 4, "num_workers": 0, **data},
        "model": {"class_path": f"lightning_st.{arm}", "init_args": dict(arguments)},
        "training": {"max_steps": 6, "validate_every": 2, "optimizer": "adamw", "warmup_steps": 2, "ema_decay": 0.9},
        "trainer": {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1},
    }
