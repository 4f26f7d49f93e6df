"""An index is built once, by one process, and never half."""

import io
import logging
import multiprocessing
import os
import signal
import time

import pytest

from lightning_st.errors import ConfigError
from lightning_st.index import AnnotationIndex, build_index
from lightning_st.index.readers import READERS

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def coco(make_coco, tmp_path):
    return make_coco(tmp_path, image_count=5)


def cached(folder):
    return sorted(path for path in folder.iterdir() if path.suffix == ".index")


def test_an_index_is_built_once(coco, tmp_path, monkeypatch):
    first = build_index(*coco)
    monkeypatch.setitem(READERS, "coco", None)
    again = build_index(*coco)
    assert (again.path, again.fingerprint) == (first.path, first.fingerprint)
    assert first.path.is_relative_to(os.environ["LIGHTNING_ST_CACHE"])


def test_another_folder_may_keep_it(coco, tmp_path):
    index = build_index(*coco, cache_folder=tmp_path / "made" / "here")
    assert cached(tmp_path / "made" / "here") == [index.path]


def test_a_bar_shows_on_a_terminal_only(coco, tmp_path, monkeypatch):
    for is_terminal, shown in ((True, True), (True, False), (False, True)):
        terminal = io.StringIO()
        terminal.isatty = lambda value=is_terminal: value
        with monkeypatch.context() as context:
            context.setattr("sys.stderr", terminal)
            build_index(*coco, cache_folder=tmp_path / f"{is_terminal} {shown}", progress=shown)
        assert ("Indexing" in terminal.getvalue()) == (is_terminal and shown)


def change_annotations(images, annotations):
    annotations.write_text(annotations.read_text().replace("square", "cube"))


def change_annotations_in_secret(images, annotations):
    """The file keeps its size and the time that tools set, as if copied with `cp --preserve`."""
    status = annotations.stat()
    annotations.write_text(annotations.read_text().replace("square", "sphere"))
    os.utime(annotations, ns=(status.st_atime_ns, status.st_mtime_ns))


def change_list(images, annotations):
    (images.parent / "list").write_text("image_002.jpg\n")


def touch_annotations(images, annotations):
    os.utime(annotations, (1, 1))


@pytest.mark.parametrize("change", [change_annotations, change_annotations_in_secret, change_list, touch_annotations])
def test_changed_sources_are_read_again(coco, tmp_path, change):
    (tmp_path / "list").write_text("image_001.jpg\n")
    arguments = {"images": coco[0], "annotations": coco[1], "list_file": tmp_path / "list"}
    before = build_index(**arguments)
    change(*coco)
    after = build_index(**arguments)
    assert after.path != before.path
    assert (after.fingerprint == before.fingerprint) == (change is touch_annotations)


def test_an_own_reader_is_read_again_when_its_code_changes(coco, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    code = tmp_path / "reader_of_mine.py"
    code.write_text("def read(sources, writer):\n    writer.add(sources.listing[0])\n")
    images, annotations = coco
    first = build_index(images, annotations, "reader_of_mine.read")
    assert (len(first), build_index(images, annotations, "reader_of_mine.read").path) == (1, first.path)
    code.write_text(code.read_text() + "    writer.add(sources.listing[1])\n")
    assert build_index(images, annotations, "reader_of_mine.read").path != first.path
    with pytest.raises(ConfigError, match=r"Unknown format 'reader_of_mine.rad'"):
        build_index(images, annotations, "reader_of_mine.rad")


def test_a_folder_is_known_by_its_images(coco):
    images = coco[0]
    before = build_index(images)
    (images / "new.jpg").touch()
    assert len(build_index(images)) == len(before) + 1
    (images / "new.jpg").unlink()
    assert build_index(images).path == before.path


@pytest.mark.parametrize("content", [b"", b"something else", b"LST-INDX" + bytes(30), "cut"])
def test_an_unreadable_cached_index_is_built_anew(coco, caplog, content):
    index = build_index(*coco)
    whole = index.path.read_bytes()
    index.path.write_bytes(whole[:-1] if content == "cut" else content)
    with caplog.at_level(logging.WARNING, "lightning_st"):
        again = build_index(*coco)
    assert again.path.read_bytes() == whole
    assert str(index.path) in caplog.text


def test_a_cache_that_cannot_be_written_names_the_variable(coco, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIGHTNING_ST_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"file/indexes: the folder .* Set LIGHTNING_ST_CACHE to a folder that can"):
        build_index(*coco)


def test_a_failing_build_leaves_nothing(coco, tmp_path):
    coco[1].write_text("{")
    with pytest.raises(Exception, match="no valid JSON"):
        build_index(*coco, cache_folder=tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] in ([".lock"], [])


def build_slowly(images, annotations, cache, log, start):
    """In a process of its own: build with a reader that takes its time and says that it ran."""
    read = READERS["coco"]

    def slow(sources, writer):
        with open(log, "a") as file:
            file.write("built\n")
        time.sleep(0.5)
        read(sources, writer)

    READERS["coco"] = slow
    start.wait()
    index = build_index(images, annotations, cache_folder=cache)
    assert len(index) == 5


def test_of_several_processes_one_builds(coco, tmp_path):
    start = SPAWN.Barrier(4)
    arguments = (*coco, tmp_path / "cache", tmp_path / "log", start)
    processes = [SPAWN.Process(target=build_slowly, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text() == "built\n"
    assert len(cached(tmp_path / "cache")) == 1


def build_until_killed(images, annotations, cache, moment):
    """In a process of its own: die without a word in the middle of reading, or of putting the file together."""
    if moment == "reading":
        READERS["coco"] = lambda sources, writer: (writer.add("a.jpg"), os.kill(os.getpid(), signal.SIGKILL))
    else:
        os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)
    build_index(images, annotations, cache_folder=cache)


@pytest.mark.parametrize("moment", ["reading", "assembling"])
def test_a_killed_builder_leaves_nothing_half_valid(coco, tmp_path, moment):
    cache = tmp_path / "cache"
    process = SPAWN.Process(target=build_until_killed, args=(*coco, cache, moment))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert cached(cache) == []
    assert any(path.suffix == ".partial" for path in cache.iterdir()) == (moment == "assembling")
    index = build_index(*coco, cache_folder=cache)
    index.verify()
    assert {path.suffix for path in cache.iterdir()} <= {".index", ".lock"}


def open_in_process(index, names):
    names.put(index.name(3))


def test_an_index_goes_to_another_process(coco):
    index, names = build_index(*coco), SPAWN.Queue()
    process = SPAWN.Process(target=open_in_process, args=(index, names))
    process.start()
    assert names.get(timeout=60) == "image_003.jpg"
    process.join(60)
    assert isinstance(index, AnnotationIndex)
