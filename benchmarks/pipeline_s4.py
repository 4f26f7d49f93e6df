"""Policy S4 from a JPEG file to a uint8 image with boxes: ahead of torchvision.v2, albumentations and ultralytics.

Each does one operation of RandAugment at its strongest, a flip, a scale jitter and a crop to a square, padded where the
image is smaller. The first line has the jitter of the paper; in the second, where images get as small as in the
released code of the paper's largest models, our decoder shrinks many of them on its way.
"""

from collections.abc import Iterator
from dataclasses import replace

from benchmarks import pipeline_peers
from benchmarks.measuring import Comparison, Settings
from benchmarks.pipelines import Task, compare

PEERS = {
    "torchvision.v2": pipeline_peers.torchvision_v2,
    "albumentations": pipeline_peers.albumentations,
    "ultralytics": pipeline_peers.ultralytics,
}
GOALS = {"torchvision.v2": 5.0, "albumentations": 2.2, "ultralytics": 2.0}
NOTE = "torchvision.v2: its own 14 operations, on pixels alone; ultralytics: RandomHSV for an operation, no mosaic"


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield the paper's jitter, and a wider one."""
    for jitter, goals in (((0.5, 2.0), GOALS), ((0.1, 2.0), {})):
        rates, share = compare(settings, Task(operates=True), jitter, PEERS, goals)
        yield replace(rates, case=f"S4, {rates.case}", note=NOTE)
        yield replace(share, limit=0.6 if goals else None)
