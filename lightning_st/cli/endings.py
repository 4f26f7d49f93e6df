"""How a command ends when it does not end by itself: the sentence to show, and the exit status."""

from lightning_st.errors import LightningSTError, StoppedBySignal

INTERRUPTED = "interrupted; the same command goes on where it was."


def ending_of(error: BaseException, command: str) -> tuple[str, int] | None:
    """Return what to say and the exit status; None for a fault of the program, which keeps its traceback.

    Args:
        error: What ended the command.
        command: Its name, where the error names no file.
    """
    if isinstance(error, LightningSTError):
        return str(error), 2
    if isinstance(error, OSError) and error.strerror is not None:  # of a full disk, or a folder that may not be written
        return f"{error.filename or command}: {error.strerror}. Mend that and run the same command again.", 2
    if isinstance(error, StoppedBySignal):
        return "", 128 + error.number  # it has been said
    # In a Trainer's hands an interruption becomes an exit with status 1.
    if isinstance(error, KeyboardInterrupt) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt)
    ):
        return INTERRUPTED, 130
    return (_lost_process(error), 1) if _is_of_a_lost_process(error) else None


def _is_of_a_lost_process(error: BaseException) -> bool:
    """Say whether a process cannot go on because another, with which it trains, has ended.

    Gloo's errors have no type of their own; NCCL's, and those of the store, derive from torch.distributed.DistError.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, RuntimeError) and ("DistError" in kinds or "/gloo/" in str(error))


def _lost_process(error: BaseException) -> str:
    reason = str(error).strip().splitlines()[0].partition("This is typically")[0].rpartition("] ")[2].rstrip(". ")
    advice = "Its own last words say why; then the same command goes on where it was."
    return f"another process of this run has ended ({reason}). {advice}"
