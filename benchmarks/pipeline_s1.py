"""Policy S1 (flip, scale jitter and crop) from a JPEG file to a uint8 image with boxes: ahead of what others load with.

Nothing but geometry, so that effdet's loader can be compared, too.
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
    "effdet": pipeline_peers.effdet,
}


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield the paper's jitter."""
    rates, share = compare(settings, Task(operates=False), (0.8, 1.2), PEERS, {})
    yield replace(rates, case=f"S1, {rates.case}", note="ultralytics: its warp, without mosaic and colours")
    yield share
