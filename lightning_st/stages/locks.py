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


def lock_files(run: Path, restart: bool = False) -> list[Path]:
    """Return the locks of a run: its own, and those of its stages that other runs share, which are links.

    A shared stage that is complete is only read, and runs may do that side by side.

    Args:
        run: The run's folder.
        restart: Whether a complete stage may be made anew.
    """
    links = [run / name for name in _SHARED_STAGES if (run / name).is_symlink()]
    links = [link for link in links if restart or not is_complete(link)]
    return [run / ".lock", *(link.resolve().with_name(f"{link.resolve().name}.lock") for link in links)]


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


def are_free(locks: Sequence[Path]) -> bool:
    """Say whether no process holds any of these locks at this moment."""
    try:
        with held([path for path in locks if path.exists()]):
            return True
    except StageError:
        return False
