"""SimCLR: its loss against a plain one in numpy, in one process and in two."""

from pathlib import Path

import numpy as np
import processes
import pytest
import torch
import torch.distributed as dist
from test_distributed import Backbone

from lightning_st.errors import ConfigError
from lightning_st.models import SimCLR
from lightning_st.models.contrastive import nt_xent

SHARES = (slice(0, 3), slice(3, 4))


def unit_vectors(count: int, width: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def nt_xent_by_loops(first: np.ndarray, second: np.ndarray, temperature: float) -> np.ndarray:
    """Equation 1 of arXiv 2002.05709 as it stands there, each image's two losses averaged."""
    views = np.concatenate([first, second])
    count = len(first)
    losses = np.zeros(2 * count)
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        others = [np.exp(views[i] @ views[k] / temperature) for k in range(2 * count) if k != i]
        losses[i] = -np.log(np.exp(views[i] @ views[j] / temperature) / sum(others))
    return (losses[:count] + losses[count:]) / 2


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_loss_is_the_papers(count, temperature):
    first, second = unit_vectors(count, 5, 0), unit_vectors(count, 5, 1)
    losses, _ = nt_xent(first, second, temperature)
    wanted = nt_xent_by_loops(first.double().numpy(), second.double().numpy(), temperature)
    np.testing.assert_allclose(losses.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_views_that_are_alike_find_each_other():
    views = unit_vectors(4, 8, 0)
    losses, is_found = nt_xent(views, views, 0.01)
    assert is_found.tolist() == [1.0] * 4
    assert losses.max() < 0.01
    _, is_found = nt_xent(views, views.roll(1, dims=0), 0.01)
    assert is_found.tolist() == [0.0] * 4


def make_model(**changes) -> SimCLR:
    torch.manual_seed(0)
    return SimCLR(["image"], **({"backbone": Backbone, "max_level": 5, "projection_width": 6} | changes))


def whole_batch() -> dict:
    generator = torch.Generator().manual_seed(1)
    views = [torch.randint(0, 256, (4, 3, 32, 32), generator=generator, dtype=torch.uint8) for _ in range(2)]
    return {"images": views[0], "other_views": views[1]}


def test_one_pass_over_both_views():
    model, batch = make_model(), whole_batch()
    losses, parts = model.losses(batch)
    assert losses.shape == parts["contrastive_accuracy"].shape == (4,)
    model.load_state_dict(make_model().state_dict())
    projections = model(torch.cat([batch["images"], batch["other_views"]]))
    torch.testing.assert_close(projections.norm(dim=1), torch.ones(8))
    torch.testing.assert_close(losses, nt_xent(*projections.chunk(2), 0.1)[0])


def test_it_has_features_and_no_metric():
    model = make_model().eval()
    images = whole_batch()["images"]
    features = [each["features"] for each in model.predict(images, flip=True)]
    assert [tuple(each.shape) for each in features] == [(8,)] * 4
    mirrored = [each["features"] for each in model.predict(images.flip(-1), flip=True)]
    torch.testing.assert_close(features, mirrored)
    assert model.metric() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature to be above 0"),
        ({"projection_width": 0}, "projection_width to be at least 1"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_model(**changes)


def test_it_learns_to_tell_images_apart():
    """Eight noisy pictures, two crops each: soon a view knows its partner among the 15 others."""
    model = make_model(projection_width=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (8, 3, 40, 40), generator=generator, dtype=torch.uint8)
    pictures = (pictures // 4 + torch.randint(0, 190, (8, 3, 1, 1), generator=generator)).to(torch.uint8)
    for step in range(40):
        views = [pictures[:, :, shift : shift + 32, shift : shift + 32] for shift in (step % 8, (step + 3) % 8)]
        losses, parts = model.losses({"images": views[0], "other_views": views[1]})
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
    assert parts["contrastive_accuracy"].mean() > 0.9


def step(batch: dict, image_count: int) -> dict:
    """This process's share of the mean loss, and the gradients, summed over processes."""
    model = make_model()
    losses, parts = model.losses(batch)
    (losses.sum() / image_count).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    if dist.is_initialized():
        for gradient in gradients.values():
            dist.all_reduce(gradient)
    return {"losses": losses.detach(), "found": parts["contrastive_accuracy"], "gradients": gradients}


def train_once(rank: int, folder: str) -> None:
    """Leave a step's results; the end of the process ends the group: torch 2.6 may wait for itself in destroying it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    batch = {key: value[SHARES[rank]] for key, value in whole_batch().items()}
    torch.save(step(batch, 4), Path(folder) / f"{rank}.pt")


def test_two_processes_do_what_one_does(tmp_path):
    """Three images there and one here: compared with all, and every gradient finds its way back."""
    torch.multiprocessing.start_processes(train_once, (str(tmp_path),), 2, start_method=processes.METHOD)
    results, whole = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)], step(whole_batch(), 4)
    for key in ("losses", "found"):
        torch.testing.assert_close(torch.cat([result[key] for result in results]), whole[key], rtol=1e-4, atol=1e-5)
    for result in results:
        for name, gradient in whole["gradients"].items():
            tolerance = 1e-4 * max(1.0, gradient.abs().max().item())
            torch.testing.assert_close(result["gradients"][name], gradient, rtol=1e-3, atol=tolerance, msg=name)
