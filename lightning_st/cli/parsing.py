"""From the words of a command to plain data, or to one sentence of what is wrong with them."""

from collections.abc import Callable, Sequence
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from lightning_st.cli.config_files import check_config_files
from lightning_st.cli.hints import Vocabulary, explain
from lightning_st.errors import ConfigError

OTHER_SECTIONS = ("trainer", "teacher", "student", "pseudo_label", "training", "experiment")
"""Sections of the recipes besides data and model: what a command accepts that reads these alone."""


def parse(
    parser: ArgumentParser,
    words: Sequence[str],
    vocabulary: Callable[[ArgumentParser], Vocabulary],
    is_recipe: bool | None,
) -> dict[str, Any]:
    """Return the parsed words as plain data.

    Args:
        parser: Of the command.
        words: Those after the command's name.
        vocabulary: Returns what would have been understood.
        is_recipe: See ``check_config_files``.

    Raises:
        ConfigError: One sentence with the key, and the nearest that exists.
    """
    check_config_files(words, is_recipe)
    try:
        config = parser.parse_args(list(words))
    except ArgumentError as error:
        raise ConfigError(explain(str(error.message), vocabulary(parser))) from error
    plain: dict[str, Any] = yaml.safe_load(parser.dump(config, skip_unset=False))
    return plain
