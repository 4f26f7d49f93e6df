"""Transforms: what is done to an image, its boxes and its mask between decoding and collation.

A policy (``make_policy``) draws its random numbers for one image, then applies them; ``fit`` is the geometry of
evaluation, ``centre_crop`` that where an image is judged as a whole. Everything is numpy on uint8. The policies S1-S4
are those of the paper (paper.md, section 2).
"""

from lightning_st.transforms.centre_crop import centre_crop
from lightning_st.transforms.geometry import fit
from lightning_st.transforms.policy import DEFAULT_POLICY, Drawn, PaperPolicy, Policy, make_policy

__all__ = ["DEFAULT_POLICY", "Drawn", "PaperPolicy", "Policy", "centre_crop", "fit", "make_policy"]
