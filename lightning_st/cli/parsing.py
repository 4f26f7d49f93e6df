"""From the words of a command to plain data, or to one sentence of what is wrong with them."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from lightning_st.cli.config_files import RECIPE_KEYS, RECIPE_SECTIONS, check_config_files
from lightning_st.cli.hints import Vocabulary, explain
from lightning_st.errors import ConfigError

OTHER_SECTIONS = ("trainer", *RECIPE_SECTIONS)
"""Sections of the recipes besides data and model: what a command accepts that reads these alone."""

OTHER_KEYS = (*RECIPE_KEYS, "seed_everything", "ckpt_path")
"""Keys of recipes and of Lightning's configs that are no sections, likewise."""

RUN_KEYS = ("config", "output", "restart", "shared", "checkpoint", "seed_everything")
"""Keys that are no sections of a recipe."""


def make_parser(command: str, about: str) -> ArgumentParser:
    """Return a parser whose errors become sentences.

    It takes no shortened keys: such a one changes its meaning, or loses it, with the next key that is added.
    """
    prog = f"lightning_st {command}"
    return ArgumentParser(prog=prog, description=about, exit_on_error=False, allow_abbrev=False)


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add what every command has that leaves a folder behind."""
    parser.add_argument("--config", action="config", help="a recipe in YAML; several are merged in order")
    parser.add_argument("--output", type=str, required=True, help="the folder to leave everything in")
    parser.add_argument("--restart", type=bool, default=False, nargs="?", const=True, help="make changed stages anew")
    parser.add_argument("--seed_everything", type=int, default=0, help="the seed of every random draw")


def add_not_read(parser: ArgumentParser, read: Sequence[str] = ()) -> None:
    """Accept what a config may hold besides, so that a command takes any recipe as it is.

    Args:
        parser: Of the command.
        read: Sections and keys that it has arguments for.
    """
    for name in OTHER_SECTIONS:
        if name not in read:
            parser.add_argument(f"--{name}", type=dict[str, Any] | None, default={}, help="not read")
    for name in OTHER_KEYS:
        if name not in read:
            parser.add_argument(f"--{name}", type=Any, help="not read")


def add_train_settings(parser: ArgumentParser, name: str) -> None:
    """Add how long a stage trains to the arguments of its module."""
    parser.add_argument(f"--{name}.max_steps", type=int, default=1000, help="optimiser steps")
    parser.add_argument(
        f"--{name}.validate_every", type=int | None, default=None, help="steps between validations; null: a tenth"
    )
    parser.add_argument(
        f"--{name}.ema_decay", type=float | None, default=None, help="decay of the weights' moving average; null: none"
    )


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
    return _as_plain(parser, lambda: parser.parse_args(list(words)), vocabulary)


def parse_fields(
    parser: ArgumentParser, fields: Mapping[str, Any], vocabulary: Callable[[ArgumentParser], Vocabulary]
) -> dict[str, Any]:
    """Return plain data as the parser would have read them, what is missing filled in: see ``parse``."""
    return _as_plain(parser, lambda: parser.parse_object(dict(fields)), vocabulary)


def _as_plain(
    parser: ArgumentParser, read: Callable[[], Any], vocabulary: Callable[[ArgumentParser], Vocabulary]
) -> dict[str, Any]:
    try:
        config = read()
    except ArgumentError as error:
        raise ConfigError(explain(str(error.message), vocabulary(parser))) from error
    plain: dict[str, Any] = yaml.safe_load(parser.dump(config, skip_unset=False))
    _refuse_nulls(parser, plain)
    if isinstance(plain.get("output"), str):
        plain["output"] = _with_environment("output", plain["output"])
    return plain


def _refuse_nulls(parser: Any, plain: Mapping[str, Any]) -> None:
    """Refuse null where it means nothing; jsonargparse takes it for any key.

    Raises:
        ConfigError: Naming the key and its default.
    """
    for action in parser._actions:
        hint: Any = getattr(action, "_typehint", None)
        if hint in (None, Any) or type(None) in get_args(hint) or action.default is None:
            continue
        value: Any = plain
        for name in action.dest.split("."):
            value = value.get(name, action.default) if isinstance(value, Mapping) else action.default
        if value is None:
            advice = f"Leave it out for its default, {action.default!r}."
            raise ConfigError.expected(action.dest, "given", None, advice)


def _with_environment(key: str, path: str) -> str:
    """Return ``path`` with ``$NAME`` in it replaced by the environment's: W&B's agent asks no shell to do so.

    Raises:
        ConfigError: If there is no such variable.
    """
    expanded = os.path.expandvars(path)
    missing = re.search(r"\$\{?(\w+)", expanded)
    if missing is not None:
        raise ConfigError(f"{key}: there is no environment variable {missing[1]} (in {path!r}).")
    return expanded
