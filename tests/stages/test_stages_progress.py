"""Progress in a log is lines: how far, how long still, and the newest numbers."""

import re
from copy import deepcopy

from recipes import tiny_recipe

from lightning_st.stages import progress, self_train


def test_every_stage_says_how_far_it_is(tmp_path, caplog, capfd, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0.0)  # else evaluations this short say nothing
    recipe = deepcopy(tiny_recipe(tmp_path / "data"))
    del recipe["trainer"]["enable_progress_bar"]
    recipe["trainer"]["accumulate_grad_batches"] = 2
    caplog.set_level("INFO", logger="lightning_st")
    self_train(recipe, tmp_path / "run")
    lines = [record.message for record in caplog.records]
    for stage in ("teacher", "student"):
        steps = [line for line in lines if re.search(rf"round_0/{stage}: step \d of 6, \d+ s left, ", line)]
        assert [re.search(r"step (\d)", line)[1] for line in steps] == list("123456")
        assert re.search(r"train/loss [\d.]+", steps[-1])
        assert re.search(r"AP [\d.]+", steps[-1])
    assert any(re.search(r"round_0/pseudo_labels: batch \d of \d, 0 s left$", line) for line in lines)
    for split in ("val", "test"):
        assert any(re.search(rf"round_0/student: {split} batch 2 of 2, 0 s left$", line) for line in lines)
    assert "\r" not in "".join(capfd.readouterr())
