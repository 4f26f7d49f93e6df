"""Images that a small network learns in a minute: coloured squares and discs on noise.

    python toy_data.py toy

writes toy/ with photos/ and boxes.json (labelled), val_photos/ and val.json, more_photos/ (nobody labelled them), and
toy.yaml, a config that names them. The other examples take it: `--config toy/toy.yaml`.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

CLASSES = ("square", "disc")
COLOURS = ((230, 60, 40), (40, 90, 230))  # RGB
CONFIG = """\
data:
  labeled: {{images: {folder}/photos, annotations: {folder}/boxes.json}}
  unlabeled: {{images: {folder}/more_photos}}
  val: {{images: {folder}/val_photos, annotations: {folder}/val.json}}
  image_size: 64
  batch_size: 4
  num_workers: 0
model:
  class_path: lightning_st.RetinaNet
  init_args:
    backbone: resnet10t
    backbone_options: {{channels: [8, 16, 32, 64], stem_width: 8}}
    max_level: 5
    neck_width: 16
    head_width: 16
    head_depth: 1
    anchor_size: 3.0
    batch_norm_momentum: 0.1
teacher: {{max_steps: 150, optimizer: adamw, lr: 0.005, warmup_steps: 10}}
student: {{max_steps: 150, optimizer: adamw, lr: 0.005, warmup_steps: 10}}
pseudo_label: {{score_threshold: 0.5}}
trainer: {{accelerator: cpu, devices: 1, enable_model_summary: false}}
"""


def draw(generator: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, list[int]]]]:
    """Return an image, uint8 [80, 96, 3] RGB, and the (class index, [left, top, width, height]) of its shapes."""
    image = generator.integers(90, 160, (80, 96, 3), dtype=np.uint8)
    shapes = []
    for column in range(int(generator.integers(1, 3))):  # one in each half, so that none hides another
        side, label = int(generator.integers(16, 40)), int(generator.integers(len(CLASSES)))
        left, top = column * 48 + int(generator.integers(0, 48 - side)), int(generator.integers(0, 80 - side))
        if CLASSES[label] == "square":
            image[top : top + side, left : left + side] = COLOURS[label]
        else:
            cv2.circle(image, (left + side // 2, top + side // 2), side // 2, COLOURS[label], -1)
        shapes.append((label, [left, top, side, side]))
    return image, shapes


def write_images(folder: Path, count: int, seed: int) -> dict[str, list[tuple[int, list[int]]]]:
    """Write `count` images; return the shapes of each by its file name."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, found = np.random.default_rng(seed), {}
    for number in range(count):
        image, found[f"{number:03d}.jpg"] = draw(generator)
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), image[..., ::-1])
    return found


def as_coco(found: dict[str, list[tuple[int, list[int]]]]) -> dict:
    """Return the shapes as a COCO file holds them."""
    images = [{"id": number, "file_name": name, "width": 96, "height": 80} for number, name in enumerate(found)]
    shapes = [(number, *shape) for number, name in enumerate(found) for shape in found[name]]
    annotations = [
        {"id": row, "image_id": number, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for row, (number, label, box) in enumerate(shapes)
    ]
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_toy_data(folder: Path, labeled: int = 24, unlabeled: int = 48) -> Path:
    """Write the images, their labels and the config under `folder`, and return the config's path."""
    for images, labels, count, seed in (("photos", "boxes", labeled, 0), ("val_photos", "val", 12, 1)):
        (folder / f"{labels}.json").write_text(json.dumps(as_coco(write_images(folder / images, count, seed))))
    write_images(folder / "more_photos", unlabeled, 2)
    config = folder / "toy.yaml"
    config.write_text(CONFIG.format(folder=folder))
    return config


if __name__ == "__main__":
    print(write_toy_data(Path(sys.argv[1] if len(sys.argv) > 1 else "toy")))
