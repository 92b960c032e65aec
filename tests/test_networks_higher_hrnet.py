"""HigherHRNet: names and shapes of the published checkpoint, the reference's answers, and the maps that inference makes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from edgepose.engines.torch import read_network
from edgepose.errors import InputError, ModelError
from edgepose.networks import HigherHRNet
from edgepose.networks.checkpoints import load_higher_hrnet
from edgepose.networks.higher_hrnet import FinalMaps
from edgepose.networks.hrnet import HRNetConfig, HRNetTrunk, Stage

SMALL = HRNetConfig((Stage(1, 1), Stage(1, 1), Stage(1, 1)), channels=(8, 16, 24, 32), bottlenecks=1, keypoints=5)
WIDE = HRNetConfig(SMALL.stages, channels=(16, 32, 48, 64), bottlenecks=1, keypoints=5)


@pytest.fixture(scope="module")
def filled(fill):
    network = HigherHRNet.variant("w32").eval()
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(torch.from_numpy(fill.weights(name, tuple(tensor.shape))))
    return network


def test_state_dict_is_that_of_the_published_checkpoint(shared):
    with torch.device("meta"):
        network = HigherHRNet.variant("w32")
    names_and_shapes = [[name, list(tensor.shape)] for name, tensor in network.state_dict().items()]
    assert names_and_shapes == json.loads((shared / "contracts" / "higher_hrnet_w32.keys.json").read_text())
    assert sum(parameter.numel() for parameter in network.parameters()) == 28_645_331


def test_w48_differs_in_width_alone():
    with torch.device("meta"):
        w32, w48 = HigherHRNet.variant("w32").state_dict(), HigherHRNet.variant("w48").state_dict()
    assert list(w48) == list(w32)
    # https://github.com/HRNet/HigherHRNet-Human-Pose-Estimation, w48_640_adam_lr1e-3.yaml: the deconvolution is as wide.
    assert w48["deconv_layers.0.0.0.weight"].shape == (48 + 34, 48, 4, 4)
    assert w48["final_layers.1.weight"].shape == (17, 48, 1, 1)


@pytest.mark.slow
def test_outputs_are_those_of_the_reference(shared, fill, filled):
    with torch.inference_mode():
        outputs = filled(torch.from_numpy(fill.image(128, 160)))
    golden = np.load(shared / "golden" / "higher_hrnet_w32.npz")
    assert len(outputs) == len(golden.files)
    for output, expected in zip(outputs, (golden["out0"], golden["out1"]), strict=True):
        assert output.shape == expected.shape
        assert np.abs(output.numpy() - expected).max() / np.abs(expected).max() < 1e-4


def test_final_maps_are_made_of_both_outputs():
    torch.manual_seed(0)
    network = HigherHRNet(SMALL).eval()
    x = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        coarse, fine = (output.numpy() for output in network(x))
        maps = FinalMaps(network)(x).numpy()
    assert coarse.shape == (2, 10, 16, 24)
    assert fine.shape == (2, 5, 32, 48)
    assert maps.shape == (2, 10, 32, 48)
    # Bilinear by hand: a fine cell lies a quarter of a coarse one beside its middle, and edges repeat.
    for axis in (2, 3):
        ends = [(0, 0)] * 4
        ends[axis] = (1, 1)
        wide = np.pad(coarse, ends, mode="edge")
        before, middle, after = (np.take(wide, np.arange(coarse.shape[axis]) + step, axis=axis) for step in (0, 1, 2))
        pair = [0.25 * before + 0.75 * middle, 0.75 * middle + 0.25 * after]
        shape = [*coarse.shape]
        shape[axis] *= 2
        coarse = np.stack(pair, axis=axis + 1).reshape(shape)
    np.testing.assert_allclose(maps[:, :5], (coarse[:, :5] + fine) / 2, atol=1e-5)
    np.testing.assert_allclose(maps[:, 5:], coarse[:, 5:], atol=1e-5)


@pytest.mark.slow
def test_all_parameters_learn():
    network = HigherHRNet(SMALL)
    FinalMaps(network)(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_the_trunk_is_that_of_hrnet():
    with torch.device("meta"):
        own, trunk = HigherHRNet(SMALL).state_dict(), HRNetTrunk(SMALL).state_dict()
    assert list(own)[: len(trunk)] == list(trunk)


def random_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(7)
    return {
        name: torch.rand(tensor.shape, generator=random) if tensor.is_floating_point() else torch.tensor(5)
        for name, tensor in network.state_dict().items()
    }


def mmpose_names(weights: dict[str, torch.Tensor], head: str) -> dict[str, torch.Tensor]:
    ours = ("final_layers.", "deconv_layers.")
    return {f"{head if name.startswith(ours) else 'backbone'}.{name}": tensor for name, tensor in weights.items()}


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(lambda w: w, id="official"),
        pytest.param(lambda w: {"epoch": 300, "state_dict": {f"module.{name}": w[name] for name in w}}, id="official-training"),
        pytest.param(lambda w: {"meta": {}, "state_dict": mmpose_names(w, "keypoint_head")}, id="mmpose-0"),
        pytest.param(lambda w: {"meta": {}, "state_dict": mmpose_names(w, "head")}, id="mmpose-1"),
    ],
)
def test_checkpoints_load_by_every_naming(tmp_path, whole):
    network = HigherHRNet(SMALL)
    weights = random_weights(network)
    torch.save(whole(weights), tmp_path / "higher.pth")
    load_higher_hrnet(network, tmp_path / "higher.pth")
    loaded = network.state_dict()
    assert list(loaded) == list(weights)
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)


def test_a_checkpoint_of_another_width_is_refused(tmp_path):
    torch.save(HigherHRNet(WIDE).state_dict(), tmp_path / "wide.pth")
    with pytest.raises(ModelError, match=r"the file is of HigherHRNet-W16, the network is HigherHRNet-W8$"):
        load_higher_hrnet(HigherHRNet(SMALL), tmp_path / "wide.pth")


def test_a_checkpoint_without_the_finer_output_is_refused(tmp_path):
    torch.save(HRNetTrunk(SMALL).state_dict(), tmp_path / "trunk.pth")
    with pytest.raises(ModelError, match=r"missing \(final_layers\.0\.weight"):
        load_higher_hrnet(HigherHRNet(SMALL), tmp_path / "trunk.pth")


@pytest.mark.slow
def test_the_file_tells_that_it_is_higher_hrnet(tmp_path, filled):
    torch.save(filled.state_dict(), tmp_path / "higher.pth")
    network = read_network(tmp_path / "higher.pth")
    assert isinstance(network, FinalMaps)
    assert torch.equal(network.network.final_layers[1].weight, filled.final_layers[1].weight)


def test_an_unknown_variant_is_refused():
    with pytest.raises(InputError, match=r"HigherHRNet variant is 'w18', expected one of: w32, w48"):
        HigherHRNet.variant("w18")
