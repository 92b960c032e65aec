"""The harm that INT8 does to each part of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from converters.files import core
from converters.int8.nncf import constant_value, quantise
from converters.int8.recipe import Recipe
from converters.pictures import check_inputs
from edgepose.arrays import Double, Float

WEIGHTED = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
# Operations are ranked in groups of neighbours, because each group takes a compilation: five hundred operations one by one
# would take an hour.
MAX_GROUPS = 32
# Enough for a median that a few unusual inputs cannot move: of one crop in 80, the activations are ten times those of others.
RANKING_INPUTS = 32


def weighted(network: ov.Model) -> list[str]:
    """Names of the operations with weights, first to last."""
    return [node.get_friendly_name() for node in network.get_ordered_ops() if node.get_type_name() in WEIGHTED]


def by_sensitivity(network: ov.Model, tensors: Sequence[Float], recipe: Recipe) -> list[list[str]]:
    """Names of the operations with weights in groups of neighbours, the group that INT8 harms most first.

    The harm is the typical error of the outputs with only this group in INT8, as a part of that with all groups, added up
    over the outputs. The error on an input is relative to the energy of the output for that input; the median over the inputs
    is the typical one, so that no single input decides.

    Raises:
        InputError: There are no inputs.
    """
    tensors = check_inputs(tensors)
    shape, _ = Counter(tensor.shape for tensor in tensors).most_common(1)[0]
    inputs = [tensor for tensor in tensors if tensor.shape == shape][:RANKING_INPUTS]
    names = weighted(network)
    length = -(-len(names) // MAX_GROUPS)
    groups = [names[start : start + length] for start in range(0, len(names), length)]
    # Biases that are corrected for INT8 would be wrong for the operations that return to floating point.
    quantised = quantise(network, tensors, replace(recipe, bias_correction=False))
    exact = _outputs(network, inputs)
    all_errors = _errors(_outputs(quantised, inputs), exact)
    harms = []
    for group in groups:
        errors = _errors(_outputs(_with_only(quantised, network, set(group)), inputs), exact)
        harms.append((errors / np.where(all_errors > 0, all_errors, 1)).sum())
    return [groups[index] for index in np.argsort(harms)[::-1]]


def _with_only(quantised: ov.Model, network: ov.Model, names: set[str]) -> ov.Model:
    """`quantised` with everything back in the floating point of `network` except the inputs and weights of `names`."""
    mixed = quantised.clone()
    exact = {node.get_friendly_name(): node for node in network.get_ordered_ops()}
    for node in mixed.get_ordered_ops():
        name = node.get_friendly_name()
        if node.get_type_name() == "FakeQuantize" and not _fed_by(node) & names:
            node.output(0).replace(node.input_value(0))
        elif node.get_type_name() in WEIGHTED and name not in names:
            weights = constant_value(exact[name].input_value(1).get_node())
            if weights is not None:
                node.input(1).replace_source_output(ops.constant(weights.astype(np.float32)).output(0))
    mixed.validate_nodes_and_infer_types()
    return mixed


def _fed_by(node: ov.Node) -> set[str]:
    """Names of the operations that a node feeds, directly or by way of what only rearranges."""
    fed: set[str] = set()
    for consumer in (target.get_node() for target in node.output(0).get_target_inputs()):
        rearranges = consumer.get_type_name() in ("Transpose", "Reshape")
        fed |= _fed_by(consumer) if rearranges else {consumer.get_friendly_name()}
    return fed


def _outputs(network: ov.Model, inputs: Sequence[Float]) -> list[list[Float]]:
    """Outputs for each input, all of one shape, in FP32 arithmetic outside INT8."""
    fixed = network.clone()
    fixed.reshape(inputs[0].shape)
    compiled = core().compile_model(fixed, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [[np.array(output) for output in compiled(tensor).values()] for tensor in inputs]


def _errors(outputs: list[list[Float]], exact: list[list[Float]]) -> Double:
    """The error of each output: squared, relative to the energy of that output for the same input; the median over inputs."""
    ratios = [[_relative(a, b) for a, b in zip(*both, strict=True)] for both in zip(outputs, exact, strict=True)]
    return np.asarray(np.median(ratios, axis=0), np.float64)


def _relative(values: Float, exact: Float) -> float:
    energy = np.square(exact, dtype=np.float64).sum()
    return float(np.square(values - exact, dtype=np.float64).sum() / (energy or 1))
