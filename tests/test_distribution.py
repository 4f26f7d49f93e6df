"""The wheel and the source distribution hold what they must."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def tracked_files() -> set[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("compares with what git tracks, and this is no clone")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> tuple[Path, Path]:
    """The wheel and the sdist, as `python -m build` makes them: the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder), "--target"]
    subprocess.run([*build, "sdist"], cwd=ROOT, check=True, capture_output=True)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    subprocess.run([*build, "wheel"], cwd=folder / sdist.name.removesuffix(".tar.gz"), check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel, sdist


def test_the_sdist_is_what_git_tracks(distributions):
    with tarfile.open(distributions[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names - {"PKG-INFO"} == tracked_files()


def test_the_wheel_is_the_package_and_the_configs(distributions):
    with zipfile.ZipFile(distributions[0]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (licence,) = (name for name in archive.namelist() if name.endswith("licenses/LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    tracked = tracked_files()
    package = {name for name in tracked if name.startswith("lightning_st/")}
    assert names == package | {f"lightning_st/{name}" for name in tracked if name.startswith("configs/")}
    assert {"lightning_st/py.typed", "lightning_st/reports/style.css"} <= names


def test_the_wheel_finds_its_configs(distributions, tmp_path):
    """The whole quickstart is run from the wheel by .ci/run: here only what needs no torch."""
    with zipfile.ZipFile(distributions[0]) as archive:
        archive.extractall(tmp_path / "site")
    command = [sys.executable, "-m", "lightning_st", "quickstart", "--output", "mine"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "lightning_st self_train --config mine/quickstart.yaml" in done.stdout
    configs = {path.relative_to(tmp_path / "mine").as_posix() for path in (tmp_path / "mine").rglob("*.*")}
    assert {f"configs/{name}" for name in configs} == {name for name in tracked_files() if name.startswith("configs/")}
