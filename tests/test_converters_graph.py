from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from converters.files import core
from converters.int8.graph import batch_normalisations, channels_first, transpositions, with_constant_statistics
from edgepose.errors import InputError

RANDOM = np.random.default_rng(5)


def run(network: ov.Model, tensor: np.ndarray) -> np.ndarray:
    return next(iter(core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(tensor).values())).copy()


def channels_last(value: ov.Output, channels: int, *, norm_axes: tuple[int, ...] | None) -> ov.Output:
    """A convolution as TensorFlow's front end has it, between transpositions, with a bias, a norm on request, and ReLU."""
    inputs = value.get_partial_shape()[3].get_length()
    weights = RANDOM.normal(0, 0.5, (channels, inputs, 3, 3)).astype(np.float32)
    first = ops.transpose(value, [0, 3, 1, 2])
    maps = ops.transpose(ops.convolution(first, ops.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1]), [0, 2, 3, 1])
    maps = ops.add(maps, ops.constant(RANDOM.normal(0, 1, channels).astype(np.float32)))
    if norm_axes is not None:
        maps = ops.mvn(maps, list(norm_axes), True, 1e-3, "INSIDE_SQRT")
    return ops.relu(maps).output(0)


def network(*, norm_axes: tuple[int, ...] | None = None) -> ov.Model:
    image = ops.parameter(ov.PartialShape([1, -1, -1, 3]), np.float32, name="image")
    first = channels_last(image.output(0), 8, norm_axes=norm_axes)
    second = channels_last(first, 8, norm_axes=norm_axes)
    return ov.Model([channels_last(ops.add(first, second).output(0), 5, norm_axes=None)], [image], "channels last")


@pytest.mark.parametrize("norm_axes", [None, (0, 1, 2), (1, 2)])
def test_channels_first_is_the_same_function_without_the_turning(norm_axes):
    given = network(norm_axes=norm_axes)
    turned = channels_first(given)
    assert transpositions(turned) <= 2 < transpositions(given)
    tensor = RANDOM.normal(size=(1, 12, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(run(turned, tensor), run(given, tensor), atol=1e-4)


def test_only_statistics_over_the_batch_are_batch_normalisations():
    assert len(batch_normalisations(network(norm_axes=(0, 1, 2)))) == 2
    assert batch_normalisations(network(norm_axes=(1, 2))) == []
    assert batch_normalisations(network()) == []


def test_constant_statistics_are_those_of_the_calibration():
    given = network(norm_axes=(0, 1, 2))
    tensor = RANDOM.normal(size=(1, 12, 16, 3)).astype(np.float32)
    constant = with_constant_statistics(given, [tensor])
    assert batch_normalisations(constant) == []
    np.testing.assert_allclose(run(constant, tensor), run(given, tensor), atol=1e-3)
    brighter = 3 * tensor + 1  # what the given network takes out again
    assert np.abs(run(constant, brighter) - run(given, brighter)).max() > 0.1
    assert len(batch_normalisations(given)) == 2  # not touched


@pytest.mark.parametrize("eps_mode", ["INSIDE_SQRT", "OUTSIDE_SQRT"])
@pytest.mark.parametrize("normalize_variance", [True, False])
@pytest.mark.parametrize("axes", [(0, 2, 3), (-4, -2, -1), (0, 1, 2, 3), (0,)])
def test_constant_statistics_are_the_same_function_however_it_normalises(eps_mode, normalize_variance, axes):
    image = ops.parameter(ov.PartialShape([1, 3, 8, 8]), np.float32, name="image")
    given = ov.Model([ops.mvn(ops.multiply(image, np.float32(0.01)), list(axes), normalize_variance, 0.05, eps_mode)], [image])
    tensor = RANDOM.normal(size=(1, 3, 8, 8)).astype(np.float32)
    assert len(batch_normalisations(given)) == 1
    constant = with_constant_statistics(given, [tensor])
    assert batch_normalisations(constant) == []
    np.testing.assert_allclose(run(constant, tensor), run(given, tensor), atol=1e-5)


@pytest.mark.parametrize("eps_mode", ["INSIDE_SQRT", "OUTSIDE_SQRT"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (-4, -3, -2)])
def test_turning_keeps_how_a_norm_normalises(eps_mode, axes):
    image = ops.parameter(ov.PartialShape([1, 3, 8, 6]), np.float32, name="image")
    normal = ops.mvn(ops.multiply(ops.transpose(image, [0, 2, 3, 1]), np.float32(0.01)), list(axes), True, 0.05, eps_mode)
    given = ov.Model([ops.transpose(normal, [0, 3, 1, 2])], [image])
    turned = channels_first(given)
    assert transpositions(turned) == 0
    tensor = RANDOM.normal(size=(1, 3, 8, 6)).astype(np.float32)
    np.testing.assert_allclose(run(turned, tensor), run(given, tensor), atol=1e-5)


def test_a_channel_without_variance_becomes_no_nan():
    image = ops.parameter(ov.PartialShape([1, 2, 8, 8]), np.float32, name="image")
    given = ov.Model([ops.mvn(image, [0, 2, 3], True, 1e-12, "INSIDE_SQRT")], [image])
    tensor = np.full((1, 2, 8, 8), 3.3, np.float32)
    assert np.isfinite(run(with_constant_statistics(given, [tensor]), tensor)).all()


def test_axes_that_are_computed_are_left_alone():
    image = ops.parameter(ov.PartialShape([1, 3, 8, 8]), np.float32, name="image")
    axes = ops.parameter(ov.PartialShape([2]), np.int64, name="axes")
    given = ov.Model([ops.mvn(ops.transpose(image, [0, 2, 3, 1]), axes, True, 1e-3, "INSIDE_SQRT")], [image, axes])
    assert batch_normalisations(given) == []
    assert transpositions(channels_first(given)) == 1


def test_no_inputs_are_refused():
    with pytest.raises(InputError, match="nothing to calibrate on"):
        with_constant_statistics(network(norm_axes=(0, 1, 2)), [])
