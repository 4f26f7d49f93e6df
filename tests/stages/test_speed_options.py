"""A run goes on with another choice of how fast its models are computed: they are the same but for rounding."""

import copy
import shutil

import pytest

from lightning_st.errors import LightningSTError
from lightning_st.stages import self_train


def changed(recipe, **options):
    recipe = copy.deepcopy(recipe)
    for role in ("teacher", "student"):
        recipe[role] |= options
    return recipe


def test_a_complete_run_has_nothing_to_do_with_kernels_channels_last(tiny_run, tmp_path):
    recipe, run = tiny_run
    copied = shutil.copytree(run, tmp_path / "run")
    weights = sorted(copied.rglob("*.ckpt"))
    before = [path.stat().st_mtime_ns for path in weights]
    self_train(changed(recipe, channels_last=True), copied)
    assert [path.stat().st_mtime_ns for path in weights] == before


def test_another_learning_rate_is_another_run(tiny_run, tmp_path):
    recipe, run = tiny_run
    copied = shutil.copytree(run, tmp_path / "run")
    with pytest.raises(LightningSTError, match="lr"):
        self_train(changed(recipe, lr=0.5), copied)


def test_what_is_missing_of_a_run_is_made_with_kernels_channels_last(tiny_run, tmp_path):
    recipe, run = tiny_run
    copied = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copied / "round_0" / "student")
    self_train(changed(recipe, channels_last=True), copied)
    assert list((copied / "round_0" / "student").rglob("*.ckpt"))
