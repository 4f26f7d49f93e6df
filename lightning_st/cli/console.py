"""What a user sees on the terminal while a command runs: what our stages say, and not what is noise to them."""

import logging
import os
import sys
import warnings

from lightning_st.errors import visible

# Each comes with every Trainer, and says nothing that a user of this package could act on.
_NOISE = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 with torch 2.14 and later
    r"You defined a `validation_step` but have no `val_dataloader`",  # a run without val is one of ours
    r"The '.*dataloader' does not have many workers",  # data.num_workers is the user's to choose
)


def prepare_console() -> None:
    """Show what the stages announce and what Lightning warns of; hide what Lightning merely says."""
    # Lightning 2.6 uses what jsonargparse 4.49 deprecated.
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # of who asks for one
    show_log(logging.INFO)


def show_log(level: int) -> None:
    """Show what the package logs from ``level`` on, on standard error."""
    log = logging.getLogger("lightning_st")
    log.setLevel(level)
    handler = logging.StreamHandler()
    handler.setFormatter(_VisibleFormatter("%(message)s"))
    log.handlers[:] = [handler]  # not one more where several commands run in one process


def say(text: object, to_errors: bool = False) -> None:
    """Print to standard output, or to standard error; the one place where this package does so.

    What is in a name cannot move the cursor, nor end the program where the terminal has no such letter.

    Args:
        text: Of our own making, with names of the user's in it; its line breaks stay.
        to_errors: Print to standard error.
    """
    stream = sys.stderr if to_errors else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(visible(str(text), keep="\n").encode(encoding, "backslashreplace").decode(encoding), file=stream)


class _VisibleFormatter(logging.Formatter):
    """Writes a message on one line, whatever names are in it; a traceback after it stays as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """Return the message."""
        return visible(super().formatMessage(record))
