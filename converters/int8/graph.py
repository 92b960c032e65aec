"""Changes to a graph before it is quantised: channels come first, and statistics become constants.

Frozen TensorFlow graphs compute on (B, H, W, C), where quantisation takes rows of pixels for channels. Some of them were frozen
in training mode, so that each picture is normalised by its own statistics. Both ruin the accuracy of INT8.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

# The clean-up at the end of OpenVINO's own converter, which has no public name in Python.
from openvino._offline_transformations import apply_moc_transformations

from converters.files import core
from converters.pictures import check_inputs
from edgepose.arrays import Double, Float, Ints

ELEMENTWISE = {"Add": ops.add, "Multiply": ops.multiply, "Subtract": ops.subtract, "Divide": ops.divide}
ACTIVATIONS = ("Relu", "Clamp", "Elu")

# Inputs that the statistics are taken from. The AP of openpose-mobilenet-v2-small differs by 0.2 at most between sets of 64
# photos and all 151 of them, and by 2 between sets of 32.
STATISTICS_INPUTS = 64


def channels_first(network: ov.Model) -> ov.Model:
    """The same network with its transpositions pushed towards its ends, where they cancel out; exact.

    Handles what stands between transpositions in the graphs of TensorFlow's front end: element-wise arithmetic with
    constants or with each other, activations, normalisation (MVN) and interpolation.
    """
    network = network.clone()
    while True:
        apply_moc_transformations(network, cf=True)
        if not sum(_push(node) for node in network.get_ordered_ops()):
            return network
        network.validate_nodes_and_infer_types()


def transpositions(network: ov.Model) -> int:
    """The number of transpositions in a network."""
    return sum(node.get_type_name() == "Transpose" for node in network.get_ops())


def batch_normalisations(network: ov.Model) -> list[ov.Node]:
    """Nodes, first to last, that normalise by statistics over the whole batch, as batch norm does only in training.

    Normalisation within each picture, such as instance norm, is not meant: it is part of the network in use, too.
    """
    return [node for node in network.get_ordered_ops() if 0 in _normalised_axes(node)]


def with_constant_statistics(network: ov.Model, tensors: Sequence[Float]) -> ov.Model:
    """The network with constant statistics in its batch norms, computed over `tensors`, inputs (1, ...) of the network.

    They are computed for one norm after another, because each changes the inputs of all later ones.

    Raises:
        InputError: There are no inputs.
    """
    tensors = check_inputs(tensors)
    tensors = tensors[:: -(-len(tensors) // STATISTICS_INPUTS)]
    network = network.clone()
    while nodes := batch_normalisations(network):
        node = nodes[0]
        mean, square = _means(network, node.input_value(0), _normalised_axes(node), tensors)
        attributes = node.get_attributes()
        factor = np.ones_like(mean)
        if attributes["normalize_variance"]:
            variance = np.maximum(square - mean**2, 0)  # by rounding, the variance of a constant may be below 0
            inside = str(attributes["eps_mode"]).lower() == "inside_sqrt"
            eps = attributes["eps"]
            factor = 1 / (np.sqrt(variance + eps) if inside else np.sqrt(variance) + eps)
        scaled = ops.multiply(node.input_value(0), ops.constant(factor.astype(np.float32)))
        fixed = ops.add(scaled, ops.constant((-mean * factor).astype(np.float32)))
        node.output(0).replace(fixed.output(0))
        network.validate_nodes_and_infer_types()
    return network


def _normalised_axes(node: ov.Node) -> Ints:
    """The axes, from 0, that a node takes its statistics over; none if it is no normalisation, or its axes are not constant."""
    if node.get_type_name() != "MVN" or node.get_input_size() < 2 or not _is_constant(node.input_value(1)):
        return np.empty(0, np.int64)
    rank = node.get_input_partial_shape(0).rank
    axes = np.atleast_1d(_constant(node, 1).data).astype(np.int64)
    return np.sort(np.where(axes < 0, axes + rank.get_length(), axes) if rank.is_static else axes)


def _means(network: ov.Model, value: ov.Output, axes: Ints, tensors: Sequence[Float]) -> tuple[Double, Double]:
    """Mean of a value within the network and of its square, over `axes`, which are kept, and over `tensors`."""
    moments = [ops.reduce_mean(part, axes, keep_dims=True) for part in (value, ops.multiply(value, value))]
    probe = ov.Model(moments, network.get_parameters())
    compiled = core().compile_model(probe, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    runs = [[np.array(output, np.float64) for output in compiled(tensor).values()] for tensor in tensors]
    mean, square = (np.mean(moment, axis=0) for moment in zip(*runs, strict=True))
    return mean, square


def _push(node: ov.Node) -> bool:
    """Move a node before the transposition that feeds it, or cancel two transpositions; whether either was possible."""
    kind = node.get_type_name()
    inputs = [value.get_node() for value in node.input_values()]
    turned = [source for source in inputs if source.get_type_name() == "Transpose"]
    if not turned or not all(_is_constant(source.input_value(1)) for source in turned):
        return False
    order = _constant(turned[0], 1).data
    if kind == "Transpose":
        if not (_is_constant(node.input_value(1)) and _undoes(_constant(node, 1).data, order)):
            return False
        node.output(0).replace(turned[0].input_value(0))
        return True
    if kind in ACTIVATIONS:
        users = node.output(0).get_target_inputs()
        node.input(0).replace_source_output(turned[0].input_value(0))
        turned_later = ops.transpose(node, order).output(0)
        for user in users:
            user.replace_source_output(turned_later)
        return True
    if kind in ELEMENTWISE:
        operands = [_unturned(source, order) for source in inputs]
        if None in operands:
            return False
        moved = ELEMENTWISE[kind](*operands)
    elif kind == "MVN" and turned[0] is inputs[0] and len(normalised := _normalised_axes(node)):
        attributes = node.get_attributes()
        axes = np.sort(order[normalised])
        moved = ops.mvn(
            turned[0].input_value(0), axes, *(attributes[name] for name in ("normalize_variance", "eps", "eps_mode"))
        )
    elif kind == "Interpolate" and len(inputs) == 3 and turned[0] is inputs[0] and _is_constant(node.input_value(2)):
        axes = order[_constant(node, 2).data]
        moved = ops.interpolate(turned[0].input_value(0), node.input_value(1), axes=ops.constant(axes), **node.get_attributes())
    else:
        return False
    moved.set_friendly_name(node.get_friendly_name())
    node.output(0).replace(ops.transpose(moved, order).output(0))
    return True


def _unturned(source: ov.Node, order: Ints) -> ov.Output | ov.Node | None:
    """The value that a transposition with `order` turns into `source`; None if it would have to be computed."""
    if source.get_type_name() == "Transpose":
        return source.input_value(0) if np.array_equal(_constant(source, 1).data, order) else None
    if source.get_type_name() != "Constant":
        return None
    value = source.data
    whole = value.reshape((1,) * (len(order) - value.ndim) + value.shape)
    return ops.constant(np.ascontiguousarray(whole.transpose(np.argsort(order))))


def _undoes(second: Ints, first: Ints) -> bool:
    """Whether a transposition with the order `second` undoes one with the order `first`."""
    return np.array_equal(first[second], np.arange(len(first)))


def _is_constant(value: ov.Output) -> bool:
    return str(value.get_node().get_type_name()) == "Constant"


def _constant(node: ov.Node, index: int) -> ov.Node:
    return node.input_value(index).get_node()
