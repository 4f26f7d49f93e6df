"""What of Lightning's own messages a user sees."""

import logging

import pytest
from lightning.pytorch.profilers import SimpleProfiler

from lightning_st.cli.console import prepare_console


@pytest.fixture
def levels():
    """Put the levels of Lightning's loggers back."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.pytorch.profilers", "lightning_st")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.mark.usefixtures("levels")
def test_a_profile_that_was_asked_for_is_shown_and_lightning_is_quiet_else(caplog):
    prepare_console()
    profiler = SimpleProfiler()
    with profiler.profile("a step"):
        logging.getLogger("lightning.pytorch.utilities").info("GPU available: False")
    profiler.describe()
    assert "a step" in caplog.text
    assert "GPU available" not in caplog.text
