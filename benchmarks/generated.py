"""Annotations and indexes of any size, made up: what several figures read."""

import json
from pathlib import Path

import numpy as np

from lightning_st.index import IndexWriter

BOXES_PER_IMAGE = 7  # COCO's mean, and that of pseudo-labels on ImageNet
CLASSES = tuple(f"class {number}" for number in range(80))
_GROUP = 1024  # images, or annotations, that are made at once


def write_index(path: Path, image_count: int, is_labeled: bool = True) -> None:
    """Write an index with the names of ImageNet's images, 500 x 375 pixels, and 7 boxes with scores an image."""
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 200, (BOXES_PER_IMAGE * _GROUP, 4)).astype(np.float32)
    corners[:, 2:] += corners[:, :2]
    with IndexWriter(path, CLASSES if is_labeled else (), source={"root": "/images"}, is_labeled=is_labeled) as writer:
        for start in range(0, image_count, _GROUP):
            rows = range(start, min(start + _GROUP, image_count))
            images = [{"name": name_of(row), "size": (500, 375), "image_id": row} for row in rows]
            count = BOXES_PER_IMAGE * is_labeled
            labels = (start + np.arange(len(rows) * count)) % len(CLASSES)
            boxes = corners[: len(labels)]
            columns = {"boxes": boxes, "labels": labels, "scores": boxes[:, 0] / 200} if is_labeled else {}
            writer.add_group(images, [count] * len(rows), **columns)


def name_of(row: int) -> str:
    """Return the name of an image of `write_index`."""
    return f"n{row // 1300:08d}/n{row // 1300:08d}_{row}.JPEG"


def write_json(path: Path, image_count: int) -> None:
    """Write a file like instances_train2017.json: 7.3 annotations an image, polygons of 8 to 50 points, not grouped."""
    generator = np.random.default_rng(0)
    corner_counts = generator.integers(8, 50, 400)
    polygons = [json.dumps([np.round(generator.uniform(0, 600, 2 * count), 2).tolist()]) for count in corner_counts]
    with path.open("w") as file:
        file.write('{"images": [')
        for number in range(image_count):
            image = {"id": number, "file_name": f"{number:012d}.jpg", "width": 640, "height": 480, "license": 3}
            file.write(", " * (number > 0) + json.dumps(image))
        file.write('], "annotations": [')
        separator = ""
        for start in range(0, int(7.3 * image_count), _GROUP):
            numbers = range(start, min(start + _GROUP, int(7.3 * image_count)))
            images = generator.integers(0, image_count, len(numbers)).tolist()
            boxes = np.round(generator.uniform(1, 200, (len(numbers), 4)), 2).tolist()
            for number, image, box in zip(numbers, images, boxes, strict=True):
                file.write(
                    f'{separator}{{"segmentation": {polygons[number % 400]}, "area": {box[2] * box[3]}, "iscrowd": 0, '
                    f'"image_id": {image}, "bbox": {box}, "category_id": {number % 80 + 1}, "id": {number + 1}}}'
                )
                separator = ", "
        categories = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
        file.write(f'], "categories": {json.dumps(categories)}}}')


def make_image_folder(folder: Path) -> Path:
    """Return a folder that holds the first image of `write_json`, as far as an index looks: it is empty."""
    folder.mkdir()
    (folder / f"{0:012d}.jpg").touch()
    return folder
