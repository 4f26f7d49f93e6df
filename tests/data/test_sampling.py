"""Draws and global batches: exact counts, every image once a pass, any rank and any start."""

import re
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_st.data.sampling import Draw, GlobalBatchSampler, Stream, generator, pseudo_count, share
from lightning_st.errors import ConfigError

SIZES = [1, 2, 7, 100]
RATIOS = [0, 0.5, 1, 3]
WORLDS = [1, 2, 3, 4]


def stream(name: str, size: int, seed: int = 0) -> Stream:
    return Stream(name, np.arange(size) * 10, seed)  # rows of a subset: not 0, 1, 2 ...


def sampler(labeled: int, pseudo: int, ratio: float, *, batch_size=4, rank=0, world=1, start=0, epoch=6, seed=0):
    pseudo_size = pseudo_count(batch_size, ratio)
    return GlobalBatchSampler(
        stream("labeled", labeled, seed),
        batch_size,
        stream("pseudo", pseudo, seed) if pseudo_size else None,
        pseudo_size,
        epoch_batches=epoch,
        rank=rank,
        world_size=world,
        position=lambda: start,
    )


def of(batch: list[Draw], name: str) -> list[Draw]:
    return [draw for draw in batch if draw.stream == name]


@pytest.mark.parametrize(("labeled", "pseudo", "ratio"), list(product(SIZES, SIZES, RATIOS)))
def test_each_global_batch_holds_both_in_the_ratio(labeled: int, pseudo: int, ratio: float):
    batches = list(sampler(labeled, pseudo, ratio))
    assert len(batches) == 6
    assert {len(of(batch, "labeled")) for batch in batches} == {4}
    assert {len(of(batch, "pseudo")) for batch in batches} == {int(4 * ratio)}


@pytest.mark.parametrize(("labeled", "pseudo", "ratio"), list(product(SIZES, SIZES, RATIOS)))
def test_every_image_comes_once_a_pass(labeled: int, pseudo: int, ratio: float):
    draws = [draw for batch in sampler(labeled, pseudo, ratio, epoch=80) for draw in batch]
    for name, size in (("labeled", labeled), ("pseudo", pseudo)):
        own = of(draws, name)
        assert [draw.position for draw in own] == list(range(len(own)))
        for start in range(0, len(own) - size + 1, size):
            assert sorted(draw.row for draw in own[start : start + size]) == list(range(0, size * 10, 10))


@pytest.mark.parametrize(("labeled", "pseudo", "ratio", "world"), list(product([1, 7, 100], [2, 100], RATIOS, WORLDS)))
def test_the_ranks_together_see_the_batch_of_one_process(labeled: int, pseudo: int, ratio: float, world: int):
    alone = list(sampler(labeled, pseudo, ratio))
    ranks = [list(sampler(labeled, pseudo, ratio, rank=rank, world=world)) for rank in range(world)]
    for number, batch in enumerate(alone):
        parts = [batches[number] for batches in ranks]
        assert sorted(draw for part in parts for draw in part) == sorted(batch)


@pytest.mark.parametrize(("ratio", "world", "batch_size"), list(product(RATIOS, WORLDS, [4, 6, 10])))
def test_every_rank_holds_both_in_fixed_numbers(ratio: float, world: int, batch_size: int):
    for rank in range(world):
        batches = list(sampler(7, 9, ratio, rank=rank, world=world, batch_size=batch_size))
        for name, size in (("labeled", batch_size), ("pseudo", int(batch_size * ratio))):
            (count,) = {len(of(batch, name)) for batch in batches}
            assert size // world <= count <= -(-size // world)


def test_what_is_left_over_of_the_two_goes_to_different_ranks():
    totals = [len(next(iter(sampler(5, 5, 1, rank=rank, world=4, batch_size=6)))) for rank in range(4)]
    assert totals == [3, 3, 3, 3]


@pytest.mark.parametrize("start", [1, 5, 13, 10**6])
def test_a_run_can_begin_anywhere(start: int):
    through = list(sampler(7, 5, 0.5, start=max(0, start - 5), epoch=11))
    resumed = list(sampler(7, 5, 0.5, start=start, epoch=6))
    assert resumed == through[min(start, 5) :][:6]


def test_the_start_is_asked_when_iteration_begins():
    position = 0
    batches = GlobalBatchSampler(stream("labeled", 5), 2, epoch_batches=3, position=lambda: position)
    first = list(batches)
    position = 1
    assert list(batches)[:2] == first[1:]


def test_long_epochs_are_worked_out_in_blocks():
    whole = list(sampler(7, 5, 3, epoch=3000))
    assert len(whole) == 3000
    assert all(of(b, "pseudo")[0].position - of(a, "pseudo")[0].position == 12 for a, b in pairwise(whole))


def test_seeds_passes_and_streams_have_orders_of_their_own():
    def rows(name: str, seed: int, epoch: int) -> list[int]:
        return stream(name, 100, seed).draw(np.arange(100) + 100 * epoch).tolist()

    orders = [rows(*key) for key in product(["labeled", "pseudo"], [0, 1], [0, 1])]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert rows("labeled", 0, 0) == rows("labeled", 0, 0)


def test_skipping_walks_through_the_whole_pass():
    images = stream("labeled", 7)
    own_pass = images.draw(np.arange(7, 14)).tolist()
    walked = [int(images.draw(np.array([12]), skip)[0]) for skip in range(7)]
    assert walked == own_pass[5:] + own_pass[:5]


def test_a_generator_follows_from_all_of_its_arguments():
    keys = list(product([0, 1, 2**32 - 1], ["labeled", "pseudo"], [0, 1, 2**40]))
    values = [generator(*key).random() for key in keys]
    assert len(set(values)) == len(keys)
    assert values == [generator(*key).random() for key in keys]


@pytest.mark.parametrize(("count", "world"), list(product(range(9), WORLDS)))
def test_shares_cover_all_places_and_differ_by_one(count: int, world: int):
    shares = [share(count, rank, world) for rank in range(world)]
    assert [place for part in shares for place in part] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("batch_size", "ratio", "count"), [(8, 0.5, 4), (6, 0.333, 2), (4, 0, 0), (1, 3, 3), (10, 0.1, 1)]
)
def test_ratios_that_work(batch_size: int, ratio: float, count: int):
    if ratio == 0.333:
        ratio = 1 / 3
    assert pseudo_count(batch_size, ratio) == count


def test_a_ratio_that_gives_no_whole_number_names_those_that_do():
    with pytest.raises(ConfigError, match=r"got 0\.3\. Take data\.pseudo_ratio=0\.25 or data\.batch_size=10\."):
        pseudo_count(8, 0.3)
    assert pseudo_count(8, 0.25) == 2
    assert pseudo_count(10, 0.3) == 3


@settings(deadline=None)  # machines are busy
@given(batch_size=st.integers(1, 600), ratio=st.floats(0.001, 5))
def test_the_advice_works(batch_size: int, ratio: float):
    try:
        pseudo_count(batch_size, ratio)
    except ConfigError as error:
        near_ratio, near_size = re.search(r"pseudo_ratio=(\S+) or data\.batch_size=(\d+)", str(error)).groups()
        assert pseudo_count(batch_size, float(near_ratio)) >= 1
        assert pseudo_count(int(near_size), ratio) >= 1


@pytest.mark.parametrize("ratio", [-1, 1e-4, 1e6, float("nan")])
def test_ratios_out_of_range_are_refused(ratio: float):
    with pytest.raises(ConfigError, match=r"from 0\.001 to 1000"):
        pseudo_count(8, ratio)


def test_more_processes_than_places_are_refused_on_every_rank():
    for rank in range(3):
        with pytest.raises(ConfigError, match=r"at least the number of processes \(3\), got 2"):
            sampler(5, 5, 0, batch_size=2, rank=rank, world=3)
    assert len(next(iter(sampler(5, 5, 0.5, batch_size=2, rank=0, world=3)))) == 1
