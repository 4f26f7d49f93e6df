"""Small image sets that a detector can learn, made on the spot: the tests need no downloaded data."""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

# RGB colour of each shape: the classes differ in colour and outline, so that a tiny network learns them in seconds.
COLOURS = {"square": (230, 60, 40), "disc": (40, 90, 230), "triangle": (60, 200, 70), "ring": (230, 200, 40)}


def draw_shape(image: np.ndarray, name: str, box: tuple[int, int, int, int]) -> None:
    """Draw the shape of class `name` into `image` (uint8 [H, W, 3], RGB) so that it fills `box` (xyxy pixels)."""
    left, top, right, bottom = box
    colour, centre = COLOURS[name], ((left + right) // 2, (top + bottom) // 2)
    axes = ((right - left) // 2 - 1, (bottom - top) // 2 - 1)
    if name == "square":
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), colour, -1)
    elif name == "triangle":
        cv2.fillPoly(image, [np.array([[left, bottom - 1], [right - 1, bottom - 1], [centre[0], top]])], colour)
    else:
        cv2.ellipse(image, centre, axes, 0, 0, 360, colour, -1 if name == "disc" else 3)


def make_picture(
    generator: np.random.Generator, size: tuple[int, int], classes: tuple[str, ...], max_shapes: int = 3
) -> tuple[np.ndarray, list[tuple[int, tuple[int, int, int, int]]]]:
    """Return noise of `size` (H, W) with one to `max_shapes` shapes on it, and their (class index, box in xyxy)."""
    height, width = size
    image = generator.integers(90, 160, (height, width, 3), dtype=np.uint8)
    shapes = []
    for _ in range(generator.integers(1, max_shapes + 1)):
        side = int(generator.integers(min(size) // 5, min(size) // 2))
        left, top = int(generator.integers(0, width - side)), int(generator.integers(0, height - side))
        label, box = int(generator.integers(len(classes))), (left, top, left + side, top + side)
        # A later shape would hide an earlier one: leave those that overlap out.
        if all(left >= b[2] or b[0] >= box[2] or top >= b[3] or b[1] >= box[3] for _, b in shapes):
            draw_shape(image, classes[label], box)
            shapes.append((label, box))
    return image, shapes


def write_coco(
    folder: Path,
    image_count: int = 8,
    size: tuple[int, int] = (96, 128),
    seed: int = 0,
    classes: tuple[str, ...] = ("square", "disc"),
    labeled: bool = True,
) -> tuple[Path, Path]:
    """Write JPEG images with coloured shapes on noise, and their COCO JSON, under `folder`.

    Args:
        folder: Made where it is missing; gets `images/` and `annotations.json`.
        image_count: How many images, named `image_000.jpg` on; image ids are sparse (10, 13, 16 ...).
        size: (height, width) in pixels.
        seed: Another seed, other images.
        classes: Of "square", "disc", "triangle", "ring"; category ids are sparse (2, 5, 8 ...).
        labeled: False writes a JSON without annotations (and without categories).

    Returns:
        The folder of the images and the file of the annotations.
    """
    generator = np.random.default_rng(seed)
    images_folder, annotations_path = folder / "images", folder / "annotations.json"
    images_folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(image_count):
        picture, shapes = make_picture(generator, size, classes)
        record = {"id": 10 + 3 * number, "file_name": f"image_{number:03d}.jpg", "width": size[1], "height": size[0]}
        cv2.imwrite(str(images_folder / record["file_name"]), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        images.append(record)
        for label, (left, top, right, bottom) in shapes:
            width, height = right - left, bottom - top
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record["id"],
                    "category_id": 2 + 3 * label,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                }
            )
    categories = [{"id": 2 + 3 * label, "name": name} for label, name in enumerate(classes)]
    content = (
        {"images": images, "annotations": annotations, "categories": categories} if labeled else {"images": images}
    )
    annotations_path.write_text(json.dumps(content))
    return images_folder, annotations_path


def write_masks(
    folder: Path,
    image_count: int = 8,
    size: tuple[int, int] = (96, 128),
    seed: int = 0,
    classes: tuple[str, ...] = ("square", "disc"),
) -> tuple[Path, Path, Path]:
    """Write the images of `write_coco` with palette masks: 0 is the background, 255 a void line around each shape.

    Returns:
        The folders of images and masks, and the file of class names.
    """
    palette = [0, 0, 0, *(value for name in classes for value in COLOURS[name])]
    palette += [0] * (768 - len(palette))  # a short one is saved in so few bits that 255 becomes 3
    generator = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(image_count):
        picture, shapes = make_picture(generator, size, classes)
        mask = np.zeros(size, np.uint8)
        for label, box in shapes:
            drawn = np.zeros((*size, 3), np.uint8)
            draw_shape(drawn, classes[label], box)
            inside = drawn.any(axis=2)
            mask[cv2.dilate(inside.astype(np.uint8), np.ones((3, 3))) > 0] = 255
            mask[inside] = label + 1
        stem = f"image_{number:03d}"
        cv2.imwrite(str(folder / "images" / f"{stem}.jpg"), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        image = Image.fromarray(mask, mode="P")
        image.putpalette(palette)
        image.save(folder / "masks" / f"{stem}.png")
    names = folder / "classes.txt"
    names.write_text("\n".join(["background", *classes]))
    return folder / "images", folder / "masks", names


def write_class_folders(
    folder: Path,
    image_count: int = 8,
    size: tuple[int, int] = (64, 80),
    seed: int = 0,
    classes: tuple[str, ...] = ("square", "disc"),
) -> Path:
    """Write an ImageFolder: `image_count` JPEG images of each class, one of its shapes on noise, in a folder each."""
    generator = np.random.default_rng(seed)
    height, width = size
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(image_count):
            image = generator.integers(90, 160, (height, width, 3), dtype=np.uint8)
            side = int(generator.integers(height // 2, height - 8))
            left, top = int(generator.integers(0, width - side)), int(generator.integers(0, height - side))
            draw_shape(image, name, (left, top, left + side, top + side))
            cv2.imwrite(str(folder / name / f"{name}_{seed}_{number:03d}.jpg"), image[..., ::-1])
    return folder
