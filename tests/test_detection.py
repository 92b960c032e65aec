"""Boxes: what is accepted, cut off and refused; detectors of the SSD kind; boxes around bottom-up people."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tiny_models

import edgepose
from edgepose import COCO17, OPENPOSE18, Poses
from edgepose.engines.openvino import OpenVINOEngine
from edgepose.pipelines import detection
from edgepose.pipelines.detection import MAX_BOXES, SSDDetector, boxes_around, checked_boxes
from edgepose.zoo import registry

DETECTOR = """\
task: detector
decoder: ssd
person_label: 1
colour: BGR
layout: NCHW
mean: [0, 0, 0]
scale: [1, 1, 1]
size: [32, 64]
stride: 1
"""
MODEL = registry.from_yaml("tiny", DETECTOR, "tests")


class Fixed:
    """An engine that answers the same, whatever the picture."""

    requests = 1

    def __init__(self, *outputs: np.ndarray) -> None:
        self.outputs = [np.asarray(output, np.float32) for output in outputs]
        self.output_channels = tuple(output.shape[1] for output in self.outputs)
        self.batches: list[np.ndarray] = []

    def submit(self, batch: np.ndarray) -> Fixed:
        self.batches.append(batch)
        return self

    def result(self) -> list[np.ndarray]:
        return self.outputs


def check(boxes: object) -> np.ndarray:
    return checked_boxes(boxes, 100, 200, "boxes")


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[10, 20, 30, 60]], [[10, 20, 30, 60, 1]]),
        ([(10, 20, 30, 60, 0.5)], [[10, 20, 30, 60, 0.5]]),
        (np.array([[10, 20, 30, 60]], np.int64), [[10, 20, 30, 60, 1]]),
        ([[-50, -1e9, 1e9, 50]], [[0, 0, 200, 50, 1]]),
        ([[300, 10, 400, 50]], []),
        ([[-9, 10, 0.5, 50]], []),
        ([[10, 10, 10.5, 50]], []),
        ([[0, 0, 9, 9, 0.2], [0, 0, 8, 8, 0.7], [0, 0, 7, 7, 0.2]], [[0, 0, 8, 8, 0.7], [0, 0, 9, 9, 0.2], [0, 0, 7, 7, 0.2]]),
        ([], []),
        (np.empty((0, 4)), []),
        (np.empty((0, 5)), []),
    ],
    ids=["list", "confidence", "integers", "clipped", "outside", "half a pixel in", "half a pixel wide", "sorted", *"abc"],
)
def test_boxes_that_do(boxes, expected):
    np.testing.assert_allclose(check(boxes), np.reshape(np.array(expected, np.float32), (-1, 5)))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0, 0, 9, 9], [1, 2, np.nan, 5]], r"number 1 of boxes is \[1.0, 2.0, nan, 5.0\]; expected finite x0 < x1"),
        ([[0, 0, np.inf, 9]], "number 0 of boxes"),
        ([[5, 5, 5, 9]], "number 0 of boxes"),
        ([[5, 9, 9, 5]], "number 0 of boxes"),
        ([[0, 0, 9, 9, 1.5]], "confidence 0 to 1"),
        ([[0, 0, 9, 9, np.nan]], "confidence 0 to 1"),
        ([0, 0, 9, 9], r"boxes have shape \(4,\); expected \(N, 4\)"),
        (np.zeros((2, 3)), r"boxes have shape \(2, 3\)"),
        (np.zeros((1, 1, 4)), r"boxes have shape \(1, 1, 4\)"),
        ([[0, 0, 9, 9], [0, 0]], r"boxes are list; expected \(N, 4\)"),
        ("everywhere", "boxes are str"),
        ({"x0": 1}, "boxes are dict"),
    ],
)
def test_boxes_that_are_none(boxes, message):
    with pytest.raises(edgepose.InputError, match=message):
        check(boxes)


def test_of_thousands_the_most_confident(caplog):
    random = np.random.default_rng(0)
    boxes = np.tile(np.array([[10, 10, 50, 90, 0]], np.float32), (5000, 1))
    boxes[:, 4] = random.random(5000)
    with caplog.at_level(logging.WARNING):
        kept = check(boxes)
    assert "5000 boxes; the 256 most confident are kept" in caplog.text
    np.testing.assert_array_equal(kept[:, 4], np.sort(boxes[:, 4])[::-1][:MAX_BOXES])


def test_the_callers_boxes_are_not_written_to():
    boxes = np.array([[-5, -5, 500, 500]], np.float32)
    check(boxes)
    np.testing.assert_array_equal(boxes, [[-5, -5, 500, 500]])


ROWS = [
    [0, 1, 0.9, 0.25, 0.5, 0.5, 1.0],
    [0, 2, 0.9, 0.1, 0.1, 0.2, 0.2],  # no person
    [0, 1, 0.4, 0.1, 0.1, 0.2, 0.2],  # too unsure
    [0, 1, 0.8, 0.2, 0.1, 0.2, 0.2],  # empty
    [0, 1, 0.8, np.nan, 0.1, 0.2, 0.2],
    [0, 1, 0.7, -0.1, 0.0, 0.3, 1.2],
    [-1, 0, 0, 0, 0, 0, 0],
    [0, 1, 0.9, 0.1, 0.1, 0.9, 0.9],  # left over behind the end
]


def test_people_of_a_detector():
    engine = Fixed([[ROWS]])
    image = np.full((120, 400, 3), 7, np.uint8)
    boxes = SSDDetector(engine, MODEL)(image)
    np.testing.assert_allclose(boxes, [[100, 60, 200, 120, 0.9], [-40, 0, 120, 144, 0.7]], rtol=1e-6)
    assert [batch.shape for batch in engine.batches] == [(1, 32, 64, 3)] * 2
    assert len(SSDDetector(Fixed([[ROWS[6:]]]), MODEL)(image)) == 0
    assert len(SSDDetector(engine, MODEL, min_confidence=0.3)(image)) == 3


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([np.zeros((1, 1, 9, 5))], r"answers \(1, 1, n, 5\) and is no detector; expected one output \(1, 1, n, 7\)"),
        ([np.zeros((1, 57, 4, 7))], r"answers \[57\] channels"),
        ([np.zeros((1, 19, 4, 8)), np.zeros((1, 38, 4, 8))], r"answers \[19, 38\] channels"),
    ],
    ids=["five columns", "maps", "two outputs"],
)
def test_networks_that_are_no_detectors(outputs, message):
    with pytest.raises(edgepose.ModelError, match=message):
        SSDDetector(Fixed(*outputs), MODEL)


def test_a_pose_network_described_as_a_detector():
    with pytest.raises(edgepose.ModelError, match=r"answers \[19, 38\] channels and is no detector"):
        SSDDetector(OpenVINOEngine(tiny_models.network(), MODEL), MODEL)


def standing() -> np.ndarray:
    """(17, 2) a standing person, 150 px from eyes to ankles, who faces us."""
    return np.stack([detection._STANDING.real, detection._STANDING.imag], axis=1) * 22 + (200, 80)


def people(keypoints: np.ndarray, found: np.ndarray) -> Poses:
    keypoints = np.where(found[..., None], keypoints, np.nan)[None]
    return Poses(keypoints, found[None].astype(np.float32), np.array([0.6], np.float32), COCO17)


@pytest.mark.parametrize("degrees", [0, 30, 90, 180])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("found", [range(17), range(13), (0, 5, 6, 11, 12), (5, 12)], ids=["all", "no legs", "trunk", "two"])
def test_boxes_hold_what_was_not_found(found, mirrored, degrees):
    turn = np.deg2rad(degrees)
    points = standing() * ((-1, 1) if mirrored else (1, 1))
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    poses = people(points, np.isin(np.arange(17), list(found)))
    box = boxes_around(poses)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.1 * (high - low).max()
    if len(found) == 2:  # left shoulder and right hip: from either side it could be the same
        assert box.shape == (1, 5)
    else:
        np.testing.assert_allclose(box[0, :4], [*(low - margin), *(high + margin)], atol=0.1)
    assert box[0, 4] == np.float32(0.6)


def test_found_keypoints_are_always_inside():
    random = np.random.default_rng(1)
    keypoints = random.uniform(0, 300, (50, 18, 2)).astype(np.float32)
    scores = (random.random((50, 18)) < 0.5).astype(np.float32)
    keypoints[scores == 0] = np.nan
    poses = Poses(keypoints, scores, np.ones(50, np.float32), OPENPOSE18)
    boxes = boxes_around(poses)
    inner = poses.to(COCO17)
    enough = (inner.scores > 0).sum(axis=1) >= 2
    assert len(boxes) == enough.sum()
    around = inner.boxes[enough]
    assert (boxes[:, :2] <= around[:, :2]).all()
    assert (boxes[:, 2:4] >= around[:, 2:]).all()


def test_nobody_and_those_of_whom_nothing_is_known():
    assert boxes_around(Poses.empty()).shape == (0, 5)
    assert boxes_around(people(standing(), np.arange(17) == 3)).shape == (0, 5)
    in_one_place = people(np.full((17, 2), 40.0), np.arange(17) < 2)
    assert len(checked_boxes(boxes_around(in_one_place), 100, 100, "boxes")) == 1
