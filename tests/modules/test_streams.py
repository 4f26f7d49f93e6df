"""Means over the streams of a global batch, here with ranks that are simulated by adding their tables."""

import pytest
import torch
from fake_task import make_batch

from lightning_st.errors import StageError
from lightning_st.modules.streams import FiniteCheck, stream_means


def means_of_ranks(ranks):
    """Return the StreamMeans of each rank; ``ranks`` are (losses, pseudo) pairs."""
    tables = []

    def collect(table):
        tables.append(table)
        return table

    for losses, pseudo in ranks:
        stream_means(losses, {"half": losses / 2}, pseudo, collect, len(ranks))
    total = sum(tables)
    return [stream_means(losses, {"half": losses / 2}, pseudo, lambda _: total, len(ranks)) for losses, pseudo in ranks]


def rank(human, pseudo):
    losses = torch.tensor([*human, *pseudo], requires_grad=True)
    return losses, torch.tensor([False] * len(human) + [True] * len(pseudo), dtype=torch.bool)


@pytest.mark.parametrize(
    "shares",
    [
        [([1.0, 2.0, 6.0], [4.0, 8.0])],
        [([1.0, 2.0, 6.0], []), ([], [4.0, 8.0])],
        [([1.0], [4.0]), ([2.0, 6.0], [8.0]), ([], [])],
    ],
    ids=["one rank", "a stream a rank", "a rank without images"],
)
def test_every_image_of_the_global_batch_has_the_same_weight(shares):
    ranks = [rank(*share) for share in shares]
    found = means_of_ranks(ranks)
    for means in found:
        assert means.global_human == 3.0
        assert means.global_pseudo == 6.0
        assert means.human_parts["half"] == 1.5
        assert means.pseudo_parts["half"] == 3.0
        assert means.has_pseudo
        assert means.is_finite
    # What data-parallel training does: each rank's own gradient, averaged over the ranks.
    for (losses, pseudo), means in zip(ranks, found, strict=True):
        (means.human + 10 * means.pseudo).backward()
        expected = torch.where(pseudo, 10 / 2, 1 / 3)
        torch.testing.assert_close(losses.grad / len(ranks), expected)


def test_a_batch_without_pseudo_labels():
    (means,) = means_of_ranks([rank([1.0, 3.0], [])])
    assert means.human == 2.0
    assert means.pseudo == 0.0
    assert means.global_pseudo.isnan()
    assert not means.has_pseudo
    assert means.is_finite


def check(losses, pseudo, means=None):
    batch = make_batch(4, range(len(losses)))
    batch["pseudo"] = pseudo
    means = means_of_ranks([(losses, pseudo)])[0] if means is None else means
    FiniteCheck(means, losses, batch).require(step=7, lr=0.5)


def test_a_finite_loss_passes():
    check(*rank([1.0], [2.0]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_step_rate_and_images(bad):
    with pytest.raises(
        StageError, match=r"step 7 \(learning rate 0\.5\) is not finite for data\.labeled rows \[41\]"
    ) as error:
        check(*rank([1.0, bad, 3.0], [4.0]))
    assert "(1 of 4 images)" in str(error.value)
    with pytest.raises(StageError, match=r"data\.labeled rows \[40\] and data\.pseudo_labels rows \[42\] \(2 of 3"):
        check(*rank([bad, 2.0], [bad]))


def test_a_loss_that_is_not_finite_on_another_rank_stops_this_one_too():
    sound, broken = rank([1.0], [2.0]), rank([float("nan")], [])
    means = means_of_ranks([sound, broken])[0]
    with pytest.raises(StageError, match="on another rank"):
        check(*sound, means)
