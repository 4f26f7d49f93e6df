"""Two processes on half a batch each compute what one computes on the whole batch."""

from pathlib import Path

import processes
import pytest
import test_retinanet
import test_segmenter
import torch
import torch.distributed as dist
from torch import nn

from lightning_st.models.backbones import StagedBackbone
from lightning_st.types import BoxKind

PROCESSES = 2


def whole_batch() -> dict:
    """Six images of which process 0 gets four; all boxes, and all human labels but one, lie there.

    Half of the labelled pixels lie there, too; the last image has none.
    """
    pseudo = torch.tensor([False, False, True, True, True, False])
    batch = test_retinanet.make_batch(6, pseudo=pseudo)
    batch["boxes"][2, 0], batch["labels"][2, 0] = torch.tensor([10.0, 10.0, 50.0, 50.0]), 0
    batch["kinds"][2, 0] = BoxKind.OBJECT
    batch["masks"] = test_segmenter.make_batch(6)["masks"]
    batch["masks"][-1] = 255
    return batch


def stream_loss(losses: torch.Tensor, pseudo: torch.Tensor, image_counts: list[int]) -> torch.Tensor:
    """The sum of both streams' losses: this process's share of each mean."""
    return losses[~pseudo].sum() / image_counts[0] + losses[pseudo].sum() / image_counts[1]


class Backbone(StagedBackbone):
    """Spares the processes the import of timm, which takes longer than the test."""

    recomputes = True
    levels, channels = (3, 4, 5), (8, 8, 8)

    def __init__(self, min_level: int, max_level: int) -> None:
        super().__init__()
        strides = {3: 8, 4: 2, 5: 2}
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3 if s == 8 else 8, 8, s + 1, s, s // 2), nn.BatchNorm2d(8), nn.ReLU())
            for s in strides.values()
        )

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = [images]
        for part in self.parts:
            maps.append(self.run([part], maps[-1]))
        return maps[1:]

    def stages(self) -> list[list[nn.Module]]:
        return [[part] for part in self.parts]


TASKS = ("detector", "segmenter")


def make_model(task: str, **changes) -> nn.Module:
    make_tiny = test_retinanet.make_tiny if task == "detector" else test_segmenter.make_tiny
    return make_tiny(backbone=Backbone, backbone_options={}, batch_norm="sync", **changes)


class Loss(nn.Module):
    """This process's share of the loss, as DDP calls it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict) -> torch.Tensor:
        return stream_loss(self.model.losses(batch)[0], batch["pseudo"], [3, 3])


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def train_once(rank: int, folder: str) -> None:
    """One forward and backward pass of one of two processes, its share of the batch read off the whole."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=PROCESSES)
    share = slice(0, 4) if rank == 0 else slice(4, 6)
    batch = {key: value[share] for key, value in whole_batch().items()}
    for task in TASKS:
        model = make_model(task)
        losses, _ = model.losses(batch)
        stream_loss(losses, batch["pseudo"], [3, 3]).backward()
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)
        result = {"losses": losses.detach(), "gradients": gradients(model), "state": model.state_dict()}
        # Recomputed, the layers sum over the processes in the backward pass, between DDP's own sums of the gradients.
        recomputing = make_model(task, gradient_checkpointing=True)
        wrapped = nn.parallel.DistributedDataParallel(Loss(recomputing), bucket_cap_mb=0.001)
        wrapped(batch).backward()
        means = {name: gradient * PROCESSES for name, gradient in gradients(recomputing).items()}
        result["recomputed"] = {"gradients": means, "state": recomputing.state_dict()}
        torch.save(result, Path(folder) / f"{task}_{rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.start_processes(train_once, (str(folder),), PROCESSES, start_method=processes.METHOD)
    return folder


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def results(folder, task) -> list[dict]:
    return [torch.load(folder / f"{task}_{rank}.pt") for rank in range(PROCESSES)]


@pytest.fixture(scope="module")
def expected(task) -> dict:
    batch, model = whole_batch(), make_model(task)
    losses, _ = model.losses(batch)
    stream_loss(losses, batch["pseudo"], [3, 3]).backward()
    return {"losses": losses.detach(), "gradients": gradients(model), "state": model.state_dict()}


def test_losses_of_each_image_are_those_of_one_process(results, expected):
    losses = torch.cat([result["losses"] for result in results])
    assert torch.allclose(losses, expected["losses"], rtol=1e-5)


def test_gradients_are_those_of_one_process(results, expected):
    for result in results:
        for name, gradient in expected["gradients"].items():
            # Cancellation before a normalisation leaves rounding of the size of the largest gradients there.
            tolerance = 1e-5 * max(1.0, gradient.abs().max().item())
            assert torch.allclose(result["gradients"][name], gradient, rtol=1e-3, atol=tolerance), name


def test_running_statistics_are_those_of_one_process(results, expected):
    assert any("running_var" in name for name in expected["state"])
    for result in results:
        for name, value in expected["state"].items():
            assert torch.allclose(result["state"][name], value, rtol=1e-5, atol=1e-6), name


def test_recomputed_activations_change_nothing(results):
    for result in results:
        for name, value in result["state"].items():
            assert torch.equal(result["recomputed"]["state"][name], value), name
        for name, gradient in result["gradients"].items():
            assert torch.allclose(result["recomputed"]["gradients"][name], gradient, rtol=1e-5, atol=1e-7), name
