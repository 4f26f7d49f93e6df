"""The index file: what is written is read, and nothing else is taken for an index."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lightning_st.errors import IndexFileError
from lightning_st.index import AnnotationIndex, IndexWriter, merge_indexes
from lightning_st.index import writer as writer_module

CLASSES = ("cat", "dog")
SOURCE = {"format": "coco", "root": "/images"}


def image_of(number):
    """The arguments of `IndexWriter.add` for an image with `number % 4` boxes; every third lies in an archive."""
    generator = np.random.default_rng(number)
    count = number % 4
    place = {"path": "/other/part.tar", "offset": 512 * number, "length": 100 + number} if number % 3 == 0 else {}
    corners = generator.uniform(0, 50, (count, 4)).astype(np.float32)
    return place | {
        "name": f"folder/{number} ä.jpg",
        "width": 640 + number,
        "height": 480,
        "image_id": 3 * number,
        "boxes": np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1),
        "labels": generator.integers(0, 2, count),
        "crowd": generator.integers(0, 2, count).astype(bool),
        "scores": generator.uniform(0, 1, count).astype(np.float32),
        "areas": generator.uniform(0, 100, count).astype(np.float32),
        "segmentations": [b"[[%d, 2.5]]" % number, None, b'{"counts": "ab", "size": [4, 5]}'][:count],
    }


def write_index(path, numbers):
    with IndexWriter(path, CLASSES, class_ids=(3, 9), source=SOURCE) as writer:
        for number in numbers:
            writer.add(**image_of(number))
    return AnnotationIndex.open(path)


def assert_holds(index, row, image):
    record, annotations, first = index.image(row), index.annotations(row), int(index.box_offsets[row])
    assert (record.row, record.name, record.width, record.height) == (row, image["name"], image["width"], 480)
    assert record.image_id == image["image_id"]
    assert record.path == image.get("path", f"/images/{image['name']}")
    assert (record.offset, record.length) == (image.get("offset", 0), image.get("length", -1))
    for name in ("boxes", "labels", "crowd", "scores", "areas"):
        np.testing.assert_array_equal(getattr(annotations, name), image[name])
    for number, text in enumerate(image["segmentations"]):
        assert index.segmentation_bytes(first + number) == (text or b"")


@pytest.mark.parametrize("spool_size", [1, writer_module.SPOOL_SIZE])
def test_what_is_written_is_read(tmp_path, monkeypatch, spool_size):
    monkeypatch.setattr(writer_module, "SPOOL_SIZE", spool_size)
    monkeypatch.setattr(writer_module, "CHUNK_SIZE", 7)
    index = write_index(tmp_path / "a.index", range(30))
    assert len(index) == 30
    for row in range(30):
        assert_holds(index, row, image_of(row))
    assert index.segmentation(0) == [[1, 2.5]]
    assert index.segmentation(2) is None
    assert (index.classes, index.class_ids, index.is_labeled, index.source) == (CLASSES, (3, 9), True, SOURCE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.index"]
    index.verify()


def test_a_group_is_written_as_its_images_one_by_one(tmp_path):
    numbers = range(1, 9)
    one_by_one = write_index(tmp_path / "one.index", numbers)
    images = [image_of(number) for number in numbers]
    group = [
        {name: image[name] for name in ("name", "image_id", "path", "offset", "length") if name in image}
        | {"size": (image["width"], image["height"])}
        for image in images
    ]
    columns = {name: np.concatenate([image[name] for image in images]) for name in ("boxes", "labels", "crowd")}
    columns |= {name: np.concatenate([image[name] for image in images]) for name in ("scores", "areas")}
    columns["segmentations"] = [text for image in images for text in image["segmentations"]]
    counts = [len(image["labels"]) for image in images]
    with IndexWriter(tmp_path / "group.index", CLASSES, class_ids=(3, 9), source=SOURCE) as writer:
        writer.add_group(group[:3], counts[:3], **{name: part[: sum(counts[:3])] for name, part in columns.items()})
        writer.add_group(group[3:], counts[3:], **{name: part[sum(counts[:3]) :] for name, part in columns.items()})
    assert (tmp_path / "group.index").read_bytes() == one_by_one.path.read_bytes()
    with (
        pytest.raises(ValueError, match="Expected 2 boxes in all, got 1"),
        IndexWriter(tmp_path / "other.index", CLASSES) as writer,
    ):
        writer.add_group([{"name": "a.jpg", "size": (1, 1), "image_id": 0}], [2], boxes=[[0, 0, 1, 1]], labels=[0])


def test_columns_have_the_promised_types(tmp_path):
    index = write_index(tmp_path / "a.index", range(8))
    expected = {
        "image_ids": (np.int64, (8,)),
        "widths": (np.int32, (8,)),
        "heights": (np.int32, (8,)),
        "box_offsets": (np.int64, (9,)),
        "boxes": (np.float32, (12, 4)),
        "labels": (np.int32, (12,)),
        "crowd": (np.bool_, (12,)),
        "scores": (np.float32, (12,)),
        "areas": (np.float32, (12,)),
    }
    assert {name: (getattr(index, name).dtype, getattr(index, name).shape) for name in expected} == expected
    assert not index.boxes.flags.writeable
    assert all(column.ctypes.data % 64 == 0 for column in index.columns.values())


def test_an_index_without_images_or_boxes(tmp_path):
    empty = write_index(tmp_path / "empty.index", [])
    empty.verify()
    assert (len(empty), len(empty.boxes), empty.find(["a"]).tolist()) == (0, 0, [-1])
    without_boxes = write_index(tmp_path / "no_boxes.index", [4, 8])
    assert without_boxes.annotations(1).boxes.shape == (0, 4)
    without_boxes.verify()


def test_defaults_of_what_is_not_given(tmp_path):
    with IndexWriter(tmp_path / "a.index", CLASSES) as writer:
        writer.add("a.jpg", boxes=[[1, 2, 4, 8]], labels=[1])
        writer.add("b.jpg")
    index = AnnotationIndex.open(tmp_path / "a.index")
    annotations = index.annotations(0)
    assert (annotations.crowd.tolist(), annotations.scores.tolist(), annotations.areas.tolist()) == ([False], [1], [18])
    assert index.segmentation(0) is None
    assert not index.has_scores
    assert [index.image(row).image_id for row in range(2)] == [0, 1]
    assert index.class_ids == (1, 2)


def test_a_root_can_be_moved(tmp_path):
    write_index(tmp_path / "a.index", range(4))
    moved = AnnotationIndex.open(tmp_path / "a.index", root="/moved")
    assert moved.image(1).path == "/moved/folder/1 ä.jpg"
    assert moved.image(3).path == "/other/part.tar"
    assert pickle.loads(pickle.dumps(moved)).image(1) == moved.image(1)


def test_an_image_may_lie_in_any_folder(tmp_path):
    with IndexWriter(tmp_path / "a.index", source={"root": "/images"}, is_labeled=False) as writer:
        writer.add("a/1.jpg", path="/images/a/1.jpg")
        writer.add("a/1.jpg", path="/images/part/a/1.jpg")
        writer.add("1.jpg", path="/elsewhere/1.jpg")
        writer.add("x.jpg", path="/images/x.tar", offset=512, length=9)
    index = AnnotationIndex.open(tmp_path / "a.index", root="/new")
    assert [index.image(row).path for row in range(4)] == [
        "/new/a/1.jpg",
        "/new/part/a/1.jpg",
        "/elsewhere/1.jpg",
        "/new/x.tar",
    ]


def test_names_are_found(tmp_path):
    index = write_index(tmp_path / "a.index", [5, 3, 9, 3])
    assert index.find(["folder/9 ä.jpg", "9 ä.jpg", "folder/3 ä.jpg"]).tolist() == [2, -1, 1]
    assert list(index.iterate_names())[2] == "folder/9 ä.jpg"


def test_names_of_one_hash_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "hash_name", lambda name: 7)
    index = write_index(tmp_path / "a.index", [5, 3, 9])
    monkeypatch.setattr("lightning_st.index.table.hash_name", lambda name: 7)
    assert index.find(["folder/9 ä.jpg", "folder/4 ä.jpg", "folder/3 ä.jpg"]).tolist() == [2, -1, 1]


@pytest.mark.parametrize("row", [-1, 3])
def test_a_row_that_is_not_there_is_refused(tmp_path, row):
    index = write_index(tmp_path / "a.index", range(3))
    for look in (index.image, index.annotations, index.name):
        with pytest.raises(IndexError, match=f"row {row} of an index of 3 images"):
            look(row)
    with pytest.raises(IndexError, match=f"box {row} of an index of 3 boxes"):
        index.segmentation(row)


def test_the_fingerprint_says_what_and_not_where(tmp_path):
    first = write_index(tmp_path / "a.index", range(9))
    with IndexWriter(tmp_path / "b.index", CLASSES, (3, 9), {"format": "voc", "root": "/elsewhere"}) as writer:
        for number in range(9):
            image = image_of(number)
            writer.add(**{key: value for key, value in image.items() if key not in ("path", "offset", "length")})
    assert AnnotationIndex.open(tmp_path / "b.index").fingerprint == first.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"name": "b"},
        {"width": 1},
        {"height": 1},
        {"image_id": 1},
        {"boxes": np.ones((1, 4))},
        {"labels": [1]},
        {"crowd": [True]},
        {"scores": [0.5]},
        {"areas": [2]},
        {"segmentations": [b"[[5]]"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_fingerprint_changes_with_what_the_index_says(tmp_path, change):
    same = {
        "name": "a",
        "width": 9,
        "height": 9,
        "image_id": 2,
        "boxes": np.zeros((1, 4)),
        "labels": [0],
        "crowd": [False],
        "scores": [1],
        "areas": [1],
        "segmentations": [b"[[4]]"],
    }
    fingerprints = set()
    for number, image in enumerate([same, same, same | change]):
        with IndexWriter(tmp_path / f"{number}.index", CLASSES) as writer:
            writer.add(**image)
        fingerprints.add(AnnotationIndex.open(writer.path).fingerprint)
    assert len(fingerprints) == 2


def test_the_fingerprint_changes_with_the_classes(tmp_path):
    fingerprints = set()
    for number, (classes, ids) in enumerate([(("a", "b"), (1, 2)), (("a", "c"), (1, 2)), (("a", "b"), (1, 3))]):
        with IndexWriter(tmp_path / f"{number}.index", classes, ids):
            pass
        fingerprints.add(AnnotationIndex.open(tmp_path / f"{number}.index").fingerprint)
    assert len(fingerprints) == 3


@pytest.mark.parametrize("chunk_size", [3, 1 << 16])
def test_shards_join_into_what_would_be_written_at_once(tmp_path, monkeypatch, chunk_size):
    monkeypatch.setattr(writer_module, "CHUNK_SIZE", chunk_size)
    whole = write_index(tmp_path / "whole.index", range(25))
    shards = [range(7), [], range(7, 8), range(8, 25)]
    paths = [write_index(tmp_path / f"{number}.index", shard).path for number, shard in enumerate(shards)]
    joined = merge_indexes(paths, tmp_path / "joined.index")
    assert joined.fingerprint == whole.fingerprint
    assert [joined.image(row) for row in range(25)] == [whole.image(row) for row in range(25)]
    assert joined.has_scores
    assert joined.source == SOURCE
    joined.verify()


def test_joining_keeps_where_images_lie(tmp_path):
    """Each part has folders and archives of its own, in an order of its own, and some in common."""
    places = [["/images/1.jpg", "/x/1.jpg", "/y/1.jpg"], ["/y/1.jpg", "/z/1.jpg", "/images/sub/1.jpg", "/x/1.jpg"]]
    for number, paths in enumerate(places):
        source = {"root": "/images" if number == 0 else "/z"}
        with IndexWriter(tmp_path / f"{number}", source=source, is_labeled=False) as writer:
            for path in paths:
                writer.add("1.jpg", path=path)
    joined = merge_indexes([tmp_path / "0", tmp_path / "1"], tmp_path / "joined")
    assert [joined.image(row).path for row in range(7)] == places[0] + places[1]


def test_joining_adds_problems_and_may_replace_a_part(tmp_path):
    for name in ("a", "b"):
        with IndexWriter(tmp_path / name, CLASSES) as writer:
            writer.problems = {"outside": {"count": 20, "examples": [f"{name}{number}" for number in range(6)]}}
    joined = merge_indexes([tmp_path / "a", tmp_path / "b"], tmp_path / "a", source={"format": "joined"})
    assert joined.problems["outside"]["count"] == joined.bad_box_count == joined.box_count_read == 40
    assert joined.problems["outside"]["examples"] == [f"a{n}" for n in range(6)] + [f"b{n}" for n in range(4)]
    assert joined.source == {"format": "joined"}


def test_joining_refuses_other_classes_and_nothing(tmp_path):
    write_index(tmp_path / "a.index", range(3))
    with IndexWriter(tmp_path / "b.index", ("dog", "cat")):
        pass
    with pytest.raises(ValueError, match=r"classes \('cat', 'dog'\), got \('dog', 'cat'\)"):
        merge_indexes([tmp_path / "a.index", tmp_path / "b.index"], tmp_path / "c.index")
    with pytest.raises(ValueError, match="at least one index"):
        merge_indexes([], tmp_path / "c.index")
    assert not (tmp_path / "c.index").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"boxes": [[0, 0, 1, 1]], "labels": []}, "there are boxes .1.*'labels': 0"),
        ({"boxes": [[0, 0, 1, 1]], "labels": [0], "scores": [0.5, 0.5]}, "'scores': 2"),
        ({"boxes": [], "labels": [], "segmentations": [None]}, "'segmentations': 1"),
        ({"boxes": [[0, 0, 1, 1]], "labels": [2]}, "labels of 'a.jpg' from 0 to 1"),
        ({"boxes": [[0, 0, 1, 1]], "labels": [-1]}, "labels of 'a.jpg' from 0 to 1"),
        ({"path": "/images/b.jpg"}, "path of image 'a.jpg' to end in its name"),
    ],
)
def test_the_writer_refuses_what_does_not_fit_and_leaves_nothing(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message), IndexWriter(tmp_path / "a.index", CLASSES) as writer:
        writer.add("a.jpg", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_images_without_labels_take_no_boxes(tmp_path):
    with (
        pytest.raises(ValueError, match="no boxes in an index of images without labels"),
        IndexWriter(tmp_path / "a.index", is_labeled=False) as writer,
    ):
        writer.add("a.jpg", boxes=[[0, 0, 1, 1]], labels=[0])


def test_a_failing_close_leaves_the_old_index(tmp_path, monkeypatch):
    old = write_index(tmp_path / "a.index", range(3))
    monkeypatch.setattr("os.fsync", lambda number: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_index(tmp_path / "a.index", range(5))
    assert [path.name for path in tmp_path.iterdir()] == ["a.index"]
    assert AnnotationIndex.open(tmp_path / "a.index").fingerprint == old.fingerprint


@pytest.mark.parametrize("keep", [0, 5, 24, 100, -1])
def test_a_cut_index_is_refused(tmp_path, keep):
    path = write_index(tmp_path / "a.index", range(9)).path
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(IndexFileError, match=r"a\.index: .*(not an index|damaged|cut)"):
        AnnotationIndex.open(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": []}', "not an index of lightning_st"),
        (b"LST-INDX" + b"\x07" + bytes(200), "schema version 7, this lightning_st reads version 2. Build it again"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path, content, message):
    (tmp_path / "a.index").write_bytes(content)
    with pytest.raises(IndexFileError, match=message):
        AnnotationIndex.open(tmp_path / "a.index")


def test_a_missing_index_is_refused(tmp_path):
    with pytest.raises(IndexFileError, match=r"b\.index: the index cannot be opened: No such file"):
        AnnotationIndex.open(tmp_path / "b.index")


def test_an_edited_header_is_refused_and_an_edited_column_found(tmp_path):
    path = write_index(tmp_path / "a.index", range(9)).path
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"cat"', b'"cow"'))
    with pytest.raises(IndexFileError, match="header of the index is cut or damaged"):
        AnnotationIndex.open(path)
    path.write_bytes(content.replace(b"folder/5", b"folder/6"))
    index = AnnotationIndex.open(path)
    with pytest.raises(IndexFileError, match="does not match its fingerprint"):
        index.verify()


def test_a_pickled_index_is_its_path(tmp_path):
    index = write_index(tmp_path / "a.index", range(2000))
    pickled = pickle.dumps(index)
    assert len(pickled) < 1000
    assert pickle.loads(pickled).image(7) == index.image(7)
    write_index(tmp_path / "a.index", range(5))
    with pytest.raises(IndexFileError, match="replaced by another"):
        pickle.loads(pickled)


def test_opening_reads_next_to_nothing(tmp_path):
    """A million boxes add nothing to the memory of a process that opens them."""
    with IndexWriter(tmp_path / "a.index", CLASSES) as writer:
        for number in range(100):
            writer.add(str(number), boxes=np.zeros((10_000, 4)), labels=np.zeros(10_000, int))
    assert (tmp_path / "a.index").stat().st_size > 30e6
    code = """if True:
        import sys
        from pathlib import Path
        from lightning_st.index import AnnotationIndex
        def private():
            lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
            return sum(int(line.split()[1]) for line in lines if line.startswith("Private"))
        AnnotationIndex.open(sys.argv[2])
        before = private()
        index = AnnotationIndex.open(sys.argv[1])
        assert len(index.annotations(50).boxes) == 10_000
        print(private() - before)
    """
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("needs /proc/self/smaps_rollup")
    small = write_index(tmp_path / "small.index", range(2)).path
    command = [sys.executable, "-c", code, tmp_path / "a.index", small]
    assert int(subprocess.run(command, check=True, capture_output=True).stdout) < 2000  # kB
