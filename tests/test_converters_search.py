from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from row_networks import LAYERS, network

from converters.int8 import search as recipes
from converters.int8.gate import Verdict
from converters.int8.nncf import quantise
from converters.int8.recipe import Recipe
from converters.int8.search import MAX_CANDIDATES, search
from edgepose.errors import InputError

RANDOM = np.random.default_rng(1)
TENSORS = [RANDOM.normal(size=(1, 3, 16, 24)).astype(np.float32) for _ in range(3)]


def quantised_inputs(network: ov.Model) -> int:
    return sum(node.get_type_name() == "FakeQuantize" for node in network.get_ops())


@dataclass
class CountingGate:
    """Lets pass what has at most so many quantised values."""

    limit: int
    protocol: str = "count"

    def measure(self, network, precision="f32"):
        return quantised_inputs(network)

    def judge(self, reference, candidate):
        return Verdict(candidate <= self.limit, f"{candidate} quantised")

    def better(self, first, second):
        return first

    def describe(self, result):
        return f"{result}"


def test_a_recipe_that_passes_is_all_that_is_tried():
    said: list[str] = []
    outcome = search(network(), CountingGate(1000), TENSORS, Recipe(), said.append)
    assert [attempt.name for attempt in outcome.attempts] == ["plain recipe"]
    assert outcome.chosen is outcome.attempts[0]
    assert outcome.chosen.kept == ()
    assert said == ["FP32: 0", f"INT8, plain recipe: {quantised_inputs(outcome.chosen.network)} quantised: passes"]


def test_the_least_that_passes_stays_in_floating_point():
    whole = quantised_inputs(quantise(network(), TENSORS, Recipe()))
    outcome = search(network(), CountingGate(whole - 3), TENSORS, Recipe(), lambda _: None)
    assert outcome.chosen is not None
    assert not outcome.attempts[0].verdict.passed
    refused = [attempt for attempt in outcome.attempts if not attempt.verdict.passed]
    assert all(len(attempt.kept) < len(outcome.chosen.kept) for attempt in refused)
    assert set(outcome.chosen.kept) < {f"conv{layer}" for layer in range(LAYERS)}


def test_a_gate_that_nothing_passes_ends_the_search():
    outcome = search(network(), CountingGate(-1), TENSORS, Recipe(), lambda _: None)
    assert outcome.chosen is None
    assert 2 <= len(outcome.attempts) <= MAX_CANDIDATES
    assert not any(attempt.verdict.passed for attempt in outcome.attempts)


class NoStatisticsGate(CountingGate):
    """Lets no INT8 network pass that computes statistics of its input, and all others."""

    def measure(self, network, precision="f32"):
        statistics = sum(node.get_type_name() == "MVN" for node in network.get_ops())
        return statistics if quantised_inputs(network) else 0


def test_statistics_become_constants_before_anything_stays_in_floating_point():
    image = ops.parameter(ov.PartialShape([1, 3, -1, -1]), np.float32, name="image")
    weights = RANDOM.normal(0, 0.4, (8, 3, 3, 3)).astype(np.float32)
    maps = ops.convolution(image, ops.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1])
    maps = ops.relu(ops.mvn(maps, [0, 2, 3], True, 1e-3, "INSIDE_SQRT"))
    weights = RANDOM.normal(0, 0.4, (8, 8, 3, 3)).astype(np.float32)
    given = ov.Model([ops.convolution(maps, ops.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1])], [image], "statistics")
    said: list[str] = []
    outcome = search(given, NoStatisticsGate(0), TENSORS, Recipe(), said.append)
    assert [attempt.verdict.passed for attempt in outcome.attempts] == [False, True]
    assert outcome.folded is not None
    assert outcome.folded.passed
    assert outcome.floating is not given
    assert outcome.chosen is outcome.attempts[1]
    assert outcome.chosen.kept == ()
    assert "statistics made constant" in said[2]


def test_kept_operations_are_not_quantised():
    every, kept = (quantised_inputs(quantise(network(), TENSORS, Recipe(), names)) for names in ((), ("conv0", "conv1")))
    assert kept < every


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(Recipe(ignored=("nothing-like-it",)), id="name"), pytest.param(Recipe(ignored_types=("Nope",)), id="type")],
)
def test_an_ignored_scope_that_is_not_there_is_refused(recipe):
    with pytest.raises(InputError, match="ignored scope"):
        quantise(network(), TENSORS, recipe)


def test_no_inputs_are_refused():
    with pytest.raises(InputError, match="nothing to calibrate on"):
        quantise(network(), [], Recipe())


class NothingProvenGate(CountingGate):
    """On pictures that prove nothing."""

    def judge(self, reference, candidate):
        raise InputError("these pictures prove nothing")


def test_pictures_that_prove_nothing_end_the_search_before_the_work(monkeypatch):
    monkeypatch.setattr(recipes, "quantise", lambda *_: pytest.fail("began"))
    with pytest.raises(InputError, match="prove nothing"):
        search(network(), NothingProvenGate(0), TENSORS, Recipe(), lambda _: None)
