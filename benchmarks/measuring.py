"""What every figure is made of: turns that interleave, and comparisons that keep each turn's value."""

import gc
import importlib
import multiprocessing
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from statistics import median, quantiles
from types import ModuleType
from typing import Any, Literal

OURS = "lightning_st"
SPAWN = multiprocessing.get_context("spawn")


class NotMeasured(Exception):  # noqa: N818  # no error: the figure says what it would need
    """Raised by a figure that this machine cannot measure; its text says why, and no result is written."""


@dataclass(frozen=True)
class Settings:
    """How a figure is to be measured.

    Attributes:
        folder: An empty folder for files, which is gone afterwards.
        tiny: The smallest form, seconds long, which shows that the figure runs and shows nothing about speed.
        repetitions: Turns of each side; fewer than 5 say nothing about spread.
        images: A folder of JPEG photographs; without it they are generated, as heavy to decode as photographs.
    """

    folder: Path
    tiny: bool = False
    repetitions: int = 7
    images: Path | None = None

    @property
    def few_repetitions(self) -> int:
        """Turns of what takes minutes."""
        return min(5, self.repetitions)

    def in_process(self, function: Callable[..., None], *arguments: Any) -> Any:
        """Return what ``function(*arguments, queue)`` puts in the queue, from a process of its own.

        So none sees another's memory, or what another imported. The tiny form calls it here: to start a process and
        import all that there is takes seconds.
        """
        if not self.tiny:
            return in_process(function, *arguments)
        answers: SimpleQueue[Any] = SimpleQueue()
        function(*arguments, answers)
        return answers.get_nowait()


@dataclass
class Comparison:
    """One line of the table: what is measured, our values and the peers', one a turn.

    Attributes:
        case: What was measured, with its sizes: "S4, 640 x 480 JPEG to 640 x 640, one core".
        unit: Of the values: "images/s", "ms", "MB".
        better: Whether more or less of the unit is wanted.
        ours: Our values, one a turn.
        peers: The peers' values, turn by turn beside ours; None for one that is not installed.
        goals: By peer, how many times better we want to be.
        limit: What our own value should reach, in the unit.
        note: What a reader must know to read the line rightly.
    """

    case: str
    unit: str
    better: Literal["more", "less"]
    ours: list[float]
    peers: dict[str, list[float] | None] = field(default_factory=dict)
    goals: dict[str, float] = field(default_factory=dict)
    limit: float | None = None
    note: str = ""

    @classmethod
    def of(cls, values: Mapping[str, list[float] | None], **fields: Any) -> "Comparison":
        """Return the comparison of what ``interleave`` returned; ``fields`` are the others."""
        peers = {name: theirs for name, theirs in values.items() if name != OURS}
        return cls(ours=list(values[OURS] or []), peers=peers, **fields)

    def ratios(self, peer: str) -> list[float]:
        """Return how many times better we are than the peer, turn by turn; both took the turn one after the other."""
        values = self.peers[peer]
        if values is None:
            raise ValueError(f"{peer} was not measured: it is not installed")
        pairs = zip(self.ours, values, strict=True)
        return [ours / theirs if self.better == "more" else theirs / ours for ours, theirs in pairs]


def interleave(
    sides: Mapping[str, Callable[[int], float] | None], repetitions: int, warms_up: bool = True
) -> dict[str, list[float] | None]:
    """Let every side take its turns, in an order drawn anew each time, after one turn each to warm up.

    Args:
        sides: By name, a function that takes the number of the turn (0 is the warm-up) and returns that turn's value:
            the same turn is the same work for everybody. None for a side that is not installed.
        repetitions: Turns that count.
        warms_up: False where each turn is a process of its own, which sees to that itself.

    Returns:
        By name, the values of the turns that count; None where the side was None.
    """
    values: dict[str, list[float] | None] = {name: None if side is None else [] for name, side in sides.items()}
    present = {name: side for name, side in sides.items() if side is not None}
    order = random.Random(0)
    for turn in range(0 if warms_up else 1, repetitions + 1):
        for name in order.sample(sorted(present), len(present)):
            gc.collect()  # nobody pays for another's rubbish
            value = present[name](turn)
            if turn > 0:
                values[name].append(value)
    return values


def optional(module: str) -> ModuleType | None:
    """Return a peer's module, or None where it is not installed: it is then reported as missing.

    A module that is there and fails to import is an error: it must not look like one that is missing.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        return None


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, median(values), high


def in_process(function: Callable[..., None], *arguments: Any) -> Any:
    """Return what ``function(*arguments, queue)`` puts in the queue, from a process of its own.

    Raises:
        RuntimeError: The process ended without an answer.
    """
    queue = SPAWN.SimpleQueue()
    process = SPAWN.Process(target=as_a_command, args=(function, *arguments, queue))
    process.start()
    while process.is_alive() and queue.empty():
        process.join(0.01)
    if queue.empty():
        raise RuntimeError(f"the process of {function.__name__} ended with status {process.exitcode} and no answer")
    result = queue.get()
    process.join()
    return result


def as_a_command(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in a process that was spawned, with loaders whose workers are started as a command's are.

    Left alone, such a process would spawn its workers, too, and a second would go by before each has ended.
    """
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)  # the system's default
    function(*arguments)


def memory_kb(kind: str) -> int:
    """Return what this process has of memory whose kind in Linux' smaps_rollup begins with ``kind``, in kB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kind))
