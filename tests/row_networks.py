"""Convolutions in a row, for the search for INT8 networks."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

LAYERS = 6
FACTORS = np.logspace(-3, 3, 8).astype(np.float32).reshape(1, 8, 1, 1)


def network(*, spread: int | None = None) -> ov.Model:
    """Convolutions in a row; between number `spread` and the next, channels differ by up to a million: too much for 8 bits."""
    random = np.random.default_rng(0)
    image = ops.parameter(ov.PartialShape([1, 3, -1, -1]), np.float32, name="image")
    value = image.output(0)
    for layer in range(LAYERS):
        inputs = value.get_partial_shape()[1].get_length()
        weights = random.normal(0, 0.4, (8, inputs, 3, 3)).astype(np.float32)
        if spread is not None and layer == spread + 1:
            weights /= FACTORS
        node = convolution(value, weights, f"conv{layer}")
        if layer == spread:
            node = ops.multiply(node, ops.constant(FACTORS))
        value = ops.relu(node).output(0)
    return ov.Model([value], [image], "row")


def convolution(value: ov.Output, weights: np.ndarray, name: str) -> ov.Node:
    """A convolution with a 3x3 kernel that keeps height and width."""
    node = ops.convolution(value, ops.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1])
    node.set_friendly_name(name)
    return node
