"""Batch norms folded into convolutions: the same function, trained on, and back under the published names."""

from __future__ import annotations

import copy

import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch

from edgepose.networks import LightweightOpenPose
from edgepose.training.folding import FIXED_BLOCKS, fold_norms, unfolded


@pytest.fixture
def network() -> LightweightOpenPose:
    """A network whose batch norms do something."""
    torch.manual_seed(0)
    network = LightweightOpenPose(1, 0.1).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor in (module.weight, module.bias, module.running_mean):
                torch.nn.init.normal_(tensor, 1.0, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


@torch.no_grad()
def maps(network: LightweightOpenPose) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.cat(network(torch.randn(1, 3, 32, 48))[-2:], dim=1)


def test_folded_and_back_it_is_the_same_function(network):
    folded = copy.deepcopy(network)
    fold_norms(folded)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    expected = maps(network)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(maps(folded), expected, rtol=1e-4, atol=1e-5)
    published = LightweightOpenPose(1, 0.1).eval()
    published.load_state_dict(unfolded(folded.state_dict(), LightweightOpenPose(1, 0.1)))
    torch.testing.assert_close(maps(published), expected, rtol=1e-4, atol=1e-5)


def test_the_first_blocks_are_fixed_and_the_rest_is_not(network):
    fold_norms(network)
    torch.cat(network.train()(torch.randn(2, 3, 32, 32))[-2:], dim=1).square().sum().backward()
    learns = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    fixed = tuple(f"model.{block}." for block in range(FIXED_BLOCKS))
    assert {name for name, _ in network.named_parameters() if name.startswith(fixed)}.isdisjoint(learns)
    assert f"model.{FIXED_BLOCKS}.0.weight" in learns
    assert f"model.{FIXED_BLOCKS}.0.bias" in learns  # what the batch norm added
