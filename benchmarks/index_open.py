"""The annotation index at ImageNet size, and building it from COCO JSON, against json and pycocotools.

    python benchmarks/index_open.py [--images 1281167] [--json-images 100000] [--folder DIR]

Prints a Markdown table for each. Every measurement runs in a process of its own; memory is what Linux counts for it
in smaps_rollup (private: this process alone; PSS: shared pages divided among those who share them), for building the
peak of its resident pages, those of mapped files with them. CPU times count less of other work on the machine.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from processes import SPAWN, in_process

from lightning_st.index import AnnotationIndex, IndexWriter, build_index

BOXES_PER_IMAGE = 7  # as the 8.97 M boxes of the pseudo-labelled ImageNet that performance.md measures
CLASSES = tuple(f"class {number}" for number in range(80))


def memory_kb(kind):
    """Return what this process has of memory whose kind begins with `kind`, in kB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kind))


def write_index(path, image_count):
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 200, (BOXES_PER_IMAGE, 4)).astype(np.float32)
    corners[:, 2:] += corners[:, :2]
    with IndexWriter(path, CLASSES, source={"root": "/images"}) as writer:
        for number in range(image_count):
            labels = [(number + box) % 80 for box in range(BOXES_PER_IMAGE)]
            name = f"n{number // 1300:08d}/n{number // 1300:08d}_{number}.JPEG"
            writer.add(name, 500, 375, boxes=corners, labels=labels, scores=corners[:, 0] / 200)


def write_json(path, image_count):
    """Write a file like instances_train2017.json: 7.3 annotations an image, polygons of 8 to 50 points, not grouped."""
    generator = np.random.default_rng(0)
    polygons = [
        [np.round(generator.uniform(0, 600, 2 * count), 2).tolist()] for count in generator.integers(8, 50, 400)
    ]
    with path.open("w") as file:
        file.write('{"images": [')
        for number in range(image_count):
            image = {"id": number, "file_name": f"{number:012d}.jpg", "width": 640, "height": 480, "license": 3}
            file.write(", " * (number > 0) + json.dumps(image))
        file.write('], "annotations": [')
        for number, image in enumerate(generator.integers(0, image_count, int(7.3 * image_count)).tolist()):
            box = np.round(generator.uniform(1, 200, 4), 2).tolist()
            annotation = {"segmentation": polygons[number % 400], "area": box[2] * box[3], "iscrowd": 0}
            annotation |= {"image_id": image, "bbox": box, "category_id": number % 80 + 1, "id": number + 1}
            file.write(", " * (number > 0) + json.dumps(annotation))
        categories = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
        file.write(f'], "categories": {json.dumps(categories)}}}')


def measure_open(path, queue):
    """Open the index (once before, on a one-image index, for the imports), then read records."""
    write_index(path.with_suffix(".small"), 1)
    AnnotationIndex.open(path.with_suffix(".small")).image(0)
    before = memory_kb("Private")
    seconds = []
    for _ in range(21):
        begun = time.perf_counter()
        index = AnnotationIndex.open(path)
        seconds.append(time.perf_counter() - begun)
    private = memory_kb("Private") - before
    rows = np.random.default_rng(0).integers(0, len(index), 20_000).tolist()
    begun = time.process_time()
    for row in rows:
        index.image(row)
        index.annotations(row)
    queue.put((seconds[0], statistics.median(seconds), private, (time.process_time() - begun) / len(rows)))


def read_everything(index, barrier, queue):
    """Be one of several processes that look at every page of the index."""
    total = sum(int(column.view("u1").max(initial=0)) for column in index.columns.values() if column.size)
    barrier.wait()
    queue.put((memory_kb("Pss:"), total))
    barrier.wait()


def measure_processes(path, count):
    """Return the PSS of all of `count` processes together, in kB."""
    index, barrier, queue = AnnotationIndex.open(path), SPAWN.Barrier(count), SPAWN.Queue()
    processes = [SPAWN.Process(target=read_everything, args=(index, barrier, queue)) for _ in range(count)]
    for process in processes:
        process.start()
    figures = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(pss for pss, _ in figures)


def build_with_index(path, images):
    build_index(images, path, cache_folder=images.parent / "cache", progress=False)


def build_with_json(path, images):
    with path.open() as file:
        json.load(file)


def build_with_pycocotools(path, images):
    from pycocotools.coco import COCO

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        COCO(path)


def measure_build(build, path, images, queue):
    begun, cpu = time.perf_counter(), time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    build(path, images)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    queue.put((time.perf_counter() - begun, time.process_time() - cpu, peak))


def report_open(folder, image_count):
    path = folder / "large.index"
    begun = time.process_time()
    write_index(path, image_count)
    written = time.process_time() - begun
    first, median, private, record = in_process(measure_open, path)
    print(f"{image_count:,} images, {image_count * BOXES_PER_IMAGE:,} boxes, {path.stat().st_size / 1e6:.0f} MB\n")
    print("| figure | value |\n|---|---|")
    print(f"| writing, CPU | {written:.1f} s ({written / image_count * 1e6:.1f} us an image) |")
    print(f"| opening, first and median of 21 | {first * 1e3:.2f} ms, {median * 1e3:.2f} ms |")
    print(f"| private memory that opening adds | {private / 1e3:.2f} MB |")
    print(f"| one record at random (image and annotations), CPU | {record * 1e6:.1f} us |")
    for count in (1, 5):
        pss = measure_processes(path, count)
        print(f"| processes that read everything: {count}, PSS of all | {pss / 1e3:.0f} MB |")


def report_build(folder, image_count):
    path, images = folder / "instances.json", folder / "images"
    write_json(path, image_count)
    images.mkdir()
    (images / f"{0:012d}.jpg").touch()
    print(f"\nCOCO JSON of {image_count:,} images, {path.stat().st_size / 1e6:.0f} MB\n")
    print("| reader | wall | CPU | memory it adds at its peak |\n|---|---|---|---|")
    builders = {"build_index": build_with_index, "json.load": build_with_json, "pycocotools": build_with_pycocotools}
    for name, build in builders.items():
        wall, cpu, peak = in_process(measure_build, build, path, images)
        print(f"| {name} | {wall:.1f} s | {cpu:.1f} s | {peak / 1e3:.0f} MB |")
    wall, _, _ = in_process(measure_build, build_with_index, path, images)
    print(f"| build_index, cached | {wall * 1e3:.1f} ms | | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--json-images", type=int, default=100_000)
    parser.add_argument("--folder", help="where the files go for the time being (1.5 GB)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        report_open(Path(folder), arguments.images)
        report_build(Path(folder), arguments.json_images)


if __name__ == "__main__":
    main()
