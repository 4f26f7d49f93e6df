"""The work that `changes` measures, in a process of its own that has one state of the package on its path.

python -m benchmarks.change_works WORK AMOUNT prints the seconds on the processor and the MB that it adds at its peak.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.peak import megabytes_since, reset_peak

Work = Callable[[], object]
FOLD_PERCENT = 10


def evaluate(amount: int) -> Work:
    """Return what counts COCO's AP of ``amount`` images."""
    from benchmarks.evaluation import make_images, prepare_ours

    return prepare_ours(*make_images(amount))


def index(amount: int) -> Work:
    """Return what builds the index of a COCO JSON of ``amount`` images, each time anew."""
    from benchmarks.generated import make_image_folder, write_json
    from lightning_st.index import build_index

    images, annotations = make_image_folder(Path("images")), Path("instances.json")
    write_json(annotations, amount)
    caches = (Path(f"cache_{number}") for number in range(100))
    return lambda: build_index(images, annotations, cache_folder=next(caches), progress=False)


def open_fold(amount: int) -> Work:
    """Return what finds the images of a published fold in a COCO JSON of ``amount`` images that is indexed."""
    from lightning_st.index import fold_rows

    opened, annotations, folds = index(amount)(), Path("instances.json"), Path("folds.txt")
    with_objects = {annotation["image_id"] for annotation in json.loads(annotations.read_text())["annotations"]}
    numbers = list(range(len(with_objects) * FOLD_PERCENT // 100))
    folds.write_text(json.dumps({f"{FOLD_PERCENT:.1f}": {"1": numbers}}))
    return lambda: fold_rows(opened, annotations, folds, FOLD_PERCENT / 100, 1)


def suppress(amount: int) -> Work:
    """Return what selects detections of 8 images among the scores of ``amount`` anchors and 80 classes."""
    from benchmarks.inference import Candidates

    return Candidates.make(8, amount, 80).select


def decode(amount: int) -> Work:
    """Return what decodes ``amount`` JPEG files."""
    from benchmarks.measuring import Settings
    from benchmarks.pipelines import make_photographs
    from lightning_st.data.decoding import decode as decode_one

    files = [photograph.path.read_bytes() for photograph in make_photographs(Settings(Path.cwd()), amount)]
    return lambda: [decode_one(data) for data in files]


def step(amount: int) -> Work:
    """Return what takes a training step on 2 images of ``amount`` pixels a side."""
    from benchmarks.detectors import batch_with_pixels, make_ours, training_loss
    from benchmarks.train_step import make_step

    model = make_ours(80)
    take = make_step(model, training_loss(model, batch_with_pixels(2, amount, 80)), 2)
    return lambda: take(0)


WORKS = {work.__name__: work for work in (evaluate, index, open_fold, suppress, decode, step)}


def main(name: str, amount: int) -> None:
    """Do a work twice, and print what the second time cost."""
    work = WORKS[name](amount)
    work()
    before, begun = reset_peak(), time.process_time()
    work()
    print(json.dumps([time.process_time() - begun, megabytes_since(before)]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
