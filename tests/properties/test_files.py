"""The same of files that this package wrote, or others published: indexes, manifests, checkpoints, folds."""

import io
import json
import struct
import tempfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spoiling import EXAMPLES, JSON, read_or_refuse, spoilt_bytes, spoilt_json
from subjects import COCO, CSV, DESCRIPTIONS, SUBJECTS, as_bytes, check_index

from lightning_st.deploy.card import Card
from lightning_st.index import fold_rows, read_image_labels
from lightning_st.index.exclude import excluded_rows
from lightning_st.index.json_stream import JsonStream, is_list
from lightning_st.index.layout import PREFIX, align
from lightning_st.index.masks import encode_mask
from lightning_st.index.segments import segments_of
from lightning_st.index.stores import store_thresholds
from lightning_st.index.table import AnnotationIndex
from lightning_st.index.writer import IndexWriter
from lightning_st.modules.checkpoints import checkpoint_fingerprint, describe
from lightning_st.reports.run_folder import read_json
from lightning_st.selftrain import PseudoLabels
from lightning_st.stages.manifest import decide, read_manifest

STORE = {
    "schema": 1,
    "stage": "pseudo_label",
    "state": "complete",
    "inputs": {"images": "f00"},
    "classes": ["cat", "dog"],
    "thresholds": {"keep": [0.5, 0.5], "ignore": [0.3, 0.5], "weight_power": 1.0, "unknown": [False, True]},
}
FOLDS = {"50.0": {"1": [0], "2": [1]}, "100.0": {"1": [0, 1]}}


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def written(folder, name, content):
    (Path(folder) / name).write_bytes(content)
    return Path(folder) / name


@cache
def index_bytes(has_masks: bool) -> bytes:
    """Return a small index file with everything in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.index"
        with IndexWriter(path, ("cat", "dog"), (3, 5), {"root": "/photos"}) as writer:
            for number in range(3):
                if has_masks:
                    mask = np.eye(6, dtype=np.uint8)
                    writer.add(f"{number}.jpg", 6, 6, mask=encode_mask(mask), **segments_of(mask))
                else:
                    writer.add(f"{number}.jpg", 40, 30, boxes=[[1, 2, 3, 4]] * number, labels=[number - 1] * number)
        return path.read_bytes()


@pytest.mark.parametrize("has_masks", [False, True])
@given(data=st.data())
@EXAMPLES
def test_a_spoilt_index_is_whole_or_refused(has_masks, data):
    content = data.draw(spoilt_bytes(index_bytes(has_masks)))
    with tempfile.TemporaryDirectory() as folder:
        index = read_or_refuse(lambda: verified(written(folder, "a.index", content)))
        if index is not None:
            check_index(index)


def verified(path):
    index = AnnotationIndex.open(path)
    index.verify()
    return index


@given(data=st.data())
@EXAMPLES
def test_a_forged_header_of_an_index_is_no_traceback(data):
    """Its checksum is right, as an edit with the right tools would leave it."""
    content = index_bytes(False)
    magic, version, _, length = PREFIX.unpack_from(content)
    text = data.draw(spoilt_json(json.loads(content[PREFIX.size : PREFIX.size + length])))
    prefix = struct.pack(PREFIX.format, magic, version, zlib.crc32(text), len(text))
    columns = content[align(PREFIX.size + length) :]
    forged = (prefix + text).ljust(align(len(prefix) + len(text)), b"\0") + columns
    with tempfile.TemporaryDirectory() as folder:
        read_or_refuse(lambda: verified(written(folder, "a.index", forged)))


@given(content=spoilt_json(STORE))
@EXAMPLES
def test_the_manifest_of_a_store_is_read_or_refused(content):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written(folder, "labels.index", index_bytes(False))
        written(folder, "manifest.json", content)
        thresholds = read_or_refuse(lambda: store_thresholds(folder, 2))
        labels = read_or_refuse(lambda: PseudoLabels.open(folder))
        if labels is not None:
            labels.statistics()
        assert thresholds is None or (len(thresholds.keep), len(thresholds.ignore)) == (2, 2)


@given(content=spoilt_json(STORE))
@EXAMPLES
def test_the_manifest_of_a_stage_is_read_or_refused(content):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written(folder, "manifest.json", content)
        read_or_refuse(lambda: read_manifest(folder))
        read_or_refuse(lambda: decide(folder, {"images": "f00"}, restart=False))
        read_or_refuse(lambda: read_json(folder / "manifest.json"))


@given(content=spoilt_json(COCO))
@EXAMPLES
def test_a_stream_of_json_yields_what_json_says(content):
    with tempfile.TemporaryDirectory() as folder:
        path = written(folder, "a.json", content)
        read_or_refuse(lambda: elements(path))
        members = read_or_refuse(lambda: members_of(path))
    if members is not None:
        assert members == repr(list(json.loads(content, object_pairs_hook=list)))  # NaN differs from itself


def members_of(path):
    with JsonStream(path) as stream:
        found = [(key, list(value) if is_list(value) else value) for key, value in stream.members()]
    return repr([(key, as_pairs(value)) for key, value in found])


def as_pairs(value):
    if isinstance(value, dict):
        return [(key, as_pairs(inner)) for key, inner in value.items()]
    return [as_pairs(inner) for inner in value] if isinstance(value, list) else value


def elements(path):
    with JsonStream(path) as stream:
        return list(stream.elements())


@given(content=spoilt_json(FOLDS), fraction=st.sampled_from([0.5, 1.0]), fold=st.integers(0, 2))
@EXAMPLES
def test_a_file_of_folds_is_read_or_refused(content, fraction, fold):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SUBJECTS["COCO"].write(folder)
        index = SUBJECTS["COCO"].read(folder)
        path = written(folder, "folds.txt", content)
        rows = read_or_refuse(lambda: fold_rows(index, folder / "c.json", path, fraction, fold))
        assert rows is None or set(rows.tolist()) <= {0, 1}


@given(csv=spoilt_bytes(CSV), described=spoilt_bytes(DESCRIPTIONS), left_out=spoilt_bytes(b"a.png\nb\n"))
@EXAMPLES
def test_lists_beside_an_index_are_read_or_refused(csv, described, left_out):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SUBJECTS["Open Images boxes"].write(folder)
        index = SUBJECTS["Open Images boxes"].read(folder)
        labels, descriptions = written(folder, "labels.csv", csv), written(folder, "descriptions.csv", described)
        read_or_refuse(lambda: read_image_labels(labels, folder / "class-descriptions-boxable.csv", index))
        read_or_refuse(lambda: read_image_labels(folder / "boxes.csv", descriptions, index))
        read_or_refuse(lambda: excluded_rows(index, written(folder, "out.txt", left_out)))


@cache
def checkpoint_bytes() -> bytes:
    about = describe(["cat", "dog"], "AP", "ema", {"class_path": "x", "init_args": {}}, (64, 64))
    buffer = io.BytesIO()
    torch.save({"state_dict": {"task.a": torch.ones(3), "task.b": torch.zeros(2, 2)}, "lightning_st": about}, buffer)
    return buffer.getvalue()


@given(content=spoilt_bytes(checkpoint_bytes()))
@EXAMPLES
def test_a_spoilt_checkpoint_is_read_or_refused(content):
    with tempfile.TemporaryDirectory() as folder:
        path = written(folder, "a.ckpt", content)
        read_or_refuse(lambda: checkpoint_fingerprint(path))


CARD = Card("RetinaNet", "boxes", ("cat", "dog"), (64, 64), 0.05, 0.5, 100).to_strings()


@given(name=st.sampled_from(sorted(CARD)), value=st.text(max_size=6) | JSON.map(json.dumps) | st.none())
@EXAMPLES
def test_a_spoilt_card_is_read_or_refused(name, value):
    strings = {key: text for key, text in {**CARD, name: value}.items() if text is not None}
    read_or_refuse(lambda: Card.from_strings(strings, "model.onnx"))


def test_valid_ones_are_read(folder):
    check_index(verified(written(folder, "labels.index", index_bytes(False))))
    written(folder, "manifest.json", as_bytes(STORE))
    assert store_thresholds(folder, 2).weight_power == 1
    assert len(PseudoLabels.open(folder)) == 3
    assert len(checkpoint_fingerprint(written(folder, "a.ckpt", checkpoint_bytes()))) == 64
    assert Card.from_strings(CARD, "model.onnx").classes == ("cat", "dog")
