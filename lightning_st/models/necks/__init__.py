"""Necks: from the feature maps of a backbone to the maps, all of one width, that a head reads.

A neck is an ``nn.Module`` that maps a list of feature maps to a list of those of levels ``min_level`` to ``max_level``,
finest first, and says their width in its attribute ``width``. In ``size_divisor`` it may say of how many pixels a
detector has to make the sides of its images multiples; ``2 ** max_level`` otherwise. A builder is called with the
arguments of ``FPN``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from lightning_st.errors import ConfigError
from lightning_st.models.necks.fpn import FPN
from lightning_st.models.necks.identity import IdentityNeck
from lightning_st.models.necks.nas_fpn import NASFPN
from lightning_st.models.options import build_part, import_part

__all__ = ["FPN", "IdentityNeck", "NASFPN", "NECKS", "build_neck"]

NECKS: dict[str, Callable[..., nn.Module]] = {"fpn": FPN, "nas-fpn": NASFPN, "identity": IdentityNeck}
"""The necks that a config can name."""


def build_neck(
    neck: str | Callable[..., nn.Module],
    levels: Sequence[int],
    channels: Sequence[int],
    max_level: int,
    width: int,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Return a neck.

    Args:
        neck: A name of ``NECKS``, the import path of a builder ("my_package.MyNeck"), or a builder.
        levels: The levels of the backbone's maps.
        channels: Their channels.
        max_level: The coarsest level to return.
        width: Channels of every returned map.
        options: Further arguments of the builder.

    Raises:
        ConfigError: If there is no such neck, or it does not take these options or levels.
    """
    name = neck if isinstance(neck, str) else getattr(neck, "__name__", type(neck).__name__)
    builder = NECKS.get(neck) or import_part(neck) if isinstance(neck, str) else neck
    if builder is None:
        raise ConfigError.unknown_choice("neck", name, NECKS)
    given = {"levels": levels, "channels": channels, "max_level": max_level, "width": width}
    return build_part("neck", name, builder, given, options)
