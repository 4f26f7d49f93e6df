"""A self-training run as its stages leave it: files with plausible numbers and small images, made in a moment."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import helpers
import numpy as np

from lightning_st.index import AnnotationIndex, IndexWriter
from lightning_st.types import ScoreThresholds

CLASSES = ("square", "disc")
KEEP, IGNORE = (0.5, 0.6), (0.2, 0.6)


def write_json(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": 1, **record}))


def scores(ap: float | None, classes: tuple[str, ...] = CLASSES) -> dict[str, float | None]:
    """Return a split's numbers around `ap`, with an undefined one as a real run has them."""
    if ap is None:
        return {"AP": None, "AP50": None}
    by_class = {f"AP/{name}": round(ap + 0.04 - 0.08 * (number % 2), 6) for number, name in enumerate(classes)}
    rest = {
        "AP50": ap + 0.25,
        "AP75": ap - 0.05,
        "AP_small": None,
        "AP_medium": ap,
        "AP_large": ap + 0.1,
        "AR": ap + 0.15,
    }
    return {"AP": ap, **rest, **by_class}


def write_training(
    folder: Path,
    ap: dict[str, float | None] | None,
    state: str = "complete",
    classes: tuple[str, ...] = CLASSES,
    steps: int = 1600,
    seconds: float = 245.5,
    rise: float = 60.0,
) -> None:
    """Write a stage that trains; `ap` is AP by split, None for a stage that was not evaluated; `rise` in steps."""
    name = folder.name
    manifest = {"stage": name, "state": state, "inputs": {}, "max_steps": steps, "weights": "ema", "parents": {}}
    if state == "complete":
        manifest |= {"seconds": seconds, "evaluated": "checkpoints/best.ckpt", "bad_images": []}
    write_json(folder / "manifest.json", manifest)
    (folder / "evaluation.json").unlink(missing_ok=True)
    if ap is not None:
        splits = {split: scores(value, classes) for split, value in ap.items()}
        record = {"primary": "AP", "checkpoint": "checkpoints/best.ckpt", "splits": splits}
        write_json(folder / "evaluation.json", record | {"images": dict.fromkeys(splits, 73)})
    end = (ap or {}).get("val") or 0.3
    generator = np.random.default_rng(len(name))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "epoch", "lr", "train/loss", "val/AP", "val/AP/square"])
        writer.writeheader()
        for step in range(steps // 40 - 1, steps, steps // 40):
            row = {
                "step": step,
                "lr": 1e-3,
                "train/loss": 0.4 + 1.2 * math.exp(-step / 300) + generator.normal(0, 0.03),
            }
            if (step + 1) % (steps // 10) == 0:
                row |= {"val/AP": end * (1 - math.exp(-(step + 1) / (rise * 4)))}
            writer.writerow(row)


def write_labels(
    folder: Path, images: Path, truth: Path, classes: tuple[str, ...] = CLASSES, state: str = "complete"
) -> AnnotationIndex:
    """Write a store of pseudo-labels on the files in `images`: the shapes of `truth` (COCO), and noise of low score."""
    thresholds = ScoreThresholds(np.resize(np.float32(KEEP), len(classes)), np.resize(np.float32(IGNORE), len(classes)))
    generator = np.random.default_rng(3)
    all_kinds, all_labels, all_scores, per_image = [], [], [], np.zeros(51, int)
    with IndexWriter(folder / "labels.index", classes, source={"root": str(images)}) as writer:
        for file in sorted(images.iterdir()):
            corners, found = shapes_of(truth, file.name)
            corner = generator.uniform(0, 60, (3, 2))
            noise = np.hstack([corner, corner + generator.uniform(8, 35, (3, 2))])
            corners = np.concatenate([corners + generator.normal(0, 2, corners.shape), noise])
            box_scores = generator.beta([3.0] * len(found) + [0.7] * 3, [1.5] * len(found) + [3.0] * 3)
            box_scores = (0.05 + 0.95 * box_scores).astype(np.float32)
            labels = np.append(found, generator.integers(0, len(classes), 3)) % len(classes)
            writer.add(file.name, 128, 96, boxes=corners, labels=labels, scores=box_scores)
            kinds = thresholds.kinds(labels, box_scores)
            per_image[min(50, int((kinds == 1).sum()))] += 1
            all_kinds += kinds.tolist()
            all_labels += labels[kinds == 1].tolist()
            all_scores += box_scores.tolist()
    manifest: dict[str, Any] = {"stage": "pseudo_labels", "state": state, "classes": list(classes)}
    if state == "complete":
        kept = [score for score, kind in zip(all_scores, all_kinds, strict=True) if kind == 1]
        manifest |= {
            "seconds": 20.5,
            "rule": {"class_path": "lightning_st.CalibratedThresholds", "init_args": {"precision": 0.85}},
            "thresholds": thresholds.to_json(),
            "teacher": {"checkpoint": "../teacher/checkpoints/best.ckpt", "fingerprint": "1f" * 32},
            "statistics": {
                "images": int(per_image.sum()),
                "images_with_labels": int(per_image[1:].sum()),
                "labels": len(kept),
                "unsure": all_kinds.count(3),
                "mean_score": sum(kept) / len(kept) if kept else None,
                "labels_by_class": {name: all_labels.count(label) for label, name in enumerate(classes)},
                "labels_per_image": per_image.tolist(),
                "score_histogram": np.histogram(all_scores, 20, (0, 1))[0].tolist(),
            },
            "calibration": reliability(classes),
            "reliability": {"all": score_bins(), "by_class": dict.fromkeys(classes, score_bins())},
            "bad_images": [],
        }
    write_json(folder / "manifest.json", manifest)
    return AnnotationIndex.open(folder / "labels.index")


def shapes_of(truth: Path, name: str) -> tuple[np.ndarray, list[int]]:
    """Return the boxes (xyxy) and labels that the COCO file `truth` has for an image."""
    content = json.loads(truth.read_text())
    image = next(image["id"] for image in content["images"] if image["file_name"] == name)
    own = [annotation for annotation in content["annotations"] if annotation["image_id"] == image]
    corners = np.array([annotation["bbox"] for annotation in own], float).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return corners, [(annotation["category_id"] - 2) // 3 for annotation in own]


def reliability(classes: tuple[str, ...]) -> dict[str, Any]:
    """Return precision and recall over the threshold; above 0.9 there is no box, so no precision."""
    thresholds = [round(0.05 * number, 2) for number in range(1, 20)]
    measured = {
        "thresholds": thresholds,
        "precision": [None if t > 0.9 else round(1 - 0.8 * math.exp(-4 * t), 3) for t in thresholds],
        "recall": [round(1 - t**2, 3) for t in thresholds],
    }
    return dict.fromkeys(classes, measured)


def score_bins() -> dict[str, Any]:
    """Return a reliability diagram of a teacher that is a little too sure; no box has a score of 0.9 or more."""
    means = [round(0.05 + 0.1 * number, 2) for number in range(9)]
    return {
        "counts": [*range(200, 20, -20), 0],
        "mean_scores": [*means, None],
        "shares_right": [*(round(mean**1.5, 3) for mean in means), None],
        "error": 0.116,
    }


def write_run_manifest(folder: Path, classes: tuple[str, ...] = CLASSES, **changes: Any) -> None:
    """Write the run's own manifest; `changes` replace its keys."""
    per_image = [0] * 51
    per_image[5], per_image[6], per_image[9] = 8, 10, 4
    labels = {name: 144 - 100 * (number % 2) for number, name in enumerate(classes)}
    record = {
        "stage": "self_train",
        "state": "complete",
        "config": {
            "seed": 0,
            "rounds": 1,
            "data": {"labeled": {"images": "photos/labelled"}, "image_size": 192},
            "model": {"class_path": "lightning_st.RetinaNet", "init_args": {"backbone": "resnet10t"}},
            "teacher": {"max_steps": 1600},
            "student": {"max_steps": 1600, "init": "random"},
            "pseudo_label": {"rule": "calibrated", "flip": True},
            "trainer": {"precision": "bf16-mixed"},
        },
        "classes": list(classes),
        "versions": {"lightning_st": "0.1.0", "torch": "2.8.0"},
        "fingerprints": {
            split: f"{number}e" * 32 for number, split in enumerate(("labeled", "unlabeled", "val", "test"))
        },
        "data": {
            "labeled": {
                "images": 22,
                "labels": sum(labels.values()),
                "labels_by_class": labels,
                "labels_per_image": per_image,
            },
            "unlabeled": {"images": 30},
            "val": {"images": 73, "labels": 978},
            "test": {"images": 73, "labels": 920},
        },
        "stages": {},
        "bad_images": {},
    }
    write_json(folder / "manifest.json", record | changes)


def make_run(
    folder: Path,
    teacher: dict[str, float | None] | None = {"val": 0.301, "test": 0.291},  # noqa: B006 - never changed
    student: dict[str, float | None] | None = {"val": 0.325, "test": 0.312},  # noqa: B006 - never changed
    control: dict[str, float | None] | None = None,
    classes: tuple[str, ...] = CLASSES,
    image_count: int = 30,
    **changes: Any,
) -> Path:
    """Write a whole run of one round and return its folder.

    Args:
        folder: Made where it is missing.
        teacher: AP by split; None for a run without this stage. Likewise `student` and `control`.
        classes: Class names.
        image_count: Unlabelled images.
        changes: Keys of the run's manifest to replace.
    """
    write_run_manifest(folder, classes, **changes)
    images, truth = helpers.write_coco(folder.with_name(f"{folder.name}_photos"), image_count)
    if teacher is not None:
        write_training(folder / "round_0" / "teacher", teacher, classes=classes)
        write_labels(folder / "round_0" / "pseudo_labels", images, truth, classes)
    if student is not None:
        write_training(folder / "round_0" / "student", student, classes=classes, rise=50.0)
    if control is not None:
        write_training(folder / "control", control, classes=classes, steps=3200, seconds=490.0)
    return folder
