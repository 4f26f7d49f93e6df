"""COCO results JSON: another detector's boxes as an index with scores."""

import json

import pytest

from lightning_st.errors import AnnotationError, ConfigError
from lightning_st.index import ReaderOptions, build_index

IMAGES = [
    {"id": 7, "file_name": "a.jpg", "width": 100, "height": 50},
    {"id": 3, "file_name": "b.jpg", "width": 9, "height": 9},
]
RESULTS = [
    {"image_id": 3, "category_id": 5, "bbox": [1, 2, 3, 4], "score": 0.25},
    {"image_id": 7, "category_id": 2, "bbox": [10, 20, 30.5, 10], "score": 0.75},
    {"image_id": 3, "category_id": 2, "bbox": [0, 0, 0, 4], "score": 0.5},
]


@pytest.fixture
def build(tmp_path):
    (tmp_path / "images").mkdir()
    for image in IMAGES:
        (tmp_path / "images" / image["file_name"]).touch()

    def build(results=RESULTS, images=IMAGES, categories=((2, "cat"), (5, "dog"))):
        (tmp_path / "results.json").write_text(json.dumps(results))
        (tmp_path / "images.json").write_text(json.dumps({"images": images, "annotations": "not read"}))
        options = ReaderOptions(categories=tuple(categories))
        paths = tmp_path / "images", tmp_path / "results.json", "results", tmp_path / "images.json"
        return build_index(*paths, options=options)

    return build


def test_results_become_an_index_with_scores(build):
    index = build()
    assert (index.classes, index.class_ids, index.has_scores) == (("cat", "dog"), (2, 5), True)
    assert [index.image(row).name for row in range(2)] == ["a.jpg", "b.jpg"]
    assert index.boxes.tolist() == [[10, 20, 40.5, 30], [1, 2, 4, 6]]
    assert (index.labels.tolist(), index.scores.tolist()) == ([0, 1], [0.75, 0.25])
    assert index.problems["no_area"]["examples"] == ["[2] of b.jpg: xyxy [0.0, 0.0, 0.0, 4.0]"]


def test_no_results_are_an_index_without_boxes(build):
    assert (len(build([])), len(build([]).boxes)) == (2, 0)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"annotations": []}, "results.json: expected a JSON list, found an object"),
        ([[]], r"results.json: \[0\]: expected an object, got \[\]"),
        ([{**RESULTS[0], "score": 2}], r"results.json: \[0\].score: expected a number from 0 to 1, got 2"),
        ([{"image_id": 3, "category_id": 5, "bbox": [1, 2, 3, 4]}], r"\[0\]: the field 'score' is missing"),
        ([RESULTS[0], {**RESULTS[0], "image_id": 4}], r"\[1\].image_id: no image has the id 4 \(1 of 2"),
        ([{**RESULTS[0], "category_id": 4}], r"\[0\].category_id: no category has the id 4"),
    ],
)
def test_wrong_results_are_refused_in_one_sentence(build, results, message):
    with pytest.raises(AnnotationError, match=message) as refusal:
        build(results)
    assert "\n" not in str(refusal.value)


def test_images_and_classes_are_needed(build, tmp_path):
    with pytest.raises(ConfigError, match=r"categories to be the \(id, name\) of each class"):
        build(categories=())
    (tmp_path / "list").write_text("a.jpg\n")
    with pytest.raises(ConfigError, match="Expected list to be the COCO JSON of the images"):
        build_index(tmp_path / "images", tmp_path / "results.json", "results", tmp_path / "list")
