"""A task of one convolution and one linear layer, and data that know their position, to test the modules with."""

import os

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import nn
from torch.utils.data import DataLoader

CLASSES = ("cat", "dog")

LIGHTNING_WARNINGS = [
    # lightning 2.6 still asks for torch's older class of tree leaves.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    # These loaders have no workers on purpose: a batch takes microseconds.
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    # They begin where the Trainer stands, without a state of their own.
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]


class FakeMetric:
    """Share of images whose best label is among those of the target; keyed by row, as types.Metric asks."""

    primary = "AP"

    def __init__(self):
        self.seen = {}

    def update(self, rows, predictions, targets):
        for row, prediction, target in zip(rows, predictions, targets, strict=True):
            self.seen[row] = (prediction["labels"].cpu().numpy(), target["labels"].cpu().numpy())

    def state(self):
        return self.seen

    def merge(self, states):
        self.seen = {row: pair for state in states for row, pair in state.items()}

    def compute(self):
        hits = [float(found[0] in wanted) for found, wanted in self.seen.values()]
        return {"AP": sum(hits) / max(1, len(hits)), "images": float(len(hits)), "AP/cat": float("nan")}

    def reset(self):
        self.seen = {}


class FakeTask(nn.Module):
    """Says which class an image shows; implements types.Task."""

    def __init__(self, classes, width: int = 4, dropout: float = 0.0, norm: bool = False):
        super().__init__()
        self.classes = tuple(classes)
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, len(self.classes))

    def forward(self, images):
        maps = self.norm(self.conv(images.float() / 255 - 0.5)).relu()
        return self.linear(self.dropout(maps.mean(dim=(2, 3))))

    def losses(self, batch):
        logits = self(batch["images"])
        objects = (batch["kinds"] == 1)[:, :, None] & (batch["labels"][:, :, None] == torch.arange(len(self.classes)))
        loss = nn.functional.binary_cross_entropy_with_logits(logits, objects.any(dim=1).float(), reduction="none")
        return loss.sum(dim=1), {"class": loss.sum(dim=1).detach(), "count": objects.sum(dim=(1, 2)).float()}

    def predict(self, images, flip=False):
        scores = self(images).sigmoid()
        if flip:
            scores = (scores + self(images.flip(3)).sigmoid()) / 2
        best = scores.max(dim=1)
        boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        return [
            {"boxes": boxes, "labels": label[None], "scores": score[None]}
            for score, label in zip(best.values, best.indices, strict=True)
        ]

    def restore(self, predictions, scales, sizes):
        return [
            {**found, "boxes": found["boxes"] / scale.repeat(2)}
            for found, scale in zip(predictions, scales, strict=True)
        ]

    def metric(self):
        return FakeMetric()


def make_batch(position, images=range(6), pseudo=(4, 5), max_boxes=32, boxes=True, pseudo_seed=0):
    """Return what types.Batch describes: the given images of the global batch number ``position``.

    Another ``pseudo_seed`` gives the pseudo-labelled images other pixels and labels.
    """
    samples, labels = [], []
    for image in images:
        generator = torch.Generator().manual_seed(1000 * position + image + pseudo_seed * (image in pseudo))
        label = int(torch.randint(2, (), generator=generator))
        noise = torch.randint(0, 100, (3, 8, 8), generator=generator, dtype=torch.uint8)
        samples.append(noise + torch.tensor([120 * label, 0, 60], dtype=torch.uint8)[:, None, None])
        labels.append(label)
    count = len(samples)
    batch = {
        "images": torch.stack(samples) if count else torch.zeros(0, 3, 8, 8, dtype=torch.uint8),
        "boxes": torch.zeros(count, max_boxes, 4),
        "labels": torch.full((count, max_boxes), -1),
        "kinds": torch.zeros(count, max_boxes, dtype=torch.uint8),
        "pseudo": torch.tensor([image in pseudo for image in images], dtype=torch.bool),
        "rows": torch.tensor(list(images), dtype=torch.int64) + 10 * position,
        "positions": torch.tensor(list(images), dtype=torch.int64) + 10 * position,
        "bad_images": [],
    }
    if boxes:
        batch["labels"][:, 0] = torch.tensor(labels, dtype=torch.int64)
        batch["boxes"][:, 0] = torch.tensor([1.0, 1.0, 7.0, 7.0])
        batch["kinds"][:, 0] = 1
    return batch


def make_eval_batch(rows):
    """Return what types.EvalBatch describes; a row of -1 is an image that cannot be read."""
    batch = make_batch(77, [max(row, 0) for row in rows])
    targets = [
        {
            "boxes": boxes[:1],
            "labels": labels[:1],
            "crowd": torch.zeros(1, dtype=torch.bool),
            "areas": torch.full((1,), 36.0),
        }
        for boxes, labels in zip(batch["boxes"], batch["labels"], strict=True)
    ]
    return {
        "images": batch["images"],
        "scales": torch.full((len(rows), 2), 0.5),
        "sizes": torch.full((len(rows), 2), 16),
        "rows": torch.tensor(rows),
        "targets": targets,
        "bad_images": [],
    }


class Positions:
    """A sampler of batch numbers that begins where the Trainer stands."""

    def __init__(self, data, count):
        self.data, self.count = data, count

    def __len__(self):
        return self.count

    def __iter__(self):
        start = self.data.trainer.fit_loop.epoch_loop.total_batch_idx + 1
        return iter(range(start, (start // self.count + 1) * self.count))


class Lazy:
    """A data set of batches that are made when they are asked for."""

    def __init__(self, make, count=10**6):
        self.make, self.count = make, count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return self.make(number)


class FakeData(LightningDataModule):
    """Training batches by position, and ``eval_rows`` dealt out to the ranks without padding.

    ``shares`` says which images of a global batch each rank gets, by batch number: (number) -> one list a rank.
    """

    def __init__(self, epoch_batches=10, shares=None, eval_rows=range(7), **batch):
        super().__init__()
        self.epoch_batches, self.shares, self.eval_rows, self.batch = epoch_batches, shares, list(eval_rows), batch
        self.seen = []

    def _make(self, position):
        self.seen.append(position)
        images = range(6) if self.shares is None else self.shares(position)[self.trainer.global_rank]
        return make_batch(position, images, **self.batch)

    def train_dataloader(self):
        return DataLoader(Lazy(self._make), batch_size=None, sampler=Positions(self, self.epoch_batches))

    def _eval_dataloader(self):
        own = self.eval_rows[self.trainer.global_rank :: self.trainer.world_size]
        batches = [own[i : i + 4] for i in range(0, len(own), 4)]
        return DataLoader(Lazy(lambda number: make_eval_batch(batches[number]), len(batches)), batch_size=None)

    val_dataloader = test_dataloader = predict_dataloader = _eval_dataloader


def make_trainer(folder, **options):
    """Return a quiet Trainer on the CPU."""
    os.environ["PL_GLOBAL_SEED"] = "3"
    defaults = {
        "accelerator": "cpu",
        "devices": 1,
        "default_root_dir": folder,
        "logger": False,
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in options.get("callbacks", [])),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "max_epochs": -1,
    }
    return Trainer(**{**defaults, **options})
