"""Necks: from the feature maps of a backbone to the maps, all of one width, that a head reads.

A neck is an ``nn.Module`` that maps a list of feature maps to a list of those of levels ``min_level`` to ``max_level``,
finest first, and says their width in its attribute ``width``. A builder is called with the arguments of ``FPN``.
"""

from collections.abc import Callable

from torch import nn

from lightning_st.models.necks.fpn import FPN

__all__ = ["FPN", "NECKS"]

NECKS: dict[str, Callable[..., nn.Module]] = {"fpn": FPN}
"""The necks that a config can name."""
