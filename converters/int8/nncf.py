"""NNCF's post-training quantisation with its options in one place, and the harm that it does to each part of a network."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from converters.pictures import check_inputs
from edgepose.errors import InputError

Float = NDArray[np.float32]

PRESETS = ("mixed", "performance")
WEIGHTED = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
# Operations are ranked in groups of neighbours, each of which takes a compilation: of five hundred operations, one by one
# would take an hour.
MAX_GROUPS = 32
RANKING_INPUTS = 6
HEADROOM = 1.3  # see `Recipe`


@dataclass(frozen=True)
class Recipe:
    """NNCF's options, as the command line has them.

    Attributes:
        preset: "mixed" has asymmetric activations, which ELU and the like need; "performance" symmetric ones.
        fast_bias_correction: The quick correction of biases, not the thorough one.
        bias_correction: Whether there is any.
        ignored: Regular expressions; operations with such names stay in floating point.
        ignored_types: Operations of these types do, too.
        headroom: Factor on the ranges of activations. NNCF's own end at the mean of the maxima of the calibration inputs, so
            that half of all inputs are clipped where they are strongest, which is where keypoints are. Of the compact HRNet's
            AP 44.6, 1.5 are lost with 1.0 (1.3 of them by clipping alone, without any rounding), 0.6 with 1.3, 0.2 with 1.6; of
            Lightweight OpenPose's 25.4, 0.5, 0.2 and 1.2.
    """

    preset: str = "mixed"
    fast_bias_correction: bool = True
    bias_correction: bool = True
    ignored: tuple[str, ...] = ()
    ignored_types: tuple[str, ...] = ()
    headroom: float = HEADROOM


def quantise(network: ov.Model, tensors: Sequence[Float], recipe: Recipe, kept: Sequence[str] = ()) -> ov.Model:
    """The network in INT8, calibrated on `tensors`, except for the operations called `kept`.

    Raises:
        InputError: The recipe ignores something that is not there, or everything; or there are no inputs.
    """
    tensors = check_inputs(tensors)
    scope = nncf.IgnoredScope(names=list(kept), patterns=list(recipe.ignored), types=list(recipe.ignored_types))
    with _quietly():
        try:
            quantised = nncf.quantize(
                network.clone(),
                nncf.Dataset(tensors),
                preset=nncf.QuantizationPreset(recipe.preset),
                subset_size=len(tensors),
                fast_bias_correction=recipe.fast_bias_correction,
                ignored_scope=scope,
                advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=not recipe.bias_correction),
            )
        except nncf.ValidationError as error:
            raise InputError(f"the ignored scope does not fit the network: {' '.join(str(error).split())[:300]}") from error
    return _widened(quantised, recipe.headroom)


def _widened(quantised: ov.Model, factor: float) -> ov.Model:
    """The network, changed in place, with the ranges of its activations times `factor`.

    Those of weights, and of the inputs, which pixels bound, stay as they are.
    """
    for node in quantised.get_ops():
        fed_by = node.input_value(0).get_node() if node.get_type_name() == "FakeQuantize" else None
        if fed_by is None or fed_by.get_type_name() == "Parameter" or _constant(fed_by) is not None:
            continue
        for index in range(1, 5):  # the ends of the range before and after rounding
            end = np.array(_constant(node.input_value(index).get_node()), np.float32)
            node.input(index).replace_source_output(ops.constant(end * np.float32(factor)).output(0))
    quantised.validate_nodes_and_infer_types()
    return quantised


def weighted(network: ov.Model) -> list[str]:
    """Names of the operations with weights, first to last."""
    return [node.get_friendly_name() for node in network.get_ordered_ops() if node.get_type_name() in WEIGHTED]


def by_sensitivity(network: ov.Model, tensors: Sequence[Float], recipe: Recipe) -> list[list[str]]:
    """Names of the operations with weights in groups of neighbours, the group that INT8 harms most first.

    The harm is the squared error of the outputs with this group alone in INT8, as a part of that with all of them.

    Raises:
        InputError: There are no inputs.
    """
    tensors = check_inputs(tensors)
    shape, _ = Counter(tensor.shape for tensor in tensors).most_common(1)[0]
    inputs = [tensor for tensor in tensors if tensor.shape == shape][:RANKING_INPUTS]
    names = weighted(network)
    length = -(-len(names) // MAX_GROUPS)
    groups = [names[start : start + length] for start in range(0, len(names), length)]
    # Corrected biases would stay with what is put back into floating point.
    quantised = quantise(network, tensors, replace(recipe, bias_correction=False))
    exact = _outputs(network, inputs)
    all_errors = _errors(_outputs(quantised, inputs), exact)
    harms = []
    for group in groups:
        errors = _errors(_outputs(_with_only(quantised, network, set(group)), inputs), exact)
        harms.append(sum(error / (whole or 1) for error, whole in zip(errors, all_errors, strict=True)))
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
            weights = _constant(exact[name].input_value(1).get_node())
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


def _constant(node: ov.Node) -> NDArray[np.generic] | None:
    """The value of a constant, stored in any precision; None if it is computed."""
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.array(node.data) if node.get_type_name() == "Constant" else None


def _outputs(network: ov.Model, inputs: Sequence[Float]) -> list[list[Float]]:
    """Outputs for each input, all of one shape, in FP32 arithmetic outside INT8."""
    fixed = network.clone()
    fixed.reshape(inputs[0].shape)
    compiled = ov.Core().compile_model(fixed, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [[np.array(output) for output in compiled(tensor).values()] for tensor in inputs]


def _errors(outputs: list[list[Float]], exact: list[list[Float]]) -> list[float]:
    """Mean squared error of each output."""
    pairs = [[np.square(a - b).mean() for a, b in zip(*both, strict=True)] for both in zip(outputs, exact, strict=True)]
    return [float(error) for error in np.mean(pairs, axis=0)]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """NNCF reports its progress on standard output: let it, on standard error, if that is a terminal; errors aside."""
    # Not by NNCF's own function, which also sets the levels of handlers that are not its own.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        yield
