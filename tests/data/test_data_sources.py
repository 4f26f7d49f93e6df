"""Every format through the DataModule: roots whose lists are the sets, and pseudo-labels that were made elsewhere."""

import json
from pathlib import Path

import helpers
import pytest

from lightning_st.data import SelfTrainingDataModule
from lightning_st.errors import ConfigError, StageError
from lightning_st.index import build_index, export_yolo

SIZES = {"image_size": 64, "batch_size": 2, "num_workers": 0}


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A VOC root of six pictures, two on each of three lists."""
    index = build_index(*helpers.write_coco(tmp_path / "from", 6))
    root = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for row in range(6):
        record, annotations = index.image(row), index.annotations(row)
        (root / "JPEGImages" / record.name).symlink_to(record.path)
        objects = "".join(
            f"<object><name>{index.classes[label]}</name><bndbox><xmin>{box[0] + 1}</xmin><ymin>{box[1] + 1}</ymin>"
            f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
            for box, label in zip(annotations.boxes.tolist(), annotations.labels, strict=True)
        )
        size = f"<size><width>{record.width}</width><height>{record.height}</height></size>"
        source = "<source><database>The VOC2012 Database</database></source>"
        path = (root / "Annotations" / record.name).with_suffix(".xml")
        path.write_text(f"<annotation>{source}{size}{objects}</annotation>")
    for number, name in enumerate(("train", "pool", "val")):
        stems = [Path(index.name(row)).stem for row in (2 * number, 2 * number + 1)]
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(stems))
    return root


def test_the_sets_of_a_root_are_its_lists(voc: Path):
    sets = {"labeled": "train", "unlabeled": "pool", "val": "val"}
    data = SelfTrainingDataModule(
        **{name: {"images": str(voc), "list": split} for name, split in sets.items()}, **SIZES
    )
    data.prepare_data()
    assert data.classes == ("disc", "square")
    assert [data.image_count(name) for name in sets] == [2, 2, 2]
    assert [data.index(name).is_labeled for name in sets] == [True, False, True]
    assert len(data.index("unlabeled").boxes) == 0
    assert (next(iter(data.train_dataloader()))["labels"] >= 0).any()


def test_a_set_without_labels_has_no_format_that_reads_some(voc: Path):
    data = SelfTrainingDataModule({"images": str(voc)}, unlabeled={"images": str(voc), "format": "voc"}, **SIZES)
    with pytest.raises(ConfigError, match="annotations, for the format 'voc', to be given"):
        data.setup()


def test_a_data_set_of_ultralytics_is_taken_as_it_is(tmp_path: Path):
    truth = build_index(*helpers.write_coco(tmp_path / "from", 4))
    export_yolo(truth, tmp_path / "yolo")
    data = SelfTrainingDataModule({"images": str(tmp_path / "yolo"), "list": "train", "format": "yolo"}, **SIZES)
    assert data.classes == truth.classes
    assert abs(data.index("labeled").boxes - truth.boxes).max() < 1e-3


def test_options_go_to_the_reader_and_missing_files_name_their_key(voc: Path, tmp_path: Path):
    labeled = {"images": str(voc), "classes": str(tmp_path / "names"), "first_pixel": 0}
    with pytest.raises(ConfigError, match=r"data\.labeled\.classes to be a file that is there, got '.*names'"):
        SelfTrainingDataModule(labeled).setup()
    (tmp_path / "names").write_text("square\n")
    data = SelfTrainingDataModule(labeled)
    assert data.classes == ("square",)
    assert data.index("labeled").source["first_pixel"] == 0


@pytest.fixture
def results(tmp_path: Path) -> dict[str, str]:
    """Another detector's results on four images: the truth, with scores 0.9, 0.2, 0.9 ..."""
    images, annotations = helpers.write_coco(tmp_path / "pool", 4, seed=5)
    content = json.loads(annotations.read_text())
    boxes = [
        {key: box[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.2 if number % 2 else 0.9}
        for number, box in enumerate(content["annotations"])
    ]
    (tmp_path / "results.json").write_text(json.dumps(boxes[::-1]))
    return {"images": str(images), "list": str(annotations)}


def test_results_of_another_detector_are_pseudo_labels(results: dict[str, str], tmp_path: Path):
    images, annotations = helpers.write_coco(tmp_path / "labeled", 2)
    labeled = {"images": str(images), "annotations": str(annotations)}

    def module(**changes):
        arguments = {"unlabeled": results, "pseudo_labels": str(tmp_path / "results.json")} | SIZES | changes
        data = SelfTrainingDataModule(labeled, **arguments)
        data.prepare_data()
        return data

    data = module(keep_empty_pseudo=True)
    boxes = json.loads((tmp_path / "results.json").read_text())
    assert data.image_count("pseudo") == 4
    assert data.statistics()["pseudo"]["labels"] == sum(box["score"] > 0.5 for box in boxes)
    assert next(iter(data.train_dataloader()))["images"].shape[0] == 4
    assert module(score_threshold=0.1).statistics()["pseudo"]["labels"] == len(boxes)
    with pytest.raises(StageError, match=r"results\.json: none of 4 images has a pseudo-label .* \(0\.95\)"):
        module(score_threshold=0.95)
    with pytest.raises(ConfigError, match=r"data\.unlabeled\.images and data\.unlabeled\.list to be the images"):
        module(unlabeled=None)
