"""Indexing a boxes CSV of Open Images at its full size: time, and memory that does not grow with the rows.

The CSV is generated in the layout of V4-V7: ids in order, 600 classes, coordinates of six decimals. The images are hard
links to 64 JPEG files in 16 folders, so each is listed and opened, and its header read, but from the page cache. Memory
is what indexing adds at its peak. First comes a fortieth of the images with more and more rows, then all. One turn: it
takes minutes.
"""

import os
import random
import sys
import time
from collections.abc import Iterator

from PIL import Image

from benchmarks.measuring import Comparison, Settings
from benchmarks.peak import megabytes_since, reset_peak
from lightning_st.index import build_index

CLASS_COUNT = 600
PHOTO_COUNT = 64  # a file cannot have more than 65,000 links on ext4
HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"


def write_images(folder, image_count):
    folder.mkdir()
    photos = []
    for number in range(PHOTO_COUNT):
        photos.append(folder / f"{number}.photo")
        Image.new("RGB", (1024 - number, 683 + number)).save(photos[-1], "JPEG")
    for digit in "0123456789abcdef":
        (folder / "images" / f"train_{digit}").mkdir(parents=True)
    for number in range(image_count):
        image_id = id_of(number, image_count)
        os.link(photos[number % PHOTO_COUNT], folder / "images" / f"train_{image_id[0]}" / f"{image_id}.jpg")


def id_of(number, image_count):
    """Return an id of 16 hexadecimal digits; they ascend."""
    return f"{number * (1 << 64) // image_count:016x}"


def write_csv(path, row_count, image_count):
    draw = random.Random(0)
    (path.parent / "class-descriptions-boxable.csv").write_text(
        "".join(f"/m/{number:05d},Class {number}\n" for number in range(CLASS_COUNT))
    )
    with path.open("w") as file:
        file.write(HEADER + "\n")
        for number in range(image_count):
            image_id = id_of(number, image_count)
            for _ in range(row_count * (number + 1) // image_count - row_count * number // image_count):
                left, top = draw.random() / 2, draw.random() / 2
                box = f"{left:.6f},{left + 0.01 + draw.random() / 3:.6f},{top:.6f},{top + 0.01 + draw.random() / 3:.6f}"
                label, is_group = f"/m/{draw.randrange(CLASS_COUNT):05d}", int(draw.random() < 0.05)
                file.write(f"{image_id},xclick,{label},1,{box},0,0,{is_group},0,0\n")


def take_turn(images, path, cache, queue):
    before = reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    index = build_index(images, path, cache_folder=cache, progress=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    queue.put((len(index), len(index.boxes), wall, cpu, megabytes_since(before)))


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield time and memory by images and rows."""
    row_count, image_count = (14_610, 1743) if settings.tiny else (14_610_229, 1_743_042)
    few = image_count // 40
    sizes = [(few, row_count // 160), (few, row_count // 40), (few, row_count // 10), (image_count, row_count)]
    for images, rows in sizes:
        folder = settings.folder / str(images)
        if not folder.exists():
            print(f"making {images:,} images", file=sys.stderr, flush=True)
            write_images(folder, images)
        path = folder / f"{rows}-annotations-bbox.csv"
        print(f"making {rows:,} rows", file=sys.stderr, flush=True)
        write_csv(path, rows, images)
        answer = settings.in_process(take_turn, folder / "images", path, folder / "cache")
        found, boxes, wall, cpu, memory = answer
        if (found, boxes) != (images, rows):
            raise RuntimeError(f"expected {images} images and {rows} boxes, got {found} and {boxes}")
        case = f"{rows:,} rows ({path.stat().st_size / 1e6:.0f} MB), {images:,} images"
        yield Comparison(f"{case}: CPU", "s", "less", [cpu], note=f"wall {wall:.0f} s")
        yield Comparison(f"{case}: memory", "MB", "less", [memory])
        again = settings.in_process(take_turn, folder / "images", path, folder / "cache")
        yield Comparison(f"{case}: from the cache, CPU", "s", "less", [again[3]])
        path.unlink()
