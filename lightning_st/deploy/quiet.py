"""What libraries say of themselves while a model is written, and no user can change."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_TALKERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


@contextmanager
def without_remarks() -> Iterator[None]:
    """Keep warnings and log lines of the exporters off the screen; errors are raised as ever."""
    loggers = [logging.getLogger(name) for name in _TALKERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
