"""NNCF's post-training quantisation, with activation ranges that leave headroom."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator, Sequence

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from converters.int8.recipe import Recipe
from converters.pictures import check_inputs
from edgepose.arrays import Float
from edgepose.errors import InputError


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

    The ranges of weights stay as they are, and so do those of the inputs, because pixels have bounds.
    """
    for node in quantised.get_ops():
        fed_by = node.input_value(0).get_node() if node.get_type_name() == "FakeQuantize" else None
        if fed_by is None or fed_by.get_type_name() == "Parameter" or constant_value(fed_by) is not None:
            continue
        for index in range(1, 5):  # the ends of the range before and after rounding
            end = np.array(constant_value(node.input_value(index).get_node()), np.float32)
            node.input(index).replace_source_output(ops.constant(end * np.float32(factor)).output(0))
    quantised.validate_nodes_and_infer_types()
    return quantised


def constant_value(node: ov.Node) -> NDArray[np.generic] | None:
    """The value of a constant, stored in any precision; None for a node that is computed."""
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.array(node.data) if node.get_type_name() == "Constant" else None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Send NNCF's progress, which it prints on standard output, to standard error if that is a terminal, and else nowhere."""
    # NNCF's own function for this would also set the levels of handlers that belong to others.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        yield
