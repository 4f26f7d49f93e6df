"""`Predictor`: what it takes, that it predicts what `lightning_st predict` does, and what it refuses."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from deploy_guide import Reader
from deploy_makers import save, write_checkpoint
from PIL import ExifTags, Image
from recipes import TINY_BACKBONE, TINY_SEGMENTER

from lightning_st import Predictor
from lightning_st.errors import CheckpointError, ConfigError, ImageError
from lightning_st.index import AnnotationIndex
from lightning_st.models import ImageClassifier, SemanticSegmenter
from lightning_st.stages.predict_folder import PredictSettings, predict_folder

PHOTO = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def predictor(reader: Reader) -> Predictor:
    return Predictor(reader.model("ckpt"), device="cpu")


def test_it_predicts_what_the_command_does(reader: Reader, tmp_path):
    """Bit for bit, in pixels of the images."""
    quiet = {"accelerator": "cpu", "enable_progress_bar": False}
    settings = PredictSettings(batch_size=4, num_workers=0, trainer=quiet)
    store = predict_folder(reader.model("ckpt"), str(reader.folder / "photos"), tmp_path / "store", settings)
    index: AnnotationIndex = store.index
    paths = [index.image(row).path for row in range(len(index))]
    found = Predictor(reader.model("ckpt"), batch_size=4, device="cpu")(paths)
    for row, prediction in enumerate(found):
        stored = index.annotations(row)
        kept = stored.scores >= np.float32(0.3)
        order = np.argsort(-stored.scores[kept], kind="stable")
        assert kept.any()
        assert np.array_equal(prediction["boxes"].numpy(), stored.boxes[kept][order])
        assert np.array_equal(prediction["scores"].numpy(), stored.scores[kept][order])
        assert np.array_equal(prediction["labels"].numpy(), stored.labels[kept][order])


def test_one_image_in_every_form(predictor, tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    forms = [PHOTO, torch.from_numpy(PHOTO).permute(2, 0, 1), Image.fromarray(PHOTO), tmp_path / "a.png"]
    forms += [str(tmp_path / "a.png"), PHOTO[:, ::-1][:, ::-1]]
    first, *others = predictor(iter(forms))
    assert len(first["boxes"]) > 0
    for other in others:
        assert all(torch.equal(first[key], other[key]) for key in first)


def test_a_file_is_turned_as_exif_says(predictor, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.rot90(PHOTO)).save(tmp_path / "a.png", exif=exif)
    turned, upright = predictor([tmp_path / "a.png", PHOTO])
    assert all(torch.equal(turned[key], upright[key]) for key in upright)


def test_thresholds(reader: Reader):
    everything, some, few = (
        Predictor(reader.model("ckpt"), score_threshold=threshold)([PHOTO])[0] for threshold in (0, None, 0.6)
    )
    assert len(everything["scores"]) > len(some["scores"]) > len(few["scores"]) > 0
    assert (some["scores"] >= 0.3).all()
    assert torch.equal(some["boxes"], everything["boxes"][everything["scores"] >= 0.3])


def test_masks_say_255_where_they_are_unsure(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", SemanticSegmenter, **TINY_SEGMENTER["init_args"])
    (every,), (sure,) = (Predictor(tmp_path / "a.ckpt", score_threshold=t)([PHOTO]) for t in (None, 0.6))
    assert every["mask"].shape == every["confidence"].shape == (90, 70)
    assert every["mask"].max() < 3
    unsure = every["confidence"] < 0.6
    assert 0 < unsure.sum() < unsure.numel()
    assert torch.equal(sure["mask"] == 255, unsure)
    assert torch.equal(sure["mask"][~unsure], every["mask"][~unsure])


def test_what_is_no_image_is_refused(predictor, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    for images, error, message in (
        (PHOTO, ConfigError, "Expected images to be a list of images, got one ndarray."),
        ([PHOTO / 255], ConfigError, r"uint8 \[H, W, 3\], got 'float64 \[90, 70, 3\]'"),
        ([torch.from_numpy(PHOTO)], ConfigError, r"uint8 \[3, H, W\], got 'uint8 \[90, 70, 3\]'"),
        ([None], ConfigError, "got 'NoneType'"),
        ([tmp_path / "a.jpg"], ImageError, "a.jpg: not an image"),
        ([tmp_path / "b.jpg"], ImageError, "b.jpg: no such file"),
    ):
        with pytest.raises(error, match=message):
            predictor(images)


def test_what_is_no_model_is_refused(reader: Reader, tmp_path, monkeypatch):
    for ending in ("ckpt", "onnx", "pt2"):
        (tmp_path / f"a.{ending}").write_bytes(b"no model")
        with pytest.raises(CheckpointError, match=rf"a\.{ending}: not a"):
            Predictor(tmp_path / f"a.{ending}")
        with pytest.raises(CheckpointError, match=rf"b\.{ending}: no such"):
            Predictor(tmp_path / f"b.{ending}")
        with pytest.raises(ConfigError, match=r"Expected device to be .*, got 'nonsense'"):
            Predictor(reader.model(ending), device="nonsense")
    for arguments, message in (
        ({"model": "a.txt"}, "a file named"),
        ({"score_threshold": 2}, "score_threshold"),
        ({"batch_size": 0}, "batch_size"),
    ):
        with pytest.raises(ConfigError, match=message):
            Predictor(**{"model": reader.model("ckpt"), **arguments})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"ONNX needs onnxruntime: pip install 'lightning_st\[export\]'"):
        Predictor(reader.model("onnx"))


def test_a_classifier_is_no_detector(tmp_path):
    factory = partial(ImageClassifier, **TINY_BACKBONE)
    save(tmp_path / "a.ckpt", factory, factory(("a", "b")), (64, 64))
    with pytest.raises(ConfigError, match="ImageClassifier predicts neither boxes nor masks"):
        Predictor(tmp_path / "a.ckpt")
