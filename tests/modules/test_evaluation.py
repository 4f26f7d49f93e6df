"""Evaluation and prediction: every readable image counts once, in pixels of the original image."""

import math

import pytest
import torch
from fake_task import CLASSES, LIGHTNING_WARNINGS, FakeData, FakeTask, make_eval_batch, make_trainer

from lightning_st.modules import TeacherModule

pytestmark = LIGHTNING_WARNINGS


@pytest.fixture
def module():
    torch.manual_seed(0)
    return TeacherModule(FakeTask, CLASSES)


@pytest.mark.parametrize("split", ["val", "test"])
def test_numbers_are_logged_and_kept(tmp_path, module, split):
    trainer = make_trainer(tmp_path)
    run = trainer.validate if split == "val" else trainer.test
    run(module, datamodule=FakeData(eval_rows=range(9)), verbose=False)
    assert module.evaluation["images"] == 9
    assert 0 < module.evaluation["AP"] < 1
    assert math.isnan(module.evaluation["AP/cat"])
    logged = trainer.callback_metrics
    assert logged.keys() == {f"{split}/AP", f"{split}/images", f"{split}/AP/cat"}
    assert logged[f"{split}/AP"].item() == pytest.approx(module.evaluation["AP"])
    assert module.primary_metric == "AP"


def test_unreadable_images_are_skipped(tmp_path, module):
    data = FakeData(eval_rows=[0, -1, 2, 3, -1])
    make_trainer(tmp_path).validate(module, datamodule=data, verbose=False)
    assert module.evaluation["images"] == 3


def test_a_second_evaluation_starts_anew(tmp_path, module):
    trainer = make_trainer(tmp_path)
    for count in (9, 4):
        trainer.validate(module, datamodule=FakeData(eval_rows=range(count)), verbose=False)
        assert module.evaluation["images"] == count


def test_predictions_are_in_pixels_of_the_original_and_none_where_unreadable(tmp_path, module):
    batches = make_trainer(tmp_path).predict(module, datamodule=FakeData(eval_rows=[0, -1, 2, 3, 4]))
    predictions = [prediction for batch in batches for prediction in batch]
    assert [prediction is None for prediction in predictions] == [False, True, False, False, False]
    # The task says [0, 0, 4, 4] in an image of half the size.
    assert predictions[0]["boxes"].tolist() == [[0, 0, 8, 8]]


def test_flip_when_predicting(tmp_path, module):
    trainer, data = make_trainer(tmp_path), FakeData(eval_rows=[0])
    plain = trainer.predict(module, datamodule=data)[0][0]["scores"]
    module.flip_when_predicting = True
    flipped = trainer.predict(module, datamodule=data)[0][0]["scores"]
    with torch.no_grad():
        expected = module.eval().task.predict(make_eval_batch([0])["images"], flip=True)[0]["scores"]
    assert torch.equal(flipped, expected)
    assert not torch.equal(flipped, plain)
