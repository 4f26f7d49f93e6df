"""Under Lightning: a run that is cut and resumed sees the batches, and ends with the weights, of one that was not."""

import json
import multiprocessing
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import pytest
import torch
from data_makers import data_module, source
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_st.errors import ConfigError, TooManyBadError

pytestmark = [
    # Lightning's advice on a toy run.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*logging interval"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*tensorboardX. has been removed"),
    pytest.mark.filterwarnings("ignore:.*GPU available but not used"),
    # Lightning on a new torch.
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
]

STEPS = 11


class KilledError(Exception):
    """Stands for a power cut."""


class Recorder(LightningModule):
    """Writes down what it sees; its weights follow from all the pixels that it has seen, in their order."""

    def __init__(self, folder: Path, kill_at: int | None = None) -> None:
        super().__init__()
        self.folder, self.kill_at = folder, kill_at
        self.weight = torch.nn.Parameter(torch.ones(1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    def on_fit_start(self) -> None:
        self.folder.mkdir(exist_ok=True, parents=True)

    def write(self, kind: str, record: dict[str, Any]) -> None:
        with (self.folder / f"{kind}_{self.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        number = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed
        if number == self.kill_at:
            raise KilledError
        pixels = [crc32(image.contiguous().numpy().tobytes()) for image in batch["images"]]
        keys = zip(batch["pseudo"].tolist(), batch["rows"].tolist(), batch["positions"].tolist(), pixels, strict=True)
        self.write("train", {"number": number, "batch_idx": batch_idx, "draws": list(keys)})
        return (self.weight * batch["images"].float().mean() / 255).sum()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.write("val", {"rows": batch["rows"].tolist()})

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[int]:
        self.write("predict", {"rows": batch["rows"].tolist()})
        return batch["rows"].tolist()


class SaveOnException(Callback):
    def on_exception(self, trainer: Trainer, pl_module: Recorder, exception: BaseException) -> None:
        trainer.save_checkpoint(pl_module.folder / "cut.ckpt")


def read(folder: Path, kind: str = "train", rank: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{kind}_{rank}.jsonl").read_text().splitlines()]


def trainer(folder: Path, steps: int = STEPS, **options: Any) -> Trainer:
    settings = {"accelerator": "cpu", "max_steps": steps, "logger": False, "enable_progress_bar": False,
                "enable_model_summary": False, "default_root_dir": folder, "max_epochs": -1}  # fmt: skip
    every = ModelCheckpoint(
        folder, filename="{step}", every_n_train_steps=3, save_top_k=-1, save_on_train_epoch_end=False
    )
    callbacks = [every, *options.pop("callbacks", [])]
    return Trainer(**(settings | options), callbacks=callbacks)


def fit(folder: Path, images: Path, kill_at: int | None = None, resume: str | None = None, **options: Any) -> Recorder:
    """Train on 7 labelled and 5 pseudo-labelled images, in epochs of 4 batches."""
    data_options = {key: options.pop(key) for key in ("num_workers", "epoch_batches", "batch_size") if key in options}
    data = data_module(images, **({"pseudo": 5, "epoch_batches": 4, "augment": "S2", "image_size": 32} | data_options))
    module = Recorder(folder, kill_at)
    ckpt_path = None if resume is None else str(folder / resume)
    trainer(folder, **options).fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return module


def require_same(cut: list[dict[str, Any]], whole: list[dict[str, Any]]) -> None:
    """The last time that each batch was seen, it was the batch of the uninterrupted run."""
    last = {record["number"]: record for record in cut}
    assert [last[number] for number in sorted(last)] == whole


def test_loaders_that_lightning_replaces_take_their_workers_along(tmp_path: Path):
    class CountWorkers(Callback):
        counts: ClassVar[list[int]] = []

        def on_train_epoch_start(self, trainer: Trainer, pl_module: Recorder) -> None:
            self.counts.append(len(multiprocessing.active_children()))

    callback = CountWorkers()
    fit(tmp_path, tmp_path, num_workers=1, epoch_batches=2, callbacks=[callback], reload_dataloaders_every_n_epochs=1)
    assert len(callback.counts) > 3
    assert max(callback.counts) <= 2  # of training and of val


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("accumulate", "kill_at", "resume"), [(1, 5, 3), (1, 7, 6), (3, 9, 3), (3, 14, 6)])
def test_a_run_that_is_killed_goes_on_exactly(
    tmp_path: Path, num_workers: int, accumulate: int, kill_at: int, resume: int
):
    """Accumulation over 3 does not divide an epoch of 4: its optimiser steps 3 and 6 end at batches 7 and 12."""
    options = {"num_workers": num_workers, "accumulate_grad_batches": accumulate, "steps": 8}
    whole = fit(tmp_path / "whole", tmp_path, **options)
    with pytest.raises(KilledError):
        fit(tmp_path / "cut", tmp_path, kill_at=kill_at, **options)
    resumed = fit(tmp_path / "cut", tmp_path, resume=f"step={resume}.ckpt", **options)
    require_same(read(tmp_path / "cut"), read(tmp_path / "whole"))
    assert torch.equal(resumed.weight, whole.weight)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_checkpoint_at_the_end_of_an_epoch_goes_on_with_the_next(tmp_path: Path, num_workers: int):
    options = {"num_workers": num_workers, "epoch_batches": 3}
    whole = fit(tmp_path / "whole", tmp_path, **options)
    with pytest.raises(KilledError):
        fit(tmp_path / "cut", tmp_path, kill_at=4, **options)
    resumed = fit(tmp_path / "cut", tmp_path, resume="step=3.ckpt", **options)
    require_same(read(tmp_path / "cut"), read(tmp_path / "whole"))
    assert torch.equal(resumed.weight, whole.weight)


def test_a_checkpoint_that_an_exception_left_repeats_the_batch_that_was_cut(tmp_path: Path):
    fit(tmp_path / "whole", tmp_path)
    with pytest.raises(KilledError):
        fit(tmp_path / "cut", tmp_path, kill_at=5, callbacks=[SaveOnException()])
    fit(tmp_path / "cut", tmp_path, resume="cut.ckpt")
    require_same(read(tmp_path / "cut"), read(tmp_path / "whole"))


def test_a_run_can_be_extended(tmp_path: Path):
    fit(tmp_path / "whole", tmp_path, steps=9)
    fit(tmp_path / "cut", tmp_path, steps=6)
    fit(tmp_path / "cut", tmp_path, steps=9, resume="step=6.ckpt")
    require_same(read(tmp_path / "cut"), read(tmp_path / "whole"))


def test_each_epoch_goes_on_where_the_last_ended(tmp_path: Path):
    fit(tmp_path / "run", tmp_path, limit_train_batches=3)
    records = read(tmp_path / "run")
    assert [record["batch_idx"] for record in records] == [0, 1, 2] * 3 + [0, 1]
    for number, record in enumerate(records):
        positions = [position for pseudo, _, position, _ in record["draws"] if not pseudo]
        assert positions == list(range(4 * number, 4 * number + 4))


def test_two_processes_see_the_batches_of_one_also_after_a_cut(tmp_path: Path):
    """Gloo, with Lightning's own sampler injection left on: it must not touch ours."""
    fit(tmp_path / "one", tmp_path)
    both = {"strategy": "ddp_fork", "devices": 2, "num_workers": 1}
    fit(tmp_path / "two", tmp_path, **both)
    with pytest.raises(Exception, match="KilledError"):
        fit(tmp_path / "cut", tmp_path, kill_at=5, **both)
    fit(tmp_path / "cut", tmp_path, resume="step=3.ckpt", **both)
    alone = read(tmp_path / "one")
    ranks = [read(tmp_path / "two", rank=rank) for rank in (0, 1)]
    assert [len(record["draws"]) for record in ranks[0]] == [4] * STEPS
    for number, record in enumerate(alone):
        assert sorted(ranks[0][number]["draws"] + ranks[1][number]["draws"]) == sorted(record["draws"])
    for rank in (0, 1):
        require_same(read(tmp_path / "cut", rank=rank), ranks[rank])
        held = {tuple(record["rows"]) for record in read(tmp_path / "two", "val", rank)}
        assert held == {[(0, 2, 4), (1, 3)][rank]}


def test_a_rank_without_images_sees_one_batch_of_none(tmp_path: Path):
    data = data_module(
        tmp_path, val=source(tmp_path / "val", 1, seed=1), unlabeled=source(tmp_path / "u", 3, seed=2, labeled=False)
    )
    run = trainer(tmp_path, strategy="ddp_fork", devices=2)
    module = Recorder(tmp_path)
    run.validate(module, datamodule=data, verbose=False)
    assert [read(tmp_path, "val", rank) for rank in (0, 1)] == [[{"rows": [0]}], [{"rows": [-1]}]]
    run.predict(module, datamodule=data, return_predictions=False)
    assert [read(tmp_path, "predict", rank) for rank in (0, 1)] == [[{"rows": [0, 2]}], [{"rows": [1]}]]


def test_a_fit_without_val_and_a_prediction(tmp_path: Path):
    data = data_module(tmp_path, val=None, unlabeled=source(tmp_path / "u", 5, seed=2, labeled=False))
    run = trainer(tmp_path, steps=2)
    module = Recorder(tmp_path)
    with pytest.warns(UserWarning, match="have no `val_dataloader`. Skipping val loop"):
        run.fit(module, datamodule=data)
    assert len(read(tmp_path)) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", ".*does not have many workers")
        run.predict(module, datamodule=data, return_predictions=False)
    assert [record["rows"] for record in read(tmp_path, "predict")] == [[0, 1, 2, 3], [4]]


def test_bad_images_are_noted_by_set_until_they_are_too_many(tmp_path: Path):
    data = data_module(tmp_path)
    data.prepare_data()
    (tmp_path / "labeled" / "images" / "image_003.jpg").unlink()
    (tmp_path / "val" / "images" / "image_001.jpg").unlink()
    run = trainer(tmp_path, steps=4)
    run.fit(Recorder(tmp_path), datamodule=data)
    assert sorted(data.bad_images.values()) == ["train", "val"]
    (tmp_path / "labeled" / "images" / "image_004.jpg").unlink()
    with pytest.raises(TooManyBadError, match="2 of 7 images"):
        trainer(tmp_path, steps=4).fit(Recorder(tmp_path), datamodule=data)


@pytest.mark.parametrize("kill_at", [None, 1])
def test_workers_end_with_the_run(tmp_path: Path, kill_at: int | None):
    before = set(multiprocessing.active_children())
    with pytest.raises(KilledError) if kill_at else nullcontext():
        fit(tmp_path / "run", tmp_path, num_workers=2, steps=2, kill_at=kill_at)
    assert set(multiprocessing.active_children()) <= before


def test_workers_are_started_once_and_not_by_asking_for_an_iterator(tmp_path: Path):
    before = set(multiprocessing.active_children())
    loader = data_module(tmp_path, num_workers=2).train_dataloader()
    iter(loader)
    assert set(multiprocessing.active_children()) <= before
    list(loader)
    started = set(multiprocessing.active_children()) - before
    list(loader)
    assert len(started) == 2
    assert set(multiprocessing.active_children()) - before == started
    loader.close()
    assert not set(multiprocessing.active_children()) & started


def test_overfitting_by_batches_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"trainer\.overfit_batches to be 0, got 2\. Take fewer images"):
        fit(tmp_path / "run", tmp_path, overfit_batches=2)
