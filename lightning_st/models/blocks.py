"""How anchors, or rows of pixels, are cut into blocks, so that intermediate results stay in a cache or in bounds."""

from collections.abc import Iterator

import torch

CPU_ELEMENTS = 2**18
"""Elements of one intermediate result on a CPU: 1 MiB of float32 stays in a core's cache (2-3 times as fast)."""

DEVICE_ELEMENTS = 2**25
"""Elements of one intermediate result on an accelerator: 128 MiB of float32 bound the memory and launch few kernels."""


def blocks_of(count: int, elements_each: int, device: torch.device) -> Iterator[slice]:
    """Yield the slices of what is worked on at once.

    Args:
        count: How many anchors or rows there are.
        elements_each: Elements of an intermediate result for each of them, the whole batch together.
        device: Where the work is done. A compiled graph fuses the work itself and gets one block.

    Example:
        >>> list(blocks_of(5, CPU_ELEMENTS // 2, torch.device("cpu")))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    elements = CPU_ELEMENTS if device.type == "cpu" else DEVICE_ELEMENTS
    step = count if torch.compiler.is_compiling() else max(1, elements // max(1, elements_each))
    for start in range(0, count, max(1, step)):
        yield slice(start, min(start + step, count))
