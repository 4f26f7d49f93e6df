"""The pipelines of the peers, each with what it has nearest to ours; for ``pipelines.compare``."""

import os
import random
import tempfile

import cv2
import numpy as np
import torch

from benchmarks.measuring import optional
from benchmarks.pipelines import BOX_COUNT, HEIGHT, SIDE, WIDTH, Photograph, Pipeline, Result, Task
from lightning_st.types import IGNORE_INDEX, PADDING_COLOUR

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # the import asks the network for its newest version
os.environ.setdefault("YOLO_OFFLINE", "true")  # and so does ultralytics'
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())  # where it writes its settings at the import


def torchvision_v2(task: Task) -> Pipeline:
    """torchvision.transforms.v2: its RandAugment of 14 operations, on the image alone: it refuses boxes and masks."""
    from torchvision import tv_tensors
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import v2

    operation = v2.RandAugment(num_ops=1, magnitude=30) if task.operates else v2.Identity()  # the last of 31 bins
    flip = v2.RandomHorizontalFlip(0.0 if task.is_still else 0.5)
    jitter = v2.ScaleJitter((SIDE, SIDE))
    fill = {tv_tensors.Image: PADDING_COLOUR, tv_tensors.Mask: IGNORE_INDEX}
    crop = v2.RandomCrop((SIDE, SIDE), pad_if_needed=True, fill=fill)
    geometry = v2.Compose([flip, jitter, crop] + [v2.SanitizeBoundingBoxes()] * (not task.has_masks))
    labels = torch.zeros(BOX_COUNT, dtype=torch.int64)

    def run(photograph: Photograph, draw: int, scale: float) -> Result:
        torch.manual_seed(draw)
        jitter.scale_range = (scale, scale)
        image = operation(tv_tensors.Image(decode_jpeg(read_file(str(photograph.path)), ImageReadMode.RGB)))
        if task.has_masks:
            moved = geometry({"image": image, "mask": tv_tensors.Mask(torch.from_numpy(photograph.mask)[None])})
            return Result(moved["image"], None, moved["mask"])
        boxes = torch.from_numpy(photograph.boxes)
        boxed = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(HEIGHT, WIDTH))
        moved = geometry({"image": image, "boxes": boxed, "labels": labels})
        return Result(moved["image"], moved["boxes"])

    return run


def albumentations(task: Task) -> Pipeline:
    """Return a Compose of albumentations: the operations of S4 as near as it has them, warps from the nearest pixel."""
    import albumentations as alb

    scaling = alb.RandomScale(p=1)
    operations = _albumentations_operations(alb, task.has_masks) if task.operates else []
    padding = {"border_mode": 0, "fill": PADDING_COLOUR, "fill_mask": IGNORE_INDEX}
    bounds = alb.BboxParams("pascal_voc", label_fields=["labels"], filter_invalid_bboxes=True, min_area=1)
    policy = alb.Compose(
        [
            *([alb.OneOf(operations, p=1)] if operations else []),
            alb.HorizontalFlip(p=0.0 if task.is_still else 0.5),
            scaling,
            alb.PadIfNeeded(SIDE, SIDE, position="top_left", p=1, **padding),
            alb.RandomCrop(SIDE, SIDE, p=1),
        ],
        bbox_params=None if task.has_masks else bounds,
    )
    labels = np.zeros(BOX_COUNT, np.int64)

    def run(photograph: Photograph, draw: int, scale: float) -> Result:
        policy.set_random_state(np.random.default_rng(draw), random.Random(draw))
        scaling.scale_limit = (scale - 1, scale - 1)
        scaling.scale_range = (scale - 1, scale - 1)
        image = cv2.imdecode(np.fromfile(photograph.path, np.uint8), cv2.IMREAD_COLOR_RGB)
        if task.has_masks:
            moved = policy(image=image, mask=photograph.mask)
            return Result(moved["image"], None, moved["mask"])
        moved = policy(image=image, bboxes=photograph.boxes, labels=labels)
        return Result(moved["image"], moved["bboxes"])

    return run


def _albumentations_operations(alb, has_masks: bool) -> list:
    """Return the ten operations of S4 for boxes, or its sixteen for masks, at their strongest."""

    def warp(**change: object):
        return alb.Affine(interpolation=cv2.INTER_NEAREST, fill=128, fill_mask=IGNORE_INDEX, p=1, **change)

    def jitter(**change: tuple[float, float]):
        still = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
        return alb.ColorJitter(**still | change, p=1)

    def cutout(side: int):
        sides = {"hole_height_range": (side, side), "hole_width_range": (side, side)}
        return alb.CoarseDropout(num_holes_range=(1, 1), **sides, fill=128, p=1)

    shift = 100 if has_masks else 250
    operations = [
        alb.Equalize(by_channels=True, p=1),
        alb.Solarize(threshold_range=(0.9, 1.0), p=1),
        jitter(saturation=(1.9, 1.9)),
        cutout(80 if has_masks else 200),
        alb.RandomBrightnessContrast(brightness_limit=(0.4, 0.4), contrast_limit=(0, 0), p=1),  # for SolarizeAdd
        *(warp(translate_px={axis: (-shift, shift)}) for axis in "xy"),
        *(warp(shear={axis: (-17, 17)}) for axis in "xy"),
        warp(rotate=(-30, 30)),
    ]
    if has_masks:
        operations += [
            alb.AutoContrast(p=1),
            alb.InvertImg(p=1),
            alb.Posterize(num_bits=(4, 4), p=1),
            jitter(contrast=(1.9, 1.9)),
            jitter(brightness=(1.9, 1.9)),
            alb.Sharpen(alpha=(0.9, 0.9), p=1),
        ]
    return operations


def ultralytics(task: Task) -> Pipeline | None:
    """The pieces of ultralytics' training loader without mosaic, mixup and copy-paste, as ``v8_transforms`` has them.

    Scale and shift are one warp of the whole image; in the place of an operation every image gets RandomHSV.
    """
    if optional("ultralytics") is None:
        return None
    from ultralytics.data.augment import RandomFlip, RandomHSV, RandomPerspective
    from ultralytics.utils.instance import Instances

    affine = RandomPerspective(translate=0.0 if task.is_still else 0.1, size=(SIDE, SIDE))
    steps = [affine, RandomFlip(0.0 if task.is_still else 0.5, "horizontal")]
    if task.operates:
        steps.insert(1, RandomHSV(0.015, 0.7, 0.4))  # its defaults
    classes = np.zeros((BOX_COUNT, 1), np.float32)

    def run(photograph: Photograph, draw: int, scale: float) -> Result:
        random.seed(draw)
        np.random.seed(draw)  # it draws from the global one
        affine.scale = (scale, scale)
        instances = Instances(photograph.boxes.copy(), bbox_format="xyxy", normalized=False)
        labels = {"img": cv2.imread(str(photograph.path)), "cls": classes, "instances": instances}
        for step in steps:
            labels = step(labels)
        labels["instances"].convert_bbox("xyxy")
        return Result(np.ascontiguousarray(labels["img"][..., ::-1]), labels["instances"].bboxes)

    return run


def effdet(task: Task) -> Pipeline | None:
    """The transforms of effdet's training loader, on Pillow's images; geometry alone, and always bilinear as ours."""
    if optional("effdet") is None:
        return None
    from effdet.data.transforms import Compose, ImageToNumpy, RandomFlip, RandomResizePad
    from PIL import Image

    resize = RandomResizePad((SIDE, SIDE), interpolation="bilinear", fill_color=PADDING_COLOUR)
    steps = Compose([RandomFlip(prob=0.0 if task.is_still else 0.5), resize, ImageToNumpy()])
    classes = np.zeros(BOX_COUNT, np.int64)

    def run(photograph: Photograph, draw: int, scale: float) -> Result:
        random.seed(draw)
        resize.scale = (scale, scale)
        with Image.open(photograph.path) as opened:
            image = opened.convert("RGB")
        moved, labels = steps(image, {"bbox": photograph.boxes[:, [1, 0, 3, 2]], "cls": classes})  # it has yxyx
        return Result(moved, labels["bbox"][:, [1, 0, 3, 2]])

    return run
