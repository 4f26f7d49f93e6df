"""Pictures for loggers: labels lie where they belong, in the layer that says what the student is told of them."""

import numpy as np
import pytest
from recipes import tiny_mask_recipe

from lightning_st.errors import ConfigError
from lightning_st.modules import TeacherModule
from lightning_st.selftrain import PseudoLabels
from lightning_st.stages import Recipe
from lightning_st.stages.building import build_factory
from lightning_st.stages.picture_logs import draw, log_table
from lightning_st.stages.pictures import Layer, Picture, pseudo_label_pictures, val_pictures
from lightning_st.stages.recipe import TrackingSettings
from lightning_st.stages.train import make_data
from lightning_st.types import IGNORE_INDEX

CLASSES = ("square", "disc")


def students_data(recipe, store):
    return make_data(Recipe(**recipe), store)


def test_pseudo_labels_lie_on_their_images_in_layers(tiny_run):
    recipe, run = tiny_run
    store = PseudoLabels.open(run / "round_0" / "pseudo_labels")
    data = students_data(recipe, run / "round_0" / "pseudo_labels")
    object.__setattr__(data.split("pseudo"), "thresholds", store.thresholds.uniform(2, keep=0.003, ignore=0.002))
    pictures = pseudo_label_pictures(data, 4, seed=0)
    assert [picture.name for picture in pictures] == sorted({picture.name for picture in pictures})
    assert len(pictures) == 4
    names = [store.index.image(row).name for row in range(len(store))]
    for picture in pictures:
        found = store.index.annotations(names.index(picture.name))
        height, width = picture.image.shape[:2]
        assert (height, width) == (51, 64)  # of 64 x 80, in a canvas of 64 x 64
        kept, ignored = picture.layers["kept"], picture.layers["ignored"]
        assert (kept.scores >= 0.003).all()
        assert ((ignored.scores >= 0.002) & (ignored.scores < 0.003)).all()
        expected = found.boxes[found.scores >= 0.003][: len(kept.boxes)] * [0.8, 51 / 64, 0.8, 51 / 64]
        np.testing.assert_allclose(kept.boxes, expected, atol=1e-4)


def test_the_seed_chooses_the_images(tiny_run):
    recipe, run = tiny_run
    data = students_data(recipe, run / "round_0" / "pseudo_labels")
    choices = [[picture.name for picture in pseudo_label_pictures(data, 3, seed)] for seed in (0, 0, 1)]
    assert choices[0] == choices[1] != choices[2]


def test_masks_of_people_and_of_a_model(tmp_path):
    recipe = tiny_mask_recipe(tmp_path / "data")
    data = make_data(Recipe(**recipe))
    module = TeacherModule(build_factory(recipe["model"]), data.classes)
    pictures = val_pictures(recipe["trainer"], module, data, tmp_path, 2, seed=0)
    assert len(pictures) == 2
    truth = pictures[0].layers["truth"].mask
    assert truth.shape == pictures[0].image.shape[:2] == (51, 64)
    assert set(np.unique(truth)) <= {0, 1, 2, IGNORE_INDEX}
    is_object = np.isin(truth, (1, 2))
    grey = pictures[0].image.std(axis=2)  # shapes are coloured, the noise around them too, but less
    assert grey[is_object].mean() > grey[truth == 0].mean()
    assert draw(pictures[0], data.classes).shape == (51, 128, 3)


def test_boxes_are_drawn_in_the_colour_of_their_layer():
    boxes = np.array([[10, 10, 50, 50]], np.float32)
    layer = Layer(boxes, np.array([1]), np.array([0.5], np.float32))
    picture = Picture("a", np.zeros((60, 60, 3), np.uint8), {"predicted": layer, "truth": Layer()})
    drawn = draw(picture, CLASSES)
    assert drawn[50, 30].tolist() == [255, 145, 0]
    assert drawn[30, 30].tolist() == [0, 0, 0]


def test_a_table_of_wandb_has_layers_to_be_switched(monkeypatch):
    wandb = pytest.importorskip("wandb")
    tables = {}

    class Logger:
        def log_table(self, key, columns, data, step):
            tables[key] = columns, data

    boxes = Layer(np.array([[1, 2, 3, 4]], np.float32), np.array([1]), np.array([0.25], np.float32))
    image = np.zeros((8, 8, 3), np.uint8)
    log_table(Logger(), "boxes", [Picture("a.jpg", image, {"kept": boxes, "ignored": Layer()})], CLASSES, 0)
    columns, ((name, shown, *amounts),) = tables["boxes"]
    assert columns == ["name", "image", "objects, kept", "objects, ignored"]
    assert (name, amounts) == ("a.jpg", [1, 0])
    (box,) = shown._boxes["kept"]._val
    assert box["position"] == {"minX": 1, "minY": 2, "maxX": 3, "maxY": 4}
    assert (box["box_caption"], box["class_id"], box["scores"]) == ("disc 0.25", 1, {"score": 0.25})
    assert isinstance(shown, wandb.Image)

    mask = np.array([[0, 1], [1, IGNORE_INDEX]], np.uint8)
    log_table(Logger(), "masks", [Picture("b.jpg", image[:2, :2], {"kept": Layer(mask=mask)})], CLASSES, 0)
    columns, ((_, shown, amount),) = tables["masks"]
    assert (columns[2], amount) == ("classes, kept", 2)
    np.testing.assert_array_equal(shown._masks["kept"]._val["mask_data"], mask)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"pictures": -1}, "Expected tracking.pictures to be at least 0, got -1"),
        ({"artifacts": ["checkpoint"]}, "Unknown tracking.artifacts 'checkpoint'. Did you mean 'checkpoints'"),
        ({"picture": 3}, "Unknown key of tracking 'picture'. Did you mean 'pictures'"),
    ],
)
def test_what_cannot_be_meant_is_refused(section, sentence):
    with pytest.raises(ConfigError, match=sentence):
        TrackingSettings.read(section)
