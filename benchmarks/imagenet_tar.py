"""Indexing ImageNet as it is published, a tar of 1000 tars: time, memory, and images at random; nothing is unpacked.

    python benchmarks/imagenet_tar.py [--classes 1000] [--images 1281] [--bytes 1500] [--folder DIR]

The archive is generated: as many members as ILSVRC2012_img_train.tar has, each of few bytes, so that it fits (3 GB and
not 138). Reading headers costs as much CPU as there; what is not in the page cache costs an access of the disk each.
"""

import argparse
import io
import random
import resource
import tarfile
import tempfile
import time
from pathlib import Path

from processes import in_process

from lightning_st.index import build_index

READ_COUNT = 10_000


def content_of(label, number, size):
    """Return the bytes of an image: they say whose they are."""
    return f"{label} {number} ".encode().ljust(size, b".")


def write_archive(path, class_count, image_count, size):
    with tarfile.open(path, "w") as archive:
        for label in range(class_count):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as inner:
                for number in range(image_count):
                    add(inner, f"n{label:08d}_{number}.JPEG", content_of(label, number, size))
            add(archive, f"n{label:08d}.tar", buffer.getvalue())


def add(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def measure(path, cache, size, queue):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    index = build_index(path, cache_folder=cache, progress=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    rows = random.Random(0).sample(range(len(index)), min(READ_COUNT, len(index)))
    with open(path, "rb") as archive:
        for row in rows:
            record = index.image(row)
            archive.seek(record.offset)
            label, number = record.name.removesuffix(".JPEG").rpartition("/")[2][1:].split("_")
            assert archive.read(record.length) == content_of(int(label), int(number), size), record
    queue.put((len(index), wall, cpu, before, peak, (time.process_time() - begun) / len(rows)))


def measure_classes(path, cache, queue):
    begun = time.process_time()
    index = build_index(path, format="classes", cache_folder=cache, progress=False)
    queue.put((len(index.classes), len(index), time.process_time() - begun))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=1281, help="in each class")
    parser.add_argument("--bytes", type=int, default=1500, help="of each image")
    parser.add_argument("--folder", help="where the archive goes for the time being (3 GB)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path, cache = Path(folder, "ILSVRC2012_img_train.tar"), Path(folder, "cache")
        write_archive(path, arguments.classes, arguments.images, arguments.bytes)
        print(f"{arguments.classes:,} archives in one of {path.stat().st_size / 1e6:.0f} MB\n")
        print("| figure | value |\n|---|---|")
        count, wall, cpu, before, peak, read = in_process(measure, path, cache, arguments.bytes)
        print(f"| images | {count:,} |\n| indexing | {wall:.1f} s wall, {cpu:.1f} s CPU |")
        print(f"| memory before, and peak | {before / 1e3:.0f} MB, {peak / 1e3:.0f} MB |")
        print(f"| a record and its bytes at random, CPU, mean of {READ_COUNT:,} | {read * 1e6:.0f} us |")
        class_count, _, seconds = in_process(measure_classes, path, cache)
        print(f"| indexing with the {class_count:,} classes, CPU | {seconds:.1f} s |")
        left = sum(file.stat().st_size for file in cache.iterdir())
        print(f"| left on the disk besides the archive | {left / 1e6:.0f} MB |")


if __name__ == "__main__":
    main()
