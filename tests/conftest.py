"""Fixtures that every room shares."""

import os
from collections.abc import Callable
from pathlib import Path

import helpers
import pytest

SHARED_DATA = Path(os.environ.get("LIGHTNING_ST_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def _cache_in_tmp(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("LIGHTNING_ST_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the real development data sets; its README.md says what they are."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the development data sets in {SHARED_DATA} (or in LIGHTNING_ST_SHARED_DATA)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def make_coco() -> Callable[..., tuple[Path, Path]]:
    """Return `helpers.write_coco`: (folder, image_count, size, seed, classes, labeled) -> (images, annotations)."""
    return helpers.write_coco
