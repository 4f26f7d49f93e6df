"""Pictures for the tests of the check: each of its own, and known again when it is saved otherwise."""

import json
from pathlib import Path

import cv2
import numpy as np


def picture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Return soft coloured clouds, uint8 [H, W, 3]; another seed, other clouds."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(0, 255, (8, 10, 3)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def save(path: Path, image: np.ndarray, quality: int = 95) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def write_set(folder: Path, seeds: range, classes=("cat",), boxes=None, size=(120, 160)) -> dict[str, str]:
    """Write pictures and a COCO file: a box of the first class in each, unless `boxes` says (image, class, box)."""
    images = [{"id": n, "file_name": f"{folder.name}_{n}.jpg", "height": size[0], "width": size[1]} for n in seeds]
    for image in images:
        save(folder / "images" / image["file_name"], picture(image["id"], *size))
    boxes = [(n, 0, [10, 10, 40, 40]) for n in seeds] if boxes is None else boxes
    annotations = [
        {"id": i, "image_id": n, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i, (n, c, box) in enumerate(boxes)
    ]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": c, "name": name} for c, name in enumerate(classes)],
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    return {"images": str(folder / "images"), "annotations": str(folder / "boxes.json")}


def write_pool(folder: Path, seeds: range) -> dict[str, str]:
    for seed in seeds:
        save(folder / "images" / f"pool_{seed}.jpg", picture(seed))
    return {"images": str(folder / "images")}
