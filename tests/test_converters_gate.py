from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from converters.gate import AccuracyGate, AgreementGate
from edgepose.engines.openvino import read_network
from edgepose.errors import InputError
from edgepose.estimator import locate

HEIGHT = 256


@pytest.fixture(scope="module")
def default():
    path, model = locate("default")
    return read_network(path), model


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = pytest.importorskip("skimage.data")
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    cv2.imwrite(str(path), data.astronaut()[..., ::-1])
    return path


def broken(network: ov.Model) -> ov.Model:
    """With every map upside down, as a network that lost its calibration may answer."""
    other = network.clone()
    for result in other.get_results():
        result.input(0).replace_source_output(ops.negative(result.input_value(0)).output(0))
    other.validate_nodes_and_infer_types()
    return other


def test_a_network_agrees_with_itself_and_not_with_a_broken_one(default, photo):
    network, model = default
    gate = AgreementGate(model, HEIGHT, [photo])
    reference = gate.measure(network)
    assert gate.describe(reference) == "1 people"
    verdict = gate.judge(reference, gate.measure(network))
    assert verdict.passed
    assert verdict.figures == "OKS 1.000, 0 lost and 0 invented of 1 people"
    refused = gate.judge(reference, gate.measure(broken(network)))
    assert not refused.passed
    assert "1 lost" in refused.figures


def test_where_nobody_is_the_maps_are_compared(default, tmp_path):
    network, model = default
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 300, 3), 90, np.uint8))
    gate = AgreementGate(model, HEIGHT, [tmp_path / "grey.png"])
    reference = gate.measure(network)
    assert gate.describe(reference) == "0 people"
    same, other = (gate.judge(reference, gate.measure(candidate)) for candidate in (network, broken(network)))
    assert same.passed
    assert "nobody seen" in same.figures
    assert not other.passed


def test_untrained_networks_are_judged_by_their_maps(default, photo):
    network, model = default
    gate = AgreementGate(model, HEIGHT, [photo], by_maps=True)
    reference = gate.measure(network)
    same, other = (gate.judge(reference, gate.measure(candidate)) for candidate in (network, broken(network)))
    assert (same.passed, same.figures) == (True, "maps correlate 1.0000")
    assert not other.passed


def test_a_drop_of_ap_is_measured_against_the_annotations(default, shared):
    network, model = default
    data = shared / "data" / "eval"
    gate = AccuracyGate(model, HEIGHT, data / "person_keypoints_eval.json", data / "images", 12)
    reference = gate.measure(network)
    assert reference > 1
    assert gate.judge(reference, reference).passed
    refused = gate.judge(reference, gate.measure(broken(network)))
    assert not refused.passed
    assert refused.ap == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize(("candidate", "passed"), [(29.01, True), (28.9, False), (31.0, True), (float("nan"), False)])
def test_the_gate_stands_at_one_point_of_ap(default, candidate, passed):
    gate = AccuracyGate(default[1], HEIGHT, Path("a.json"), Path("images"), None)
    assert gate.judge(30.0, candidate).passed is passed


def test_a_reference_that_sees_nothing_cannot_be_stood_beside(default):
    gate = AccuracyGate(default[1], HEIGHT, Path("a.json"), Path("images"), None)
    with pytest.raises(InputError, match="leave out the annotations"):
        gate.judge(0.4, 0.3)
