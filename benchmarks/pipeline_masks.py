"""Policy S4 for segmentation, from a JPEG file to a uint8 image with its mask: ahead of torchvision.v2, albumentations.

Sixteen operations take the place of those for boxes (paper.md, 2.4). The mask is in memory for everybody, 640 x 480.
"""

from collections.abc import Iterator
from dataclasses import replace

from benchmarks import pipeline_peers
from benchmarks.measuring import Comparison, Settings
from benchmarks.pipelines import Task, compare

PEERS = {"torchvision.v2": pipeline_peers.torchvision_v2, "albumentations": pipeline_peers.albumentations}


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield the paper's jitter."""
    rates, share = compare(settings, Task(operates=True, has_masks=True), (0.5, 2.0), PEERS, {})
    yield replace(rates, case=f"S4 with masks, {rates.case}", note="torchvision.v2: its 14 operations, on pixels alone")
    yield share
