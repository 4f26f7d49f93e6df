"""A CPU without instructions for bfloat16 is told so when a run begins, not after days."""

import warnings

import pytest
import torch
from fake_task import CLASSES, LIGHTNING_WARNINGS, FakeData, FakeTask, make_trainer

from lightning_st.modules import TeacherModule, precision

pytestmark = LIGHTNING_WARNINGS
SLOW = r"trainer\.precision=bf16-mixed makes this CPU many times slower.* Take trainer\.precision=32-true\."


@pytest.mark.parametrize("start", ["fit", "predict"])
def test_a_run_that_would_crawl_begins_with_a_warning(tmp_path, monkeypatch, start):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: False)
    trainer = make_trainer(tmp_path, max_steps=1, precision="bf16-mixed")
    with pytest.warns(UserWarning, match=SLOW):
        getattr(trainer, start)(TeacherModule(FakeTask, CLASSES), datamodule=FakeData())


@pytest.mark.parametrize(
    ("device", "asked", "is_fast"),
    [("cpu", "bf16-mixed", True), ("cpu", "32-true", False), ("meta", "bf16-mixed", False)],
)
def test_nothing_is_said_where_it_would_not(monkeypatch, device, asked, is_fast):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: is_fast)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        precision.warn_of_slow_bfloat16(torch.device(device), asked)


def test_every_cpu_gets_an_answer():
    assert isinstance(precision.has_fast_bfloat16(), bool)
