"""Policy S4 from JPEG bytes to a uint8 image with boxes, on one core: ours beside torchvision.v2 and albumentations.

    python benchmarks/pipeline_s4.py [--images FOLDER] [--image_size 640] [--scale_jitter 0.5 2] [--repetitions 15]

Each does one operation of RandAugment at its strongest, a flip, a scale jitter and a crop to a square, padded where the
image is smaller. The peers use what they have: torchvision its own RandAugment of 14 operations, on the image alone (it
refuses boxes); albumentations the ten operations of S4 as near as it has them, warps from the nearest pixel as ours.
All in one process, on the same bytes, in turns whose order is drawn anew each time. Times are those of the processor,
of all threads, so that other work on the machine counts less; the table gives medians over the turns.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as alb
import cv2
import numpy as np
import torch
import torchvision
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

from lightning_st.transforms import make_policy
from lightning_st.types import PADDING_COLOUR, Sample

Pipeline = Callable[[np.ndarray, np.ndarray, int], int]
"""(JPEG bytes, boxes, number of the draw) -> how many boxes are left."""

REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | 16,  # what IMREAD_REDUCED_COLOR_2 is beyond IMREAD_COLOR
    4: cv2.IMREAD_COLOR_RGB | 32,
    8: cv2.IMREAD_COLOR_RGB | 64,
}
BOX_COUNT = 7  # the mean of COCO


def photographs(folder: Path | None, count: int = 32) -> list[np.ndarray]:
    """JPEG bytes of images of 640 x 480: from a folder, resized, or noise with the spectrum of photographs."""
    generator = np.random.default_rng(0)
    files = sorted(folder.rglob("*.jpg"))[:count] if folder else [None] * count
    images = [cv2.resize(cv2.imread(str(file)), (640, 480)) if file else photo_like(generator) for file in files]
    return [cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1] for image in images]


def photo_like(generator: np.random.Generator) -> np.ndarray:
    """Octaves of noise, each as strong as it is coarse: about 150 kB at quality 95, as a photograph has."""
    image = np.zeros((480, 640, 3), np.float32)
    for octave in range(8):
        noise = generator.normal(0, 1.45**octave, (max(2, 480 >> octave), max(2, 640 >> octave), 3)).astype(np.float32)
        image += cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
    return np.clip(image * 4 + 128, 0, 255).astype(np.uint8)


def boxes_of(count: int) -> list[np.ndarray]:
    """float32 [BOX_COUNT, 4] for each of ``count`` images of 640 x 480."""
    generator = np.random.default_rng(1)
    low = generator.uniform(0, (560, 400), (count, BOX_COUNT, 2))
    high = np.minimum(low + generator.uniform(20, 300, (count, BOX_COUNT, 2)), (640, 480))
    return list(np.concatenate([low, high], axis=2).astype(np.float32))


def decode_only(encoded: np.ndarray, boxes: np.ndarray, draw: int) -> int:
    return len(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))


def make_ours(image_size: int, scale_jitter: tuple[float, float]) -> Pipeline:
    policy = make_policy("S4", image_size=(image_size, image_size), scale_jitter=scale_jitter)
    labels, kinds = np.zeros(BOX_COUNT, np.int64), np.ones(BOX_COUNT, np.uint8)

    def run(encoded: np.ndarray, boxes: np.ndarray, draw: int) -> int:
        drawn = policy.draw(np.random.default_rng((0, draw)), 480, 640)
        image = cv2.imdecode(encoded, REDUCED[drawn.reduction])
        scale_x, scale_y = image.shape[1] / 640, image.shape[0] / 480
        boxes = boxes * np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
        return len(policy.apply(Sample(image, boxes, labels, kinds), drawn).boxes)

    return run


def make_torchvision(image_size: int, scale_jitter: tuple[float, float]) -> Pipeline:
    operation = v2.RandAugment(num_ops=1, magnitude=30)  # the last of its 31 bins
    geometry = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.ScaleJitter((image_size, image_size), scale_jitter),
            v2.RandomCrop((image_size, image_size), pad_if_needed=True, fill={tv_tensors.Image: PADDING_COLOUR}),
            v2.SanitizeBoundingBoxes(),
        ]
    )
    labels = torch.zeros(BOX_COUNT, dtype=torch.int64)

    def run(encoded: np.ndarray, boxes: np.ndarray, draw: int) -> int:
        torch.manual_seed(draw)
        image = operation(tv_tensors.Image(decode_jpeg(torch.from_numpy(encoded), ImageReadMode.RGB)))
        boxed = tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=(480, 640))
        return len(geometry({"image": image, "boxes": boxed, "labels": labels})["boxes"])

    return run


def make_albumentations(image_size: int, scale_jitter: tuple[float, float]) -> Pipeline:
    def warp(**change: object) -> alb.Affine:
        return alb.Affine(interpolation=cv2.INTER_NEAREST, fill=128, p=1, **change)

    operations = [
        alb.Equalize(by_channels=True, p=1),
        alb.Solarize(threshold_range=(0.9, 1.0), p=1),
        alb.ColorJitter(brightness=(1, 1), contrast=(1, 1), saturation=(1.9, 1.9), hue=(0, 0), p=1),
        alb.CoarseDropout(
            num_holes_range=(1, 1), hole_height_range=(200, 200), hole_width_range=(200, 200), fill=128, p=1
        ),
        alb.RandomBrightnessContrast(brightness_limit=(0.4, 0.4), contrast_limit=(0, 0), p=1),  # for SolarizeAdd
        *(warp(translate_px={axis: (-250, 250)}) for axis in "xy"),
        *(warp(shear={axis: (-17, 17)}) for axis in "xy"),
        warp(rotate=(-30, 30)),
    ]
    policy = alb.Compose(
        [
            alb.OneOf(operations, p=1),
            alb.HorizontalFlip(p=0.5),
            alb.RandomScale(tuple(image_size / 640 * scale - 1 for scale in scale_jitter), p=1),
            alb.PadIfNeeded(image_size, image_size, position="top_left", border_mode=0, fill=PADDING_COLOUR, p=1),
            alb.RandomCrop(image_size, image_size, p=1),
        ],
        bbox_params=alb.BboxParams("pascal_voc", label_fields=["labels"], filter_invalid_bboxes=True, min_area=1),
    )
    labels = np.zeros(BOX_COUNT, np.int64)

    def run(encoded: np.ndarray, boxes: np.ndarray, draw: int) -> int:
        policy.set_random_state(np.random.default_rng(draw), random.Random(draw))
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
        return len(policy(image=image, bboxes=boxes, labels=labels)["bboxes"])

    return run


def seconds_per_image(pipeline: Pipeline, encoded: list[np.ndarray], boxes: list[np.ndarray], turn: int) -> float:
    start = time.process_time()
    for i, (data, image_boxes) in enumerate(zip(encoded, boxes, strict=True)):
        pipeline(data, image_boxes, turn * len(encoded) + i)
    return (time.process_time() - start) / len(encoded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of JPEG files; without it they are generated")
    parser.add_argument("--image_size", type=int, default=640, help="side of the output in pixels")
    parser.add_argument("--scale_jitter", type=float, nargs=2, default=(0.5, 2.0), help="smallest and largest scale")
    parser.add_argument("--repetitions", type=int, default=15, help="turns of each pipeline over all images")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)

    encoded = photographs(arguments.images)
    boxes = boxes_of(len(encoded))
    pipelines = {
        "decoding alone": decode_only,
        "lightning_st": make_ours(arguments.image_size, tuple(arguments.scale_jitter)),
        "albumentations": make_albumentations(arguments.image_size, tuple(arguments.scale_jitter)),
        "torchvision.v2": make_torchvision(arguments.image_size, tuple(arguments.scale_jitter)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    order = random.Random(0)
    for turn in range(-1, arguments.repetitions):  # the first turn warms up
        for name in order.sample(sorted(pipelines), len(pipelines)):
            taken = seconds_per_image(pipelines[name], encoded, boxes, turn + 1)
            if turn >= 0:
                seconds[name].append(taken)

    print(f"{len(encoded)} JPEGs of {np.mean([len(e) for e in encoded]) / 1000:.0f} kB, 640 x 480", end=" ")
    print(f"to {arguments.image_size}, jitter {arguments.scale_jitter[0]}-{arguments.scale_jitter[1]};", end=" ")
    print(f"{arguments.repetitions} turns each; OpenCV {cv2.__version__},", end=" ")
    print(f"torchvision {torchvision.__version__}, albumentations {alb.__version__}\n")
    print("| pipeline | images/s | quartiles | ours is faster by | quartiles |\n|---|---|---|---|---|")
    for name, taken in seconds.items():
        low, _, high = statistics.quantiles([1 / t for t in taken], n=4)
        paired = [t / ours for t, ours in zip(taken, seconds["lightning_st"], strict=True)]
        ratio_low, _, ratio_high = statistics.quantiles(paired, n=4)
        rate, ratio = 1 / statistics.median(taken), statistics.median(paired)
        print(f"| {name} | {rate:.0f} | {low:.0f}-{high:.0f} | {ratio:.2f} | {ratio_low:.2f}-{ratio_high:.2f} |")


if __name__ == "__main__":
    main()
