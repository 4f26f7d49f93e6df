"""docs/deploying.md does what it says, and an exported file predicts what its checkpoint does."""

import json
import re

import numpy as np
import onnx
import pytest
import torch
from deploy_guide import Reader, blocks
from deploy_makers import CLASSES, SIZE

from lightning_st import Predictor
from lightning_st.deploy.agreement import compare_boxes
from lightning_st.deploy.card import Card
from lightning_st.deploy.program_file import CARD_FILE


def test_export_says_how_far_the_file_agrees(reader: Reader):
    first, second = reader.said
    assert "student.onnx: RetinaNet, 3 classes, images uint8 [batch, 3, 64, 80]" in first
    boxes, scores = re.search(
        r"on 8 made-up images: \d\d+ boxes within (\S+) px, scores within (\S+)\n", first
    ).groups()
    assert float(boxes) <= 0.1
    assert float(scores) <= 1e-4
    assert "torch.export agrees with the checkpoint on 4 images of photos" in second


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_all_files_predict_the_same(reader: Reader, ending):
    images = [reader.folder / "photo.jpg", *sorted((reader.folder / "photos").iterdir())]
    expected = Predictor(reader.model("ckpt"), score_threshold=0, batch_size=3)(images)
    predictor = Predictor(reader.model(ending), score_threshold=0, batch_size=3)
    found = predictor(images)
    assert (predictor.classes, predictor.image_size) == (CLASSES, SIZE)
    agreement = compare_boxes(found, expected, 0.05, 100)
    assert agreement.is_close, agreement
    assert agreement.count > 100
    assert agreement.unpaired == 0
    assert predictor([]) == []


def test_three_lines_of_python(reader: Reader, monkeypatch):
    monkeypatch.chdir(reader.folder)
    names = {}
    exec(blocks("python")[0], names)
    (prediction,) = names["predictions"]
    assert [prediction[key].dtype for key in ("boxes", "labels", "scores")] == [
        torch.float32,
        torch.int64,
        torch.float32,
    ]
    assert len(prediction["boxes"]) > 0


def test_onnxruntime_alone_finds_the_same(reader: Reader, monkeypatch, capsys):
    monkeypatch.chdir(reader.folder)
    code = blocks("python")[1]
    assert "lightning_st" not in code
    assert "torch" not in code
    exec(code, names := {})
    printed = capsys.readouterr().out.splitlines()
    (prediction,) = Predictor("student.onnx", score_threshold=0)(["photo.jpg"])
    rows = {"boxes": names["boxes"], **{key: names[key][0, : len(printed)] for key in ("labels", "scores")}}
    limits = np.tile(names["photo"].shape[1::-1], 2)
    rows["boxes"] = np.clip(rows["boxes"], 0, limits).astype(np.float32)  # the padding is no part of the photograph
    kept = (rows["boxes"][:, 2:] > rows["boxes"][:, :2]).all(axis=1)
    agreement = compare_boxes([{key: torch.from_numpy(v[kept]) for key, v in rows.items()}], [prediction], 0.05, 100)
    assert agreement.count == len(prediction["boxes"]) > 10
    assert agreement.unpaired == 0
    assert agreement.is_close
    assert {line.split()[0] for line in printed} <= set(CLASSES)


def test_the_card_lies_in_the_file(reader: Reader):
    model = onnx.load(reader.model("onnx"))
    strings = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(strings["classes"]) == list(CLASSES)
    assert json.loads(strings["image_size"]) == list(SIZE)
    assert json.loads(strings["score_threshold"]) == 0.05
    assert len(json.loads(strings["checkpoint"])) == 64
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    extra_files = {CARD_FILE: ""}
    torch.export.load(reader.model("pt2"), extra_files=extra_files)
    first, second = Card.from_strings(strings, "a"), Card.from_strings(json.loads(extra_files[CARD_FILE]), "b")
    assert first == second
    # Nothing of the machine that wrote it.
    content = reader.model("onnx").read_bytes()
    assert b"site-packages" not in content
    assert b"retinanet.py" not in content
