"""Optimisers: what decays, and by how much."""

from functools import partial

import pytest
import torch
from fake_task import CLASSES, FakeTask
from torch import nn

from lightning_st.errors import ConfigError
from lightning_st.modules import make_optimizer, parameter_groups


def names_by_decay(task, decay):
    names = {id(parameter): name for name, parameter in task.named_parameters()}
    return {
        group["weight_decay"]: sorted(names[id(p)] for p in group["params"])
        for group in parameter_groups(task.parameters(), decay)
    }


def test_only_kernels_decay():
    assert names_by_decay(FakeTask(CLASSES, norm=True), 4e-5) == {
        4e-5: ["conv.weight", "linear.weight"],
        0.0: ["conv.bias", "linear.bias", "norm.bias", "norm.weight"],
    }


def test_frozen_parameters_are_left_out():
    task = FakeTask(CLASSES)
    task.conv.requires_grad_(False)
    assert names_by_decay(task, 0.1) == {0.1: ["linear.weight"], 0.0: ["linear.bias"]}
    assert parameter_groups(nn.Linear(1, 1, bias=False).parameters(), 0.1)[1:] == []


def test_decay_of_sgd_is_the_gradient_of_half_the_squared_weights():
    layer = nn.Linear(2, 2)
    kernel, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    optimizer = make_optimizer("sgd", layer.parameters(), momentum=0.9, weight_decay=0.1)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), kernel - 0.1 * kernel)
    torch.testing.assert_close(layer.bias.detach(), bias)


def test_names_of_optimizers():
    make = partial(make_optimizer, momentum=0.8, weight_decay=0.1)
    sgd = make("sgd", nn.Linear(1, 1).parameters())
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.8
    assert not sgd.defaults["nesterov"]
    assert isinstance(make("adamw", nn.Linear(1, 1).parameters()), torch.optim.AdamW)
    with pytest.raises(ConfigError, match=r"Unknown optimizer 'adam'\. Did you mean 'adamw'"):
        make("adam", nn.Linear(1, 1).parameters())
