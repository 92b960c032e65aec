"""Parity of a converted network with PyTorch: the differences of their outputs, channel by channel.

A conversion counts only if each channel of each output stays within `TOLERANCE` of PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from converters.files import core
from converters.int8.maps import by_kind, channel_rows
from edgepose.arrays import Double, Float
from edgepose.errors import ModelError

Pairs = list[tuple[Double, Double]]
"""For each output, PyTorch's values and those of the converted network, (C, values) each."""

# Largest difference from PyTorch in a channel, as a part of the range of its values. FP16 keeps eleven bits of each weight. The
# errors of a thousand weights add up to 1.6 % of the range in the embedded model, 0.2 % in the compact HRNet and 0.1 % in
# HigherHRNet. FP32 differs only by the order in which sums are computed.
TOLERANCE = {"FP32": 1e-4, "FP16": 3e-2}
# Some channels are nearly flat on some photos, such as the ankles on a portrait, and rounding changes all of what is left. The
# range of a channel therefore counts as at least this part of the largest range among the channels of its kind,
QUIET = 0.3
# and as at least this part of their largest value, because rounding errors grow with the values.
LEAST_RANGE = 1e-2


@dataclass(frozen=True)
class Parity:
    """The difference between a converted network and PyTorch.

    Attributes:
        maximum: The largest difference of all.
        mean: The mean difference.
        scale: PyTorch's largest value.
        worst: The largest difference in a channel, as a part of the range of that channel.
        where: That channel, in words.
    """

    maximum: float
    mean: float
    scale: float
    worst: float
    where: str

    def __str__(self) -> str:
        return (
            f"max {self.maximum:.2e}, mean {self.mean:.2e}, of values up to {self.scale:.3g}; {self.worst:.2%} of the range of "
            f"{self.where}"
        )


@torch.inference_mode()
def compare(
    network: nn.Module, converted: ov.Model, inputs: Mapping[str, Sequence[Float]], precision: str
) -> dict[str, Parity]:
    """The parity of a converted network, in FP32 arithmetic, for each kind of inputs.

    The range of a channel is taken over all inputs together: noise alone leaves the maps of a trained network nearly flat.

    Args:
        network: Answers a tuple of maps to an input (B, 3, H, W).
        converted: The same network as OpenVINO has it.
        inputs: For each kind, such as "noise", tensors (B, 3, H, W).
        precision: "FP16" or "FP32" weights, which selects the tolerance.

    Raises:
        ModelError: A channel differs by more than `TOLERANCE`, or an output has another shape.
    """
    compiled = core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    pairs = {kind: _run_both(network, compiled, tensors) for kind, tensors in inputs.items()}
    ranges = [_ranges(np.concatenate([want for want, _ in output], axis=1)) for output in zip(*pairs.values(), strict=True)]
    parities = {kind: _parity(outputs, ranges) for kind, outputs in pairs.items()}
    for kind, parity in parities.items():
        if not parity.worst <= TOLERANCE[precision]:  # also NaN
            raise ModelError(
                f"the converted network differs from PyTorch by {parity} ({kind}); expected at most "
                f"{TOLERANCE[precision]:.2%} of that in {precision}; nothing is written"
            )
    return parities


def _run_both(network: nn.Module, compiled: ov.CompiledModel, inputs: Sequence[Float]) -> Pairs:
    runs: list[Pairs] = []
    for tensor in inputs:
        expected: tuple[Tensor, ...] = network(torch.from_numpy(tensor))
        answers = [(want.numpy(), np.array(got)) for want, got in zip(expected, compiled(tensor).values(), strict=True)]
        for want, got in answers:
            if want.shape != got.shape:
                raise ModelError(f"the converted network answers {got.shape} where PyTorch answers {want.shape}")
        runs.append([(channel_rows(want), channel_rows(got)) for want, got in answers])
    joined = [[np.concatenate(parts, axis=1) for parts in zip(*output, strict=True)] for output in zip(*runs, strict=True)]
    return [(want, got) for want, got in joined]


def _ranges(values: Double) -> Double:
    """The ranges (C,) that differences are measured by, from PyTorch's values (C, values) of one output."""
    ranges = np.ptp(values, axis=1)
    largest = by_kind(np.abs(values).max(axis=1), np.maximum)
    return np.asarray(np.maximum.reduce([ranges, QUIET * by_kind(ranges, np.maximum), LEAST_RANGE * largest]), np.float64)


def _parity(pairs: Pairs, ranges: list[Double]) -> Parity:
    differences = [np.abs(want - got) for want, got in pairs]
    parts = []
    for difference, its_range in zip(differences, ranges, strict=True):
        largest = difference.max(axis=1)
        # A channel without any range has to be met exactly. NaN is kept, and argmax takes it for the worst.
        parts.append(np.where(largest == 0, 0, largest / np.where(its_range > 0, its_range, np.finfo(np.float64).tiny)))
    output = int(np.argmax([part.max() for part in parts]))
    channel = int(np.argmax(parts[output]))
    together = np.concatenate([difference.ravel() for difference in differences])
    scale = max(float(np.abs(want).max()) for want, _ in pairs)
    where = f"channel {channel} of output {output}"
    return Parity(float(together.max()), float(together.mean()), scale, float(parts[output][channel]), where)
