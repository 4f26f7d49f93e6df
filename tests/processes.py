"""Commands in processes of their own, which begin with the libraries imported: what kills and DDP are tested with.

Importing torch and Lightning costs each new process six seconds of a core. These are forked from a server that has
imported them once and has done nothing else, so they are as clean as new ones.
"""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

LONGEST_SECONDS = 300
DDP = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu")

METHOD = "forkserver"
"""How a process is to be started whose server has what is imported here: see `multiprocessing`."""

_SERVER = multiprocessing.get_context(METHOD)
# Libraries alone: the package itself is imported by each process, from where the tests have it.
_SERVER.set_forkserver_preload(["lightning.pytorch.cli", "torchvision", "timm", "albumentations"])


class Command:
    """`lightning_st WORDS` in a process group of its own, with one thread: with more, convolutions round otherwise."""

    def __init__(self, words: list[str], log: Path, **environment: str) -> None:
        self.log = log
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self.process = _SERVER.Process(target=_run, args=(words, log, environment))
        self.process.start()

    def finish(self) -> None:
        """Wait until it is done, and refuse a failure."""
        assert self.status() == 0, self.log.read_text()[-3000:]

    def status(self) -> int:
        """Wait until it is done and return its exit status, negative where a signal ended it."""
        self.process.join(LONGEST_SECONDS)
        if self.process.is_alive():
            self.kill()
            raise AssertionError(f"no end after {LONGEST_SECONDS} s: {self.log.read_text()[-3000:]}")
        assert self.process.exitcode is not None
        return self.process.exitcode

    def kill(self) -> None:
        """Kill it and the workers of its loaders, without a chance to tidy up."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()


def run(words: list[str], log: Path) -> None:
    """Run a command to its end."""
    Command(words, log).finish()


def run_together(
    words: list[str], log: Path, count: int = 2, more: Mapping[int, Mapping[str, str]] | None = None
) -> list[int]:
    """Run a command as several processes that train together, as a launcher such as torchrun starts them.

    A failure is refused; but where ranks get `more` environment, to make them fail, the exit statuses are returned.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0", "WORLD_SIZE": str(count)}
    own = [{"LOCAL_RANK": str(rank), **where, **(more or {}).get(rank, {})} for rank in range(count)]
    if count > 1:
        words = [*words, f"--trainer.devices={count}", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"]
    ranks = [Command(words, log.with_suffix(f".{rank}"), **own[rank]) for rank in range(count)]
    try:
        statuses = [rank.status() for rank in ranks]
        said = "\n".join(rank.log.read_text()[-3000:] for rank, status in zip(ranks, statuses, strict=True) if status)
        assert more is not None or not any(statuses), said
        return statuses
    finally:
        for rank in ranks:
            if rank.process.is_alive():
                rank.kill()


def _run(words: list[str], log: Path, environment: dict[str, str]) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["lightning_st", *words]

    import torch
    from lightning.pytorch.utilities import rank_zero_only

    multiprocessing.set_start_method("fork", force=True)  # else loaders' workers come from a server of their own

    from lightning_st.cli import main

    rank_zero_only.rank = int(environment.get("LOCAL_RANK", "0"))  # else as it was when the server imported Lightning

    torch.set_num_threads(1)
    if "FAULTS" in environment:
        from faults.injection import install

        install(environment["FAULTS"])
    sys.exit(main(words))
