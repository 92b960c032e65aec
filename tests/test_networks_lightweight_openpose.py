"""Lightweight OpenPose: the names and shapes of the public checkpoints, and the answers of the reference."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from edgepose.errors import InputError
from edgepose.networks import LightweightOpenPose


@pytest.mark.parametrize(
    ("stages", "contract", "parameters"),
    [
        pytest.param(1, "lightweight_openpose", 4_091_698, id="one-stage"),
        pytest.param(3, "lightweight_openpose_3_refinement_stages", 7_308_964, id="three-stages"),
    ],
)
def test_state_dict_is_that_of_the_public_checkpoint(shared, stages, contract, parameters):
    network = LightweightOpenPose(refinement_stages=stages)
    expected = json.loads((shared / "contracts" / f"{contract}.keys.json").read_text())
    assert [[name, list(tensor.shape)] for name, tensor in network.state_dict().items()] == expected
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_outputs_are_those_of_the_reference(shared, fill):
    network = LightweightOpenPose().eval()
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(torch.from_numpy(fill.weights(name, tuple(tensor.shape))))
    with torch.inference_mode():
        outputs = network(torch.from_numpy(fill.image(128, 160)))
    golden = np.load(shared / "golden" / "lightweight_openpose.npz")
    assert len(outputs) == len(golden.files) == 4
    for index, output in enumerate(outputs):
        np.testing.assert_allclose(output.numpy(), golden[f"out{index}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "missing"),
    [
        pytest.param("weights/lightweight_openpose_075.npz", (), id="whole-network"),
        pytest.param("init/mobilenet_v1_075_backbone.npz", ("cpm.", "initial_stage.", "refinement_stages."), id="backbone"),
    ],
)
def test_width_075_fits_the_trained_weights(shared, file, missing):
    network = LightweightOpenPose(width=0.75)
    trained = np.load(shared / "data" / file)
    weights = {name: torch.from_numpy(trained[name]) for name in trained.files}
    result = network.load_state_dict(weights, strict=False)
    assert result.unexpected_keys == []
    assert all(name.startswith(missing) for name in result.missing_keys)
    assert bool(result.missing_keys) == bool(missing)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        pytest.param(1.0, [32, 64, 128, 256, 512], id="full"),
        pytest.param(0.75, [24, 48, 96, 192, 384], id="three-quarters"),
        pytest.param(0.6, [16, 40, 80, 152, 304], id="rounded-to-nearest-8"),
        pytest.param(0.01, [8, 8, 8, 8, 8], id="never-below-8"),
    ],
)
def test_width_rounds_channels_to_multiples_of_8(width, expected):
    backbone = LightweightOpenPose(refinement_stages=0, width=width).model
    outputs = [backbone[0][0], backbone[1][3], backbone[2][3], backbone[4][3], backbone[6][3]]
    assert [layer.out_channels for layer in outputs] == expected


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_every_stage_gives_heatmaps_and_pafs_at_stride_8(stages):
    network = LightweightOpenPose(stages, width=0.25).eval()
    with torch.inference_mode():
        outputs = network(torch.zeros(2, 3, 64, 96))
    assert [tuple(output.shape) for output in outputs] == [(2, 19, 8, 12), (2, 38, 8, 12)] * (stages + 1)


def test_all_parameters_learn():
    network = LightweightOpenPose(refinement_stages=1, width=0.25)
    sum(output.square().sum() for output in network(torch.randn(2, 3, 32, 32))).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"refinement_stages": -1}, "refinement_stages is -1, expected 0 or more", id="negative-stages"),
        pytest.param({"width": 0.0}, "width is 0.0, expected a positive factor", id="zero-width"),
        pytest.param({"width": float("nan")}, "width is nan, expected a positive factor", id="nan-width"),
    ],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        LightweightOpenPose(**arguments)
