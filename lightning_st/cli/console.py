"""What a user sees on the terminal while a command runs: what our stages say, and not what is noise to them."""

import logging
import os
import warnings

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
    log = logging.getLogger("lightning_st")
    log.setLevel(logging.INFO)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers[:] = [handler]  # not one more where several commands run in one process
