"""Kills a run at a chosen moment: installed in its process, it counts what happens there and sends a signal.

A moment is a kind of event and how often it has happened in the process, so a kill can be repeated exactly. The kinds
are what a run does that must not be done by halves.
"""

import json
import os
import secrets
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = ("index", "beside", "rename", "renamed", "step", "gradient", "evaluation", "labelling", "half a checkpoint")
"""A record is added to an index; a file is about to be written beside its place, to get its name, or has it; a batch
begins; its gradient is there; a batch of an evaluation; of a labelling; a checkpoint is written to its half."""


def install(faults: str) -> None:
    """Let this process count, and perhaps be killed, as `faults` says: what `plan` returned."""
    from lightning.fabric.plugins import TorchCheckpointIO

    from lightning_st.index import writer
    from lightning_st.modules import TaskModule

    injector = _Injector(**json.loads(faults))
    injector.before(writer.IndexWriter, "_add_image", "index")
    injector.before(os, "replace", "rename")
    injector.after(os, "replace", "renamed")
    injector.before(secrets, "token_hex", "beside")
    for name, kind in {
        "on_train_batch_start": "step",
        "on_after_backward": "gradient",
        "validation_step": "evaluation",
        "test_step": "evaluation",
        "predict_step": "labelling",
    }.items():
        injector.before(TaskModule, name, kind)
    injector.after(TorchCheckpointIO, "save_checkpoint", "half a checkpoint", _cut)


def plan(counts: Path, kind: str = "", number: int = 0, signal_number: int = 0) -> str:
    """Return the value of FAULTS that sends a signal at the `number`-th event of a kind, or else counts all events."""
    return json.dumps({"counts": str(counts), "kind": kind, "number": number, "signal_number": signal_number})


class _Injector:
    def __init__(self, counts: str, kind: str, number: int, signal_number: int) -> None:
        self.process, self.seen = os.getpid(), Counter[str]()
        self.path, self.moment, self.signal = Path(counts), (kind, number), signal_number

    def before(self, owner: Any, name: str, kind: str) -> None:
        original = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            self._count(kind)
            return original(*args, **kwargs)

        setattr(owner, name, counting)

    def after(self, owner: Any, name: str, kind: str, spoil: Callable[..., None] | None = None) -> None:
        original = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            self._count(kind, spoil and (lambda: spoil(*args)))
            return result

        setattr(owner, name, counting)

    def _count(self, kind: str, spoil: Callable[[], None] | None = None) -> None:
        if os.getpid() != self.process:  # a worker of a loader
            return
        self.seen[kind] += 1
        if (kind, self.seen[kind]) == self.moment:
            if spoil is not None and self.signal == signal.SIGKILL:
                spoil()
            os.killpg(0, self.signal)  # workers too, as schedulers do
        if not self.signal:
            self.path.write_text(json.dumps(self.seen))


def _cut(io: Any, checkpoint: Any, path: Path, *options: Any) -> None:
    os.truncate(path, path.stat().st_size // 2)
