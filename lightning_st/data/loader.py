"""Batches in worker processes, for training and for evaluation."""

import os
import signal
import weakref
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from multiprocessing import parent_process
from threading import Thread
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")


class BatchLoader(Generic[T]):
    """Iterates over the batches that ``dataset`` makes of what ``batch_sampler`` yields.

    It has a ``DataLoader`` and is none: into a DataLoader Lightning injects samplers of its own, which would repeat
    images on several ranks unless the user remembers ``Trainer(use_distributed_sampler=False)``. Anything else that
    can be iterated it leaves alone.

    Lightning saves ``state_dict()`` in its checkpoints. There is no position in it, because a position is asked of
    the trainer; it holds what the batches follow from, so that a run that goes on with other batches is told.

    Args:
        dataset: Makes a batch of each item of ``batch_sampler``.
        batch_sampler: Yields lists of what ``dataset.__getitems__`` takes.
        num_workers: Worker processes; 0 to load in this one.
        recipe: What the batches follow from, plain values by name.
    """

    def __init__(
        self,
        dataset: Dataset[T],
        batch_sampler: "Iterable[Sequence[Any]]",
        num_workers: int,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self._recipe = dict(recipe or {})
        self._loader: DataLoader[T] | None = None
        # Weak, because the generator holds this loader: so one that Lightning reloads goes at once, with its workers.
        self._batches: weakref.ref[Generator[T, None, None]] | None = None

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batch_sampler)  # type: ignore[arg-type]  # our samplers are sized

    def __iter__(self) -> Iterator[T]:
        """Return a generator of the batches; workers are started for the first batch, and kept.

        It does nothing before: Lightning calls ``iter`` once only to see whether it can.
        """
        batches = self._load()
        self._batches = weakref.ref(batches)
        return batches

    def close(self) -> None:
        """Let the workers go; the next iteration starts new ones.

        Left to the garbage collector, workers that an exception has cut off may be waited for in vain, 5 s each.
        """
        batches = None if self._batches is None else self._batches()
        if batches is not None:
            batches.close()
        self._batches = self._loader = None

    def _load(self) -> Generator[T, None, None]:
        if self._loader is None:
            self._loader = DataLoader(
                self.dataset,
                batch_sampler=self.batch_sampler,  # type: ignore[arg-type]  # any sized iterable will do
                collate_fn=_as_it_is,
                num_workers=self.num_workers,
                persistent_workers=self.num_workers > 0,
                pin_memory=torch.cuda.is_available(),
                worker_init_fn=_begin_worker,
                # Without one of its own, it takes numbers from the global generator: the model's dropout would differ.
                generator=torch.Generator(),
            )
        yield from self._loader

    def state_dict(self) -> dict[str, Any]:
        """Return what the batches follow from."""
        return dict(self._recipe)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Warn if the batches of the run that is resumed followed from something else."""
        changed = [
            f"{key} was {state.get(key)}, is {now}" for key, now in self._recipe.items() if state.get(key) != now
        ]
        if changed:
            rank_zero_warn(f"The run goes on with other batches than it would have seen: {'; '.join(changed)}.")


class RowSampler:
    """Yields groups of rows in batches, in their order; no batch holds rows of two groups.

    So the batches of one group are the same whichever other groups are asked for: batches of other sizes may round
    otherwise.

    Args:
        groups: int64 [N] each.
        batch_size: Rows in a batch; the last of a group may be shorter.

    Example:
        >>> list(RowSampler([np.arange(3), np.arange(5, 7)], 2))
        [[0, 1], [2], [5, 6]]
    """

    def __init__(self, groups: Sequence[NDArray[np.int64]], batch_size: int) -> None:
        self._groups = groups
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Return the number of batches."""
        return sum(-(-len(rows) // self._batch_size) for rows in self._groups)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of rows."""
        for rows in self._groups:
            for start in range(0, len(rows), self._batch_size):
                yield rows[start : start + self._batch_size].tolist()


def _as_it_is(batch: T) -> T:
    """Collate nothing: the data sets make whole batches."""
    return batch


def _begin_worker(worker: int) -> None:
    """Keep a worker to one core, as many of them share the machine, and let it end with its process alone.

    Schedulers and terminals send signals to all processes: a training that wants to finish its step needs its workers.
    """
    cv2.setNumThreads(0)
    for each in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(each, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when that of its loader sends SIGTERM, as it does to workers that it has no time to let go."""
    loader = parent_process()  # not os.getppid(), which may be a server that forks for it
    assert loader is not None
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != loader.pid:
        pass
    os._exit(0)
