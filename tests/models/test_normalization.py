"""Batch normalisation over processes: the layers by themselves; test_distributed.py runs them in two processes."""

import pytest
import timm
import torch
from torch import nn

from lightning_st.models.normalization import SyncBatchNorm2d, batch_norms, set_momentum, synchronise


def test_one_process_normalises_as_before():
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(4, eps=1e-4, momentum=0.3)
    nn.init.normal_(plain.weight)
    images = torch.randn(3, 4, 5, 6)
    reference = nn.BatchNorm2d(4, eps=1e-4, momentum=0.3)
    reference.load_state_dict(plain.state_dict())
    synced = synchronise(plain)
    assert isinstance(synced, SyncBatchNorm2d)
    for training in (True, False):
        assert torch.equal(synced.train(training)(images), reference.train(training)(images))
    assert all(torch.equal(value, reference.state_dict()[name]) for name, value in synced.state_dict().items())


@pytest.mark.parametrize("name", ["resnet10t", "efficientnet_b0"])
def test_timms_layers_keep_names_parameters_and_activations(name):
    model = timm.create_model(name).eval()
    parameters, images = dict(model.named_parameters()), torch.randn(1, 3, 64, 64)
    expected = model(images)
    synced = synchronise(model)
    assert all(isinstance(norm, SyncBatchNorm2d) for norm in batch_norms(synced))
    assert dict(synced.named_parameters()).keys() == parameters.keys()
    assert all(parameters[name] is parameter for name, parameter in synced.named_parameters())
    assert torch.equal(synced(images), expected)


def test_momentum_reaches_every_layer():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(3)))
    set_momentum(model, 0.003)
    assert [norm.momentum for norm in batch_norms(model)] == [0.003, 0.003]
    assert [norm.momentum for norm in batch_norms(synchronise(model))] == [0.003, 0.003]
