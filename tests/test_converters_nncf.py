"""NNCF's recipe, and what is changed of its networks."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

pytest.importorskip("nncf")

from converters.files import core
from converters.int8.nncf import Recipe, quantise


def network() -> ov.Model:
    """Two convolutions with a ReLU between them."""
    random = np.random.default_rng(3)
    image = ops.parameter(ov.PartialShape([1, 3, 16, 16]), np.float32, name="image")
    first, second = (ops.constant(random.normal(size=(8, count, 3, 3)).astype(np.float32)) for count in (3, 8))
    hidden = ops.relu(ops.convolution(image, first, [1, 1], [1, 1], [1, 1], [1, 1]))
    return ov.Model([ops.convolution(hidden, second, [1, 1], [1, 1], [1, 1], [1, 1]).output(0)], [image], "two")


def ends(quantised: ov.Model) -> dict[str, list[np.ndarray]]:
    """The four ends of the ranges of what is rounded, input or activation; and the weights, which are whole numbers."""
    found: dict[str, list[np.ndarray]] = {}
    for node in quantised.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize":
            kind = {"Parameter": "input", "Relu": "activation"}[node.input_value(0).get_node().get_type_name()]
            found[kind] = [np.array(node.input_value(index).get_node().data) for index in range(1, 5)]
        elif node.get_type_name() == "Constant" and node.get_element_type() == ov.Type.i8:
            found.setdefault("weights", []).append(np.array(node.data))
    return found


def test_headroom_widens_the_ranges_of_activations_alone():
    tensors = [np.random.default_rng(seed).normal(size=(1, 3, 16, 16)).astype(np.float32) for seed in range(4)]
    plain, wide = (ends(quantise(network(), tensors, Recipe(headroom=factor))) for factor in (1.0, 1.5))
    assert plain.keys() == wide.keys() == {"input", "activation", "weights"}
    for kind, factor in (("input", 1.0), ("activation", 1.5), ("weights", 1.0)):
        for before, after in zip(plain[kind], wide[kind], strict=True):
            np.testing.assert_allclose(after, factor * before, rtol=1e-6)


def test_more_headroom_clips_less():
    tensors = [np.random.default_rng(seed).normal(size=(1, 3, 16, 16)).astype(np.float32) for seed in range(4)]
    strong = 2 * tensors[0]
    exact = core().compile_model(network(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(strong)[0]
    errors = []
    for factor in (1.0, 2.0):
        quantised = quantise(network(), tensors, Recipe(headroom=factor, bias_correction=False))
        compiled = core().compile_model(quantised, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        errors.append(float(np.square(compiled(strong)[0] - exact).mean()))
    assert errors[1] < errors[0]
