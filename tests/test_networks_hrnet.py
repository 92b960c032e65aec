"""HRNet: the names and shapes of the published checkpoints, the answers of the reference, and the compact variant."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from edgepose.errors import InputError
from edgepose.networks import HRNet
from edgepose.networks.hrnet import VARIANTS, HRNetConfig, HRNetTrunk, Stage

SMALL = HRNetConfig((Stage(1, 1), Stage(2, 1), Stage(2, 1)), channels=(8, 16, 24, 32), bottlenecks=1, keypoints=5)


def names_and_shapes(network: nn.Module) -> list[list[object]]:
    return [[name, list(tensor.shape)] for name, tensor in network.state_dict().items()]


@pytest.mark.parametrize(
    ("variant", "parameters"), [pytest.param("w32", 28_536_113, id="w32"), pytest.param("w48", 63_595_745, id="w48")]
)
def test_state_dict_is_that_of_the_published_checkpoint(shared, variant, parameters):
    with torch.device("meta"):
        network = HRNet.variant(variant)
    assert names_and_shapes(network) == json.loads((shared / "contracts" / f"hrnet_{variant}.keys.json").read_text())
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_trunk_is_that_of_higher_hrnet(shared):
    with torch.device("meta"):
        trunk = names_and_shapes(HRNetTrunk(VARIANTS["w32"]))
    assert trunk == json.loads((shared / "contracts" / "higher_hrnet_w32.keys.json").read_text())[: len(trunk)]


@pytest.mark.slow
def test_outputs_are_those_of_the_reference(shared, fill):
    network = HRNet.variant("w32").eval()
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(torch.from_numpy(fill.weights(name, tuple(tensor.shape))))
    with torch.inference_mode():
        output = network(torch.from_numpy(fill.image(128, 96))).numpy()
    golden = np.load(shared / "golden" / "hrnet_w32.npz")["out0"]
    assert output.shape == golden.shape
    assert np.abs(output - golden).max() / np.abs(golden).max() < 1e-4


def test_compact_keeps_to_its_budget():
    network = HRNet.variant("w32-compact").eval()
    macs = 0

    def count(layer: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        macs += output[0, 0].numel() * layer.weight.numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        heatmaps = network(torch.zeros(1, 3, 256, 192))
    assert heatmaps.shape == (1, 17, 64, 48)
    assert macs <= 2.5e9
    assert sum(parameter.numel() for parameter in network.parameters()) <= 10e6


def test_compact_has_the_high_resolution_branch_and_the_exchanges_of_w32():
    with torch.device("meta"):
        compact = dict(names_and_shapes(HRNet.variant("w32-compact")))
        published = dict(names_and_shapes(HRNet.variant("w32")))
    shared_parts = [name for name in compact if ".fuse_layers." in name or ".branches.0." in name]
    assert len(shared_parts) > 100
    # The last exchange of a stage has fewer outputs at the end of the network alone, so names agree up to its number.
    last_stage = [name for name in shared_parts if name.startswith("stage4.0.")]
    assert {name: compact[name] for name in last_stage} == {
        name: published[name.replace("stage4.0.", "stage4.2.")] for name in last_stage
    }
    others = [name for name in shared_parts if not name.startswith("stage4.")]
    assert {name: compact[name] for name in others} == {name: published[name] for name in others}


@pytest.mark.slow
@pytest.mark.parametrize("low_blocks", ["basic", "separable", "bottleneck"])
def test_layouts_run_and_all_parameters_learn(low_blocks):
    network = HRNet(HRNetConfig(SMALL.stages, SMALL.channels, low_blocks=low_blocks, keypoints=5))
    heatmaps = network(torch.randn(2, 3, 64, 96))
    assert heatmaps.shape == (2, 5, 16, 24)
    heatmaps.square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("low_blocks", ["separable", "bottleneck"])
def test_low_blocks_save_work_below_the_high_resolution_branch_alone(low_blocks):
    basic, other = (HRNet(HRNetConfig(SMALL.stages, SMALL.channels, low_blocks=kind)) for kind in ("basic", low_blocks))
    high, low = ({len(list(net.stage4[0].branches[i].parameters())) for net in (basic, other)} for i in (0, 3))
    assert len(high) == 1
    assert len(low) == 2
    weights = [sum(parameter.numel() for parameter in net.stage4.parameters()) for net in (basic, other)]
    assert weights[1] < weights[0]


def test_an_unknown_variant_is_refused():
    with pytest.raises(InputError, match=r"HRNet variant is 'w18', expected one of: w32, w48, w32-compact$"):
        HRNet.variant("w18")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"stages": (0, 1)}, "a stage has 0 modules of 1 blocks, expected 1 or more", id="no-modules"),
        pytest.param({"stages": (1, 0)}, "a stage has 1 modules of 0 blocks, expected 1 or more", id="no-blocks"),
        pytest.param({"bottlenecks": 0}, "bottlenecks is 0, expected 1 or more", id="no-bottlenecks"),
    ],
)
def test_empty_layouts_are_refused(arguments, message):
    stage = arguments.get("stages", (1, 1))
    with pytest.raises(InputError, match=message):
        HRNetConfig((Stage(*stage),) * 3, channels=(8, 16, 24, 32), bottlenecks=arguments.get("bottlenecks", 1))
