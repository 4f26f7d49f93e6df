"""One process at a time in a folder: runs that are started twice, and stages that several runs share."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from lightning.pytorch.utilities import rank_zero_only

from lightning_st.errors import StageError
from lightning_st.stages.announce import announce
from lightning_st.stages.manifest import is_complete

_SHARED_STAGES = ("pretrain", "round_0/teacher", "control")
_SECONDS_BETWEEN_LOOKS = 1.0


def lock_files(run: Path) -> list[Path]:
    """Return the locks of a run: its own, and those of its stages that other runs share, which are links.

    A shared stage that is complete is only read, and runs may do that side by side.
    """
    links = [run / name for name in _SHARED_STAGES if (run / name).is_symlink()]
    links = [link for link in links if not is_complete(link)]
    return [run_lock(run), *map(_shared_lock, links)]


def run_lock(run: Path) -> Path:
    """Return a run's own lock."""
    return run / ".lock"


def _shared_lock(link: Path) -> Path:
    return link.resolve().with_name(f"{link.resolve().name}.lock")


@contextmanager
def held(locks: Sequence[Path]) -> Iterator[None]:
    """Hold some locks; the first process of a run does that for the others.

    They are the operating system's, so they go with a process that is killed; their files stay.

    Raises:
        StageError: If another process holds one of them.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:
        yield
        return
    with ExitStack() as stack:
        for path in locks:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(FileLock(path, timeout=0))
            except Timeout as error:
                raise StageError(f"{path}: another process is at work there. Wait for it, or end it.") from error
            except NotImplementedError:
                announce(f"{path}: its file system has no locks: do not start a second process in this folder.")
        yield


@contextmanager
def alone_in(stage: Path) -> Iterator[None]:
    """Hold the lock of a stage that other runs share, which is a link, when none of them is at it any more.

    The first process of a run waits for the others: they have to be started by it, and later.
    """
    if getattr(rank_zero_only, "rank", 0) != 0 or not stage.is_symlink():
        yield
        return
    path = _shared_lock(stage)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        announce(f"{stage}: another run is at this stage, which both share; waiting for it.")
        lock.acquire(poll_interval=_SECONDS_BETWEEN_LOOKS)
    except NotImplementedError:
        announce(f"{path}: its file system has no locks: do not start a second run that shares this stage.")
    try:
        yield
    finally:
        lock.release()


def are_free(locks: Sequence[Path]) -> bool:
    """Say whether no process holds any of these locks at this moment."""
    try:
        with held([path for path in locks if path.exists()]):
            return True
    except StageError:
        return False
