"""A cache that somebody else could have filled is not used, what we create nobody else can read or replace."""

import os
import stat
from pathlib import Path

import pytest

from lightning_st.checks.scan import _open_array
from lightning_st.cli import main
from lightning_st.errors import ConfigError
from lightning_st.index import build_index, default_cache_folder
from lightning_st.index.cache import make_cache_folder
from lightning_st.reports.own_folder import own_folder
from lightning_st.stages.manifest import write_json

OTHER = 4242


@pytest.fixture
def coco(make_coco, tmp_path):
    return make_coco(tmp_path / "data", 2)


@pytest.fixture
def shared(tmp_path) -> Path:
    """A folder that everybody may write, where each may remove only what is theirs, as /tmp is."""
    folder = tmp_path / "everybody"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def give_away(path: Path, monkeypatch) -> None:
    """Make a file another user's; or, where we may not, be another user from now on."""
    if os.geteuid() == 0:
        os.lchown(path, OTHER, OTHER)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: OTHER)


def test_an_index_of_others_in_a_folder_of_everybody_is_refused(coco, shared, monkeypatch, capsys):
    path = build_index(*coco, cache_folder=shared).path
    assert build_index(*coco, cache_folder=shared).path == path  # our own is used
    give_away(path, monkeypatch)
    with pytest.raises(ConfigError, match=r"\.index: the file is another user's.* Set LIGHTNING_ST_CACHE or data\."):
        build_index(*coco, cache_folder=shared)
    config = shared / "check.yaml"
    config.write_text(f"data: {{labeled: {{images: {coco[0]}, annotations: {coco[1]}}}, cache_folder: {shared}}}\n")
    assert main(["check", "--config", str(config)]) == 2
    assert capsys.readouterr().err.count("another user's") == 1


def test_an_index_of_a_colleague_in_a_folder_of_the_group_is_used(coco, tmp_path, monkeypatch):
    folder = tmp_path / "group"
    folder.mkdir(mode=0o770)
    folder.chmod(0o2770)
    path = build_index(*coco, cache_folder=folder).path
    give_away(path, monkeypatch)
    assert build_index(*coco, cache_folder=folder).path == path


@pytest.mark.parametrize("ending", ["", ".lock"])
def test_a_link_of_others_is_not_followed(coco, shared, tmp_path, monkeypatch, ending):
    path = build_index(*coco, cache_folder=shared).path
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    path.unlink()
    planted = path.with_name(path.name + ending)
    planted.unlink(missing_ok=True)
    planted.symlink_to(mine)
    give_away(planted, monkeypatch)
    with pytest.raises(ConfigError, match="another user's"):
        build_index(*coco, cache_folder=shared)
    assert mine.read_text() == "mine"


def test_what_a_check_keeps_is_not_written_through_a_link(shared, tmp_path, monkeypatch):
    path = shared / "x.looks.npy"
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (shared / f".{path.name}.{os.getpid()}.partial").symlink_to(mine)  # what could be guessed
    _open_array(path, "u1", (3,))
    assert mine.read_text() == "mine"
    give_away(path, monkeypatch)
    with pytest.raises(ConfigError, match="another user's"):
        _open_array(path, "u1", (3,))


def test_the_users_own_cache_is_private(tmp_path, monkeypatch, coco):
    monkeypatch.delenv("LIGHTNING_ST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    index = build_index(*coco)
    assert index.path.is_relative_to(tmp_path / "home")
    assert stat.S_IMODE(default_cache_folder().parent.stat().st_mode) == 0o700


def test_a_folder_that_is_named_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        make_cache_folder(tmp_path / "named")
        write_json(tmp_path / "manifest.json", {})
        with own_folder(tmp_path / "sheet") as folder:
            (folder / "index.html").touch()
            (folder / "pictures").mkdir()
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("named", "manifest.json", "sheet")}
    assert modes == {"named": 0o750, "manifest.json": 0o640, "sheet": 0o750}
    assert stat.S_IMODE((tmp_path / "sheet/index.html").stat().st_mode) == 0o640


def test_nothing_of_ours_has_a_name_that_can_be_guessed(coco, tmp_path, monkeypatch):
    """What is written before it is renamed: each process, and each time, another name, which must not be there yet."""
    names = []
    opened = Path.open

    def noting(self, mode="r", *args, **kwargs):
        if ".partial" in self.name:
            names.append(self.name)
            assert "x" in mode
        return opened(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", noting)
    for number in range(2):
        build_index(*coco, cache_folder=tmp_path / str(number))
        write_json(tmp_path / "manifest.json", {})
    assert len(set(names)) == len(names) == 4
