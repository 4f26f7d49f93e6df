"""Two processes see what one would: the same losses, weights and metrics, however the images are dealt out."""

import json

import pytest
import torch
from fake_task import CLASSES, LIGHTNING_WARNINGS, FakeData, FakeTask, make_trainer
from lightning.pytorch import Callback

from lightning_st.errors import StageError
from lightning_st.modules import StudentModule, WeightEMA

pytestmark = [
    *LIGHTNING_WARNINGS,
    # A forked child inherits the test runner's threads; it starts none before it leaves.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork"),
]

# Images 0-3 of a global batch are labelled, 4 and 5 pseudo-labelled.
UNEVEN = [
    [[0, 1, 2, 3, 4], [5]],
    [[0, 1, 2, 3], [4, 5]],  # no labelled image on one rank, no pseudo-labelled on the other
    [[0, 1, 2, 3], []],  # a rank without images, and no pseudo-labelled image at all
    [[4, 5, 0], [1, 2, 3]],
]


def uneven(position):
    return UNEVEN[position % len(UNEVEN)]


def joined(position):
    return [sorted(image for share in uneven(position) for image in share)]


class Record(Callback):
    """Writes what each rank logged, evaluated and ended with."""

    def __init__(self, folder):
        self.folder, self.steps = folder, []

    def on_train_batch_end(self, trainer, *args):
        self.steps.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    def on_fit_end(self, trainer, module):
        record = {
            "steps": self.steps,
            "evaluation": module.evaluation,
            "logged": float(trainer.callback_metrics["val/AP"]),
            "state": {name: value.tolist() for name, value in module.state_dict().items()},
        }
        (self.folder / f"{trainer.world_size}-{trainer.global_rank}.json").write_text(json.dumps(record))


def run(folder, world_size, task=FakeTask, boxes=True):
    torch.manual_seed(0)
    module = StudentModule(task, CLASSES, lr=0.1, warmup_steps=2)
    shares = uneven if world_size == 2 else joined
    options = {"devices": world_size, "strategy": "ddp_fork" if world_size == 2 else "auto"}
    trainer = make_trainer(
        folder, max_steps=8, callbacks=[Record(folder), WeightEMA(0.5)], val_check_interval=4, **options
    )
    trainer.fit(module, datamodule=FakeData(epoch_batches=8, shares=shares, eval_rows=range(21), boxes=boxes))
    return [json.loads((folder / f"{world_size}-{rank}.json").read_text()) for rank in range(world_size)]


@pytest.mark.parametrize("boxes", [True, False], ids=["boxes", "no boxes"])
def test_two_ranks_with_uneven_shares_train_and_evaluate_as_one(tmp_path, boxes):
    (one,) = run(tmp_path, 1, boxes=boxes)
    two = run(tmp_path, 2, boxes=boxes)
    assert len(one["steps"]) == 8
    assert two[0]["state"] == two[1]["state"]
    # JSON has one NaN, which is not equal to itself: compare as text.
    assert json.dumps(two[0]["steps"]) == json.dumps(two[1]["steps"])
    for name, value in one["state"].items():
        torch.testing.assert_close(torch.tensor(two[0]["state"][name]), torch.tensor(value), rtol=1e-4, atol=1e-6)
    for mine, other in zip(one["steps"], two[0]["steps"], strict=True):
        assert other == pytest.approx(mine, rel=1e-4, nan_ok=True)
    for rank in two:
        assert rank["evaluation"]["images"] == 21
        assert rank["evaluation"] == pytest.approx(one["evaluation"], nan_ok=True)
        assert rank["logged"] == pytest.approx(one["evaluation"]["AP"])


class BrokenOnOneRank(FakeTask):
    """Has a loss that is not finite for image 12, which only rank 0 sees."""

    def losses(self, batch):
        losses, parts = super().losses(batch)
        return torch.where(batch["rows"] == 12, torch.nan, losses), parts


def test_a_loss_that_is_not_finite_on_one_rank_stops_both(tmp_path):
    # Not a hang of the rank whose own losses are fine.
    with pytest.raises(Exception, match=f"{StageError.__name__}.*step 1 .*not finite"):
        run(tmp_path, 2, BrokenOnOneRank)
