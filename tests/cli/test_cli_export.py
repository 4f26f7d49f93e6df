"""`lightning_st export`: what is kept, both forms, no torch, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_st.cli import main
from lightning_st.index import IndexWriter, ReaderOptions, build_index, encode_mask, segments_of


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of one image with three boxes, of which the thresholds keep two."""
    folder = tmp_path / "labels"
    Image.new("RGB", (10, 10)).save(tmp_path / "x.jpg")
    with IndexWriter(folder / "labels.index", ["cat", "dog"], source={"root": str(tmp_path)}) as writer:
        boxes = {"boxes": [[0, 0, 5, 5], [1, 1, 6, 6], [2, 2, 7, 7]], "labels": [0, 0, 1], "scores": [0.9, 0.4, 0.4]}
        writer.add("x.jpg", 10, 10, **boxes)
    thresholds = {"keep": [0.5, 0.3], "ignore": [0.1, 0.1]}
    (folder / "manifest.json").write_text(json.dumps({"state": "complete", "thresholds": thresholds}))
    return folder


def scores_of(path: Path) -> list[float]:
    return [round(box["score"], 2) for box in json.loads(path.read_text())["annotations"]]


def test_a_store_is_exported_at_its_thresholds(store: Path, tmp_path: Path, capsys):
    assert main(["export", str(store), "--output", str(tmp_path / "a.json")]) == 0
    assert scores_of(tmp_path / "a.json") == [0.9, 0.4]
    assert "a.json: 1 images, 2 of 3 boxes" in capsys.readouterr().out
    assert main(["export", str(store), "--format", "yolo", "--output", str(tmp_path / "yolo")]) == 0
    assert (tmp_path / "yolo" / "labels" / "x.txt").read_text() == "0 0.25 0.25 0.5 0.5\n1 0.45 0.45 0.5 0.5\n"


def test_another_threshold_and_a_bare_index(store: Path, tmp_path: Path):
    for words, scores in (
        ([str(store), "--score_threshold", "0.5"], [0.9]),
        ([str(store / "labels.index")], [0.9, 0.4, 0.4]),
    ):
        assert main(["export", *words, "--output", str(tmp_path / "a.json")]) == 0
        assert scores_of(tmp_path / "a.json") == scores


def test_what_cannot_be_exported_is_refused_in_one_sentence(store: Path, tmp_path: Path, capsys):
    output = ["--output", str(tmp_path / "out")]
    for words, message in (
        ([str(tmp_path)], "the index cannot be opened"),
        ([str(store), "--score_threshold", "5"], "Expected score_threshold to be from 0 to 1, got 5.0"),
    ):
        assert main(["export", *words, *output]) == 2
        assert message in capsys.readouterr().err
    (store / "manifest.json").write_text('{"state": "running"}')
    assert main(["export", str(store), *output]) == 2
    assert "the pseudo-labels are not complete. Run pseudo_label again." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_it_loads_no_torch():
    code = "import sys, lightning_st.cli.export_command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_masks_go_out_and_come_in_again(tmp_path: Path, capsys):
    """At the store's thresholds, or at another one; a box format is refused."""
    folder = tmp_path / "labels"
    Image.new("RGB", (3, 1)).save(tmp_path / "x.jpg")
    mask, confidence = np.array([[0, 1, 1]], np.uint8), np.array([[90, 60, 40]], np.uint8)
    with IndexWriter(folder / "labels.index", ["no", "cat"], source={"root": str(tmp_path)}) as writer:
        writer.add("x.jpg", 3, 1, mask=encode_mask(mask, confidence), **segments_of(mask, confidence))
    thresholds = {"keep": [0.95, 0.5], "ignore": [0.95, 0.5]}
    (folder / "manifest.json").write_text(json.dumps({"state": "complete", "thresholds": thresholds}))
    for words, values in (([], [255, 1, 255]), (["--score_threshold", "0.4"], [0, 1, 1])):
        output = tmp_path / f"out{len(words)}"
        assert main(["export", str(folder), *words, "--output", str(output)]) == 0
        assert "1 masks" in capsys.readouterr().out
        options = ReaderOptions(output / "classes.txt")
        assert build_index(tmp_path, output / "masks", "masks", options=options).mask(0).tolist() == [values]
    assert Image.open(output / "masks" / "x.png").getpalette()[:6] == [0, 0, 0, 128, 0, 0]
    assert main(["export", str(folder), "--format", "coco", "--output", str(tmp_path / "a.json")]) == 2
    assert "Expected format to be masks: the index holds masks, no boxes, got 'coco'." in capsys.readouterr().err
