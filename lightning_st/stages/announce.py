"""What a stage says while it runs: one line on standard error from rank 0, through the logger ``lightning_st``."""

import logging

from lightning.pytorch.utilities import rank_zero_only

_LOG = logging.getLogger("lightning_st")


@rank_zero_only
def announce(text: str) -> None:
    """Log one line that a user wants to see."""
    _LOG.info(text)
