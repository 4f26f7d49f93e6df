"""JPEG file to boxes after non-maximum suppression, R50-FPN on a CPU, beside torchvision's RetinaNet; and NMS alone.

Both read the same files with one thread each, find at most 100 boxes an image above the same score, and suppress at
the same IoU. Untrained heads would find nothing: biases and noise are set so that both find a thousand candidates in an
image, as a trained one does at 0.05. Images/s are per second of the processor.

Of square images both see the same pixels. Others ours pads to a square, as it was trained with, and torchvision's to
what the largest image of a batch needs: of 4:3 it sees three quarters.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.ops import batched_nms, nms

from benchmarks.detectors import TORCHVISION, make_ours, make_theirs
from benchmarks.measuring import OURS, Comparison, Settings, interleave
from benchmarks.photographs import photo_like
from lightning_st.models import RetinaNet
from lightning_st.models.boxes import encode
from lightning_st.models.detections import select_detections
from lightning_st.transforms import fit

LIMITS = {"score_threshold": 0.05, "nms_iou": 0.5, "max_detections": 100}


def write_images(folder: Path, count: int, height: int, width: int) -> list[Path]:
    """Write JPEG files that are as heavy to decode as photographs."""
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        cv2.imwrite(str(path), photo_like(generator, height, width), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return paths


def make_lively(model: nn.Module, image: Callable[[], Tensor], wanted: int) -> None:
    """Shift the last convolution of the class head until ``wanted`` scores of an image lie above the threshold."""
    head = model.head
    layer = head.class_predictor if isinstance(model, RetinaNet) else head.classification_head.cls_logits
    with torch.no_grad():
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
        logits = image().flatten()
        layer.bias += float(np.log(0.05 / 0.95)) - logits.kthvalue(max(1, len(logits) - wanted)).values


def our_side(model: RetinaNet, paths: list[Path], size: int) -> Callable[[int], int]:
    """Return a function from the number of a turn to how many boxes were found."""

    def predict(turn: int) -> int:
        path = paths[turn % len(paths)]
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
        fitted, scales = fit(image, (size, size))
        predictions = model.predict(torch.from_numpy(fitted).permute(2, 0, 1)[None])
        return len(model.restore(predictions, torch.tensor([scales]), torch.tensor([image.shape[:2]]))[0]["boxes"])

    return predict


def their_side(model: nn.Module, paths: list[Path], size: int) -> Callable[[int], int]:
    """Return the same of torchvision's, whose own transform resizes and pads."""

    @torch.no_grad()
    def predict(turn: int) -> int:
        image = decode_jpeg(read_file(str(paths[turn % len(paths)])), ImageReadMode.RGB)
        return len(model([image.float() / 255])[0]["boxes"])

    return predict


def speed_of(predict: Callable[[int], int], images: int) -> Callable[[int], float]:
    """Return a function that predicts ``images`` images and returns images per second of the processor."""

    def run(turn: int) -> float:
        start = time.process_time()
        for number in range(images):
            predict(turn * images + number)
        return images / (time.process_time() - start)

    return run


def end_to_end(settings: Settings, size: int, class_count: int, is_square: bool) -> Comparison:
    """Compare from file to boxes, images that are square or 4:3 fitted into a square of ``size`` pixels."""
    width, count = (128, 2) if settings.tiny else (640, 8)
    height = width if is_square else width * 3 // 4
    paths = write_images(settings.folder, count, height, width)
    ours = make_ours(class_count, **LIMITS).eval()
    probe = torch.from_numpy(fit(cv2.imread(str(paths[0]))[..., ::-1].copy(), (size, size))[0]).permute(2, 0, 1)
    make_lively(ours, lambda: ours(probe[None])[0], 1000)
    sides = {OURS: our_side(ours, paths, size)}
    for name in TORCHVISION:
        limits = {"score_thresh": 0.05, "nms_thresh": 0.5, "detections_per_img": 100}
        model = make_theirs(name, class_count, size, **limits).eval()

        def logits(model: nn.Module = model) -> Tensor:
            normal = model.transform([probe.float() / 255])[0].tensors
            features = list(model.backbone(normal).values())
            return model.head(features)["cls_logits"]

        make_lively(model, logits, 1000)
        sides[name] = their_side(model, paths, size)
    found = {name: predict(0) for name, predict in sides.items()}
    if min(found.values()) == 0 or max(found.values()) > 100:
        raise RuntimeError(f"boxes found in an image: {found}; there is nothing to compare")
    images = 1 if size >= 640 or settings.tiny else 2
    speeds = interleave({name: speed_of(predict, images) for name, predict in sides.items()}, settings.repetitions)
    note = "boxes in the first image: " + ", ".join(f"{name} {count}" for name, count in found.items())
    return Comparison.of(
        speeds,
        case=f"{width} x {height} JPEG to boxes, {size} px, {class_count} classes, one thread",
        unit="images/s",
        better="more",
        goals=dict.fromkeys(TORCHVISION, 1.0) if is_square else {},
        note=note,
    )


class Candidates(NamedTuple):
    """Scores and boxes of a batch to select from; of each image some thousand lie above the threshold.

    Attributes:
        scores: float32 [B, A, C].
        deltas: float32 [B, A, 4], of which all are nothing: the boxes are the anchors.
        anchors: float32 [A, 4], xyxy in pixels of a canvas of 640 x 640.
    """

    scores: Tensor
    deltas: Tensor
    anchors: Tensor

    @classmethod
    def make(cls, image_count: int, anchor_count: int, class_count: int) -> "Candidates":
        """Draw candidates, the same each time."""
        generator = torch.Generator().manual_seed(0)
        centres = torch.rand(anchor_count, 2, generator=generator) * 600
        anchors = torch.cat([centres, centres + 20 + 80 * torch.rand(anchor_count, 2, generator=generator)], dim=1)
        scores = torch.rand(image_count, anchor_count, class_count, generator=generator) ** 60
        return cls(scores, encode(anchors, anchors).expand(image_count, -1, -1).contiguous(), anchors)

    def select(self) -> list[int]:
        """Return how many boxes of each image our selection and NMS leave."""
        found = select_detections(*self, (640, 640), 0.05, 0.5, 5000, 100)
        return [len(each["boxes"]) for each in found]


def suppression(settings: Settings) -> Comparison:
    """Compare selection and NMS of a batch: ours at once, and torchvision's operators image by image."""
    image_count, anchor_count, class_count = (2, 50, 3) if settings.tiny else (8, 1500, 80)
    candidates = Candidates.make(image_count, anchor_count, class_count)

    def theirs(by_class: bool) -> list[int]:
        counts = []
        for image in candidates.scores:
            row, label = torch.nonzero(image > 0.05, as_tuple=True)
            boxes, values = candidates.anchors[row].clamp(0, 640), image[row, label]
            if by_class:
                kept = [torch.nonzero(label == c)[:, 0] for c in label.unique()]
                kept = torch.cat([rows[nms(boxes[rows], values[rows], 0.5)] for rows in kept])
                kept = kept[values[kept].argsort(descending=True)]
            else:
                kept = batched_nms(boxes, values, label, 0.5)
            counts.append(len(kept[:100]))
        return counts

    runs = {OURS: candidates.select, "batched_nms an image": lambda: theirs(False), "nms a class": lambda: theirs(True)}
    found = {name: run() for name, run in runs.items()}
    if any(counts != found[OURS] for counts in found.values()):
        raise RuntimeError(f"boxes that are left in each image: {found}")

    def milliseconds(run: Callable[[], list[int]]) -> Callable[[int], float]:
        def measured(turn: int) -> float:
            start = time.process_time()
            run()
            return 1000 * (time.process_time() - start)

        return measured

    values = interleave({name: milliseconds(run) for name, run in runs.items()}, settings.repetitions)
    count = int((candidates.scores > 0.05).sum()) // image_count
    return Comparison.of(
        values,
        case=f"scores to boxes, batch {image_count}, {count} candidates an image, {class_count} classes",
        unit="ms",
        better="less",
        goals=dict.fromkeys(("batched_nms an image", "nms a class"), 1.0),
    )


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield files to boxes at 320 and 640 pixels, and NMS alone."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield suppression(settings)
    for size in [128] if settings.tiny else [320, 640]:
        for is_square in (True, False):
            print(f"  files to boxes at {size} pixels", file=sys.stderr, flush=True)
            yield end_to_end(settings, size, 3 if settings.tiny else 80, is_square)
