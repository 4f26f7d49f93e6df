"""Parts of a model that a config names, made with the options that a config gives."""

from collections.abc import Callable, Mapping
from inspect import signature
from pydoc import locate
from typing import Any, cast

from torch import nn

from lightning_st.errors import ConfigError


def build_part(
    kind: str, name: str, builder: Callable[..., nn.Module], given: Mapping[str, Any], options: Mapping[str, Any] | None
) -> nn.Module:
    """Return what ``builder`` makes of the model's own arguments and of the config's.

    Args:
        kind: "backbone" or "neck", for the message.
        name: What the config calls it, for the message.
        builder: A class, or any callable.
        given: What the model says, by name.
        options: What the config says besides.

    Raises:
        ConfigError: If ``builder`` does not take these options.
    """
    chosen = dict(options or {})
    try:
        signature(builder).bind(**given, **chosen)
    except TypeError as error:
        raise ConfigError(f"{kind} {name!r} cannot be made with {kind}_options {chosen}: {error}.") from error
    return builder(**given, **chosen)


def import_part(path: str) -> Callable[..., nn.Module] | None:
    """Return the builder that an import path such as "my_package.MyNeck" names, None if there is none."""
    return cast("Callable[..., nn.Module] | None", locate(path)) if "." in path else None
