"""What the figures of pipelines share: photographs with boxes and masks, our own pipeline, and how all are compared.

A pipeline goes from a JPEG file to uint8 [SIDE, SIDE, 3] with its boxes or its mask. Photographs are 640 x 480, so
that a scale of 1 just fits. The scale of each draw is the one that our policy draws; everybody gets it. Where a flip,
a crop or an operation of RandAugment is drawn, each draws for itself from the same distribution.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measuring import OURS, Comparison, Settings, interleave
from benchmarks.photographs import photo_like
from lightning_st.data.image_file import ImageFile
from lightning_st.data.sampling import generator
from lightning_st.index import ImageRecord
from lightning_st.transforms import PaperPolicy, make_policy
from lightning_st.types import IGNORE_INDEX, Sample

SIDE = 640
"""Of the output, in pixels."""

HEIGHT, WIDTH = 480, 640
BOX_COUNT = 7  # the mean of COCO
MASK_CLASSES = 21  # of PASCAL
QUALITY = 95  # of the JPEG files


class Photograph(NamedTuple):
    """A JPEG file of 640 x 480, its boxes (float32 [BOX_COUNT, 4], xyxy) and its mask (uint8 [480, 640])."""

    path: Path
    boxes: NDArray[np.float32]
    mask: NDArray[np.uint8]


class Result(NamedTuple):
    """What a pipeline makes of a photograph; images of torch are [3, SIDE, SIDE]."""

    image: Any
    boxes: Any
    mask: Any = None


Pipeline = Callable[[Photograph, int, float], Result]
"""(photograph, number of the draw, scale of the draw) -> result."""


class Task(NamedTuple):
    """What a pipeline is to do.

    Attributes:
        operates: Whether one operation of RandAugment at its strongest comes first (S4).
        has_masks: Masks move with the image instead of boxes.
        is_still: No flip and no shift: what all can do alike, for comparing what comes out.
    """

    operates: bool
    has_masks: bool = False
    is_still: bool = False


def make_photographs(settings: Settings, count: int) -> list[Photograph]:
    """Write ``count`` photographs: those of the settings, resized, or noise with the spectrum of photographs."""
    random = np.random.default_rng(0)
    given = sorted(settings.images.rglob("*.jpg"))[:count] if settings.images else []
    if settings.images and len(given) < count:
        raise ValueError(f"{settings.images}: there are {len(given)} photographs (*.jpg), {count} are needed")
    folder = settings.folder / "photographs"
    folder.mkdir(exist_ok=True)
    photographs = []
    for i in range(count):
        pixels = cv2.resize(cv2.imread(str(given[i])), (WIDTH, HEIGHT)) if given else photo_like(random, HEIGHT, WIDTH)
        path = folder / f"{i:04d}.jpg"
        cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        low = random.uniform(0, (560, 400), (BOX_COUNT, 2))
        high = np.minimum(low + random.uniform(20, 300, (BOX_COUNT, 2)), (WIDTH, HEIGHT))
        grid = random.integers(0, MASK_CLASSES, (12, 16)).astype(np.uint8)
        mask = cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        photographs.append(Photograph(path, np.concatenate([low, high], axis=1).astype(np.float32), mask))
    return photographs


def decode_alone(photograph: Photograph, draw: int, scale: float) -> Result:
    """Read and decode a file at full size, by OpenCV: what no pipeline can be faster than."""
    return Result(cv2.imdecode(np.fromfile(photograph.path, np.uint8), cv2.IMREAD_COLOR_RGB), photograph.boxes)


def make_ours(policy: PaperPolicy, has_masks: bool) -> Pipeline:
    """Return our pipeline, piece by piece what ``data.dataset`` does for an image of a batch."""
    labels, kinds = np.zeros(BOX_COUNT, np.int64), np.ones(BOX_COUNT, np.uint8)

    def run(photograph: Photograph, draw: int, scale: float) -> Result:
        record = ImageRecord(0, photograph.path.name, photograph.path, 0, -1, WIDTH, HEIGHT, 0)
        file = ImageFile.open(record, is_labeled=True)
        drawn = policy.draw(generator(0, "labeled", draw), *file.size)
        image = file.decode(drawn.reduction)
        if has_masks:
            mask = file.mask_in(image, photograph.mask, drawn.reduction)
            sample = Sample(image, np.zeros((0, 4), np.float32), labels[:0], kinds[:0], mask)
        else:
            sample = Sample(image, file.boxes_in(image, photograph.boxes, drawn.reduction), labels, kinds)
        sample = policy.apply(sample, drawn)
        return Result(sample.image, sample.boxes, sample.mask)

    return run


def make_own_policy(task: Task, jitter: tuple[float, float]) -> PaperPolicy:
    """Return our policy for a task."""
    options: dict[str, Any] = {"scale_jitter": jitter, "flip_probability": 0.0 if task.is_still else 0.5}
    name, target = "S4" if task.operates else "S1", "masks" if task.has_masks else "boxes"
    policy = make_policy(name, (SIDE, SIDE), target, **options)
    assert isinstance(policy, PaperPolicy)
    return policy


Maker = Callable[[Task], Pipeline | None]
"""Makes a peer's pipeline; None where the peer is not installed."""


def compare(
    settings: Settings, task: Task, jitter: tuple[float, float], peers: Mapping[str, Maker], goals: Mapping[str, float]
) -> Iterator[Comparison]:
    """Yield our pipeline beside the peers' in images a second of one core, and what part of decoding alone that is."""
    photographs = make_photographs(settings, 4 if settings.tiny else 64)
    pipelines = {name: make(task) for name, make in peers.items()}
    cv2.setNumThreads(0)  # after the imports of peers, some of which set it
    torch.set_num_threads(1)
    still = task._replace(operates=False, is_still=True)
    for name, make in peers.items():
        if (pipeline := make(still)) is not None:
            refuse_different(name, pipeline, photographs[0], still)
    policy = make_own_policy(task, jitter)

    def side(pipeline: Pipeline) -> Callable[[int], float]:
        def images_per_second(turn: int) -> float:
            draws = range(turn * len(photographs), (turn + 1) * len(photographs))
            scales = [policy.draw(generator(0, "labeled", draw), HEIGHT, WIDTH).geometry.scale for draw in draws]
            start = time.process_time()
            for photograph, draw, scale in zip(photographs, draws, scales, strict=True):
                pipeline(photograph, draw, scale)
            return len(photographs) / (time.process_time() - start)

        return images_per_second

    alone = "OpenCV, decoding alone"
    pipelines = {OURS: make_ours(policy, task.has_masks), alone: decode_alone, **pipelines}
    sides = {name: None if pipeline is None else side(pipeline) for name, pipeline in pipelines.items()}
    values = interleave(sides, settings.repetitions)
    ours, decoding = values[OURS], values.pop(alone)
    kilobytes = np.mean([photograph.path.stat().st_size for photograph in photographs]) / 1000
    case = f"jitter {jitter[0]:g}-{jitter[1]:g}, JPEG of 640 x 480 ({kilobytes:.0f} kB) to {SIDE} x {SIDE}, one core"
    yield Comparison.of(values, case=case, unit="images/s", better="more", goals=dict(goals))
    yield Comparison(
        case=f"the same, of OpenCV's decoding alone at full size ({np.median(decoding):.0f} images/s)",
        unit="of it",
        better="more",
        ours=[mine / alone for mine, alone in zip(ours, decoding, strict=True)],
    )


def refuse_different(name: str, pipeline: Pipeline, photograph: Photograph, still: Task) -> None:
    """Refuse a pipeline that does not show the photograph as ours does.

    At scale 1, where nothing is interpolated, pixels and mask have to agree to a grey level on average, wherever a
    peer puts the picture on the canvas; at 0.75 the boxes have to have the same sides within a pixel.

    Raises:
        ValueError: If they do not.
    """
    ours = make_ours(make_own_policy(still, (1.0, 1.0)), still.has_masks)(photograph, 0, 1.0)
    theirs = pipeline(photograph, 0, 1.0)
    if still.has_masks:
        row, column = (int(side[0]) for side in np.nonzero(np.asarray(theirs.mask).squeeze() != IGNORE_INDEX))
    else:
        column, row = np.round(np.asarray(theirs.boxes)[0, :2] - ours.boxes[0, :2]).astype(int)
    seen = as_pixels(theirs.image)
    if seen.shape != (SIDE, SIDE, 3) or seen.dtype != np.uint8:
        raise ValueError(f"{name} returns {seen.dtype} {list(seen.shape)}")
    place = slice(row, row + HEIGHT), slice(column, column + WIDTH)
    difference = np.abs(seen[place].astype(int) - ours.image[:HEIGHT, :WIDTH]).mean()
    if difference > 1:
        raise ValueError(f"{name} shows another picture: {difference:.1f} grey levels from ours")
    if still.has_masks:
        if (np.asarray(theirs.mask).squeeze()[place] != ours.mask[:HEIGHT, :WIDTH]).any():
            raise ValueError(f"{name} moves the mask otherwise")
        return
    smaller = np.asarray(pipeline(photograph, 0, 0.75).boxes)
    sides, expected = ((boxes[:, 2:] - boxes[:, :2]) for boxes in (smaller, photograph.boxes * 0.75))
    if len(sides) != len(expected) or np.abs(sides - expected).max() > 1:
        raise ValueError(f"{name} moves boxes otherwise")


def as_pixels(image: Any) -> NDArray[Any]:
    """Return an image as [H, W, 3], whatever it is made of."""
    pixels = np.asarray(image)
    return pixels.transpose(1, 2, 0) if pixels.shape[0] == 3 else pixels
