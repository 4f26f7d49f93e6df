"""The largest changes that these figures taught: the package just before and just after each, on the same work.

Both states come from git's history. Every turn is a process of its own, which does the work once to warm up, and once
for the time on the processor and the memory that it adds at its peak.
"""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import OURS, Comparison, NotMeasured, Settings, interleave, optional

ROOT = Path(__file__).parent.parent
TINY = 50
"""The amount of the tiny form, which does the first work alone: a process takes seconds to begin."""


class Change(NamedTuple):
    """What became cheaper.

    Attributes:
        before: The commit before the change.
        after: The commit that finished it.
        what: What was done.
        on: The work, with a place for its amount.
        amount: How much of it.
        with_memory: Whether the change is about memory, too.
        needs: A module without which the package before the change does not do the work.
    """

    before: str
    after: str
    what: str
    on: str
    amount: int
    with_memory: bool = False
    needs: str = ""


CHANGES = {
    "index": Change("f96b1f0^", "868571e", "COCO JSON read by msgspec, hundreds of records at once",
                    "the index of {:,} images", 20_000, with_memory=True),
    "evaluate": Change("05e992c^", "05e992c", "AP counted in whole arrays, not by faster-coco-eval",
                       "{:,} images of 80 classes", 5000, with_memory=True, needs="faster_coco_eval"),
    "open_fold": Change("ac218a5^", "ac218a5", "what a published fold counts is kept beside the index",
                        "a fold of {:,} images", 20_000),
    "suppress": Change("1f12ac5^", "1f12ac5", "NMS on a CPU a group at a time",
                       "8 images of {:,} anchors and 80 classes", 1500),
    "step": Change("2e9bc69^", "2e9bc69", "padding to what the FPN needs",
                   "a training step of R50-FPN on 2 images of {} px", 320),
    "decode": Change("f97a5b5^", "f97a5b5", "JPEG headers without Pillow, RGB without a second pass",
                     "{} JPEGs of 640 x 480", 64),
}  # fmt: skip


def unpack(commit: str, folder: Path) -> Path:
    """Return a folder in which the package of ``commit`` lies.

    Raises:
        NotMeasured: Where git does not know the commit.
    """
    command = ["git", "archive", commit, "lightning_st"]
    try:
        archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotMeasured("the package as it was needs a git checkout with its history") from error
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder / commit, filter="data")
    return folder / commit


def turn_of(work: str, amount: int, package: Path, folder: Path) -> tuple[float, float]:
    """Return the seconds and MB of some work of `change_works`, by the package in ``package``."""
    folder.mkdir()
    paths = os.pathsep.join([str(package), str(ROOT)])  # these come before what is installed
    command = [sys.executable, "-m", "benchmarks.change_works", work, str(amount)]
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{work} by {package.name} ended with status {done.returncode}: {done.stderr[-2000:]}")
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield the time of each change, and the memory of those that are about it."""
    changes = dict([next(iter(CHANGES.items()))]) if settings.tiny else CHANGES
    packages = {commit: unpack(commit, settings.folder) for change in changes.values() for commit in change[:2]}
    for work, change in changes.items():
        print(f"  {work}", file=sys.stderr, flush=True)
        amount = TINY if settings.tiny else change.amount
        memory: dict[str, list[float] | None] = {OURS: [], "before": []}

        def side(name: str, package: Path, work=work, amount=amount, memory=memory) -> Callable[[int], float]:
            def take(turn: int) -> float:
                seconds, megabytes = turn_of(work, amount, package, settings.folder / f"{work}_{name}_{turn}")
                memory[name].append(megabytes)
                return seconds

            return take

        sides = {OURS: side(OURS, packages[change.after]), "before": side("before", packages[change.before])}
        if change.needs and optional(change.needs) is None:
            sides["before"] = memory["before"] = None
        times = interleave(sides, settings.few_repetitions, warms_up=False)
        case = f"{change.what} ({change.after}): {change.on.format(amount)}"
        yield Comparison.of(times, case=f"{case}, CPU", unit="s", better="less")
        if change.with_memory:
            yield Comparison.of(memory, case=f"{case}, memory at the peak", unit="MB", better="less")
