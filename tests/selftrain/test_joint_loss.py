"""The joint loss against the checks of paper.md, section 8, worked out by hand."""

import pytest
import torch

from lightning_st.errors import ConfigError
from lightning_st.selftrain import LossBalance, joint_loss

ALPHAS = [0.0, 0.25, 1.0, 4.0]


def scalar(value, requires_grad=False):
    return torch.tensor(value, requires_grad=requires_grad)


def after(balance, *pairs):
    for human, pseudo in pairs:
        balance.update(scalar(human), scalar(pseudo))
    return balance


def test_alpha_zero_is_the_human_loss_alone():
    assert joint_loss(*torch.tensor([2.0, 5.0, 3.0, 4.0]), alpha=0.0) == 2.0
    assert after(LossBalance(alpha=0.0), (2.0, 5.0))(scalar(2.0), scalar(float("nan"))) == 2.0


@pytest.mark.parametrize("alpha", ALPHAS)
def test_first_step_is_the_human_loss_for_every_alpha(alpha):
    balance = after(LossBalance(alpha), (2.0, 5.0))
    assert balance(scalar(2.0), scalar(5.0)).item() == pytest.approx(2.0)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_losses_at_their_averages_give_the_human_average(alpha):
    assert joint_loss(*torch.tensor([3.0, 4.0, 3.0, 4.0]), alpha=alpha).item() == pytest.approx(3.0)


@pytest.mark.parametrize("scale", [1e-3, 7.0])
def test_the_scale_of_the_pseudo_loss_changes_nothing(scale):
    history = [(2.0, 5.0), (1.5, 6.0), (1.0, 3.0)]
    plain, scaled = LossBalance(0.5), LossBalance(0.5)
    for human, pseudo in history:
        after(plain, (human, pseudo))
        after(scaled, (human, pseudo * scale))
        expected = plain(scalar(human), scalar(pseudo))
        torch.testing.assert_close(scaled(scalar(human), scalar(pseudo * scale)), expected)


def test_gradients():
    human, pseudo = scalar(2.0, True), scalar(5.0, True)
    human_average, pseudo_average = scalar(3.0, True), scalar(4.0, True)
    joint_loss(human, pseudo, human_average, pseudo_average, alpha=2.0).backward()
    assert human.grad.item() == pytest.approx(1 / 3)
    assert pseudo.grad.item() == pytest.approx(2 / 3 * 3 / 4)
    assert human_average.grad is None
    assert pseudo_average.grad is None


def test_averages_start_at_the_first_values_and_follow_with_the_papers_decay():
    balance = after(LossBalance(decay_warmup=False), (2.0, 5.0))
    assert (balance.human_average.item(), balance.pseudo_average.item()) == (2.0, 5.0)
    after(balance, (1.0, 9.0))
    assert balance.human_average.item() == pytest.approx(0.9997 * 2 + 0.0003 * 1, rel=1e-7)
    assert balance.pseudo_average.item() == pytest.approx(0.9997 * 5 + 0.0003 * 9, rel=1e-7)
    assert balance.updates == 2


def test_decay_warmup_follows_fast_at_first_and_the_paper_later():
    balance = after(LossBalance(), (2.0, 5.0), (1.0, 5.0))
    decay = (1 + 1) / (10 + 1)
    assert balance.human_average.item() == pytest.approx(decay * 2 + (1 - decay) * 1)
    balance.updates.fill_(100_000)
    balance.human_average.fill_(2.0)
    assert after(balance, (1.0, 5.0)).human_average.item() == pytest.approx(0.9997 * 2 + 0.0003)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_losses_that_are_not_finite_leave_the_averages_alone(bad):
    balance = after(LossBalance(), (2.0, 5.0), (bad, 1.0), (1.0, bad))
    assert (balance.human_average.item(), balance.pseudo_average.item(), balance.updates.item()) == (2.0, 5.0, 1)


def test_a_pseudo_loss_of_zero_does_not_divide_by_zero():
    balance = after(LossBalance(), (2.0, 0.0))
    assert balance(scalar(2.0), scalar(0.0)).item() == pytest.approx(1.0)


def test_the_plain_loss_of_the_paper():
    balance = after(LossBalance(alpha=0.5, normalize=False), (2.0, 5.0))
    assert balance(scalar(2.0), scalar(5.0)).item() == pytest.approx(4.5)
    assert balance.ratio == 1.0


def test_the_averages_are_in_the_checkpoint():
    balance = after(LossBalance(), (2.0, 5.0), (1.0, 3.0))
    again = LossBalance()
    again.load_state_dict(balance.state_dict())
    assert len(again.state_dict()) == 3
    after(balance, (0.5, 0.5))
    after(again, (0.5, 0.5))
    assert again.state_dict() == balance.state_dict()


def test_the_averages_stay_float32_in_half_precision():
    balance = after(LossBalance(decay_warmup=False).bfloat16(), (2.0, 5.0))
    balance.update(scalar(1.0).bfloat16(), scalar(5.0).bfloat16())
    assert balance.human_average.item() == pytest.approx(1.9997, abs=1e-6)


@pytest.mark.parametrize(("arguments", "named"), [({"alpha": -1.0}, "alpha"), ({"decay": 1.0}, "decay")])
def test_arguments_out_of_range_are_refused(arguments, named):
    with pytest.raises(ConfigError, match=named):
        LossBalance(**arguments)
