"""What a model refuses: arguments out of range, and names that it does not know."""

from collections.abc import Callable, Collection
from typing import Any

from lightning_st.errors import ConfigError


def require(allowed: str, is_allowed: Callable[[Any], bool], **values: Any) -> None:
    """Refuse arguments out of range.

    Args:
        allowed: What the arguments are to be, for the message.
        is_allowed: Whether one is.
        **values: The arguments by name.

    Example:
        >>> require("at least 1", lambda value: value >= 1, head_width=64, max_detections=100)
    """
    for name, value in values.items():
        if not is_allowed(value):
            raise ConfigError.expected(name, allowed, value)


def require_choice(argument: str, value: str, choices: Collection[str]) -> None:
    """Refuse a name that is not among ``choices``."""
    if value not in choices:
        raise ConfigError.unknown_choice(argument, value, choices)
