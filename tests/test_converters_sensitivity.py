"""The ranking of operations by the harm that INT8 does to them."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from row_networks import FACTORS, LAYERS, convolution, network

from converters.int8 import sensitivity
from converters.int8.recipe import Recipe
from converters.int8.sensitivity import by_sensitivity, weighted
from edgepose.errors import InputError


def inputs(count: int, channels: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.normal(size=(1, channels, 16, 24)).astype(np.float32) for _ in range(count)]


def two_branches() -> ov.Model:
    """Channel 0 goes through a layer whose inputs are too far apart for 8 bits, channel 1 through a plain layer."""
    random = np.random.default_rng(0)
    image = ops.parameter(ov.PartialShape([1, 2, -1, -1]), np.float32, name="image")
    first, plain = (random.normal(0, 0.4, (8, 2, 3, 3)).astype(np.float32) for _ in range(2))
    first[:, 1], plain[:, 0] = 0, 0
    far_apart = ops.multiply(ops.relu(convolution(image.output(0), first, "first")), ops.constant(FACTORS))
    spread = random.normal(0, 0.4, (8, 8, 3, 3)).astype(np.float32) / FACTORS
    branches = [convolution(far_apart.output(0), spread, "spread"), convolution(image.output(0), plain, "plain")]
    return ov.Model([ops.concat(branches, 1)], [image], "branches")


def test_what_int8_harms_most_comes_first():
    given = network(spread=2)
    groups = by_sensitivity(given, inputs(3), Recipe())
    assert sorted(name for group in groups for name in group) == sorted(weighted(given)) == [f"conv{i}" for i in range(LAYERS)]
    assert groups[0] == ["conv3"]  # whose input is spread


@pytest.mark.parametrize("outlier", [None, 10.0])
def test_one_unusual_input_does_not_decide_the_ranking(outlier):
    tensors = inputs(6, channels=2)
    if outlier is not None:
        tensors[3][:, 1] *= outlier  # far outside the ranges of the others, so that the plain layer clips it
    assert by_sensitivity(two_branches(), tensors, Recipe())[0] == ["spread"]


def test_as_many_inputs_of_one_shape_are_compared(monkeypatch):
    compared = []
    original = sensitivity._outputs
    monkeypatch.setattr(sensitivity, "_outputs", lambda model, its: compared.append(len(its)) or original(model, its))
    tensors = inputs(sensitivity.RANKING_INPUTS + 2)
    tensors[0] = np.zeros((1, 3, 24, 16), np.float32)
    by_sensitivity(network(), tensors, Recipe())
    assert set(compared) == {sensitivity.RANKING_INPUTS} == {32}


def test_no_inputs_are_refused():
    with pytest.raises(InputError, match="nothing to calibrate on"):
        by_sensitivity(network(), [], Recipe())
