"""Detectors whose outputs are rows of boxes: every layout, against a plain twin, and what is refused."""

from __future__ import annotations

import family_models
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import plain_decoders
from test_detection import Fixed

import edgepose
from edgepose.kernels.suppression import best_first, distinct_boxes
from edgepose.pipelines.row_detection import MAX_BOXES, MOST_OVERLAP, RowDetector

# x0, y0, x1, y1, score of two people, each twice, in pixels of an input of 64 x 64.
PEOPLE = np.array([[4, 4, 20, 40, 0.9], [30, 8, 44, 32, 0.8]], np.float32)
TWICE = np.concatenate([PEOPLE - [0, 0, 1, 0, 0.2], PEOPLE]).astype(np.float32)


def columns(rows: np.ndarray, classes: int, label: int, objectness: bool = False) -> np.ndarray:
    """(N, 4 + C) or (N, 5 + C) centres, sides, maybe objectness, and class scores, with many empty places behind."""
    places = np.zeros((100, 4 + objectness + classes), np.float32)
    places[: len(rows), :2] = (rows[:, :2] + rows[:, 2:4]) / 2
    places[: len(rows), 2:4] = rows[:, 2:4] - rows[:, :2]
    places[: len(rows), 4 + objectness + label] = rows[:, 4]
    if objectness:
        places[:, 4] = 1
    return places


def labelled(rows: np.ndarray, label: int) -> list[np.ndarray]:
    """Rows and labels, with a dog in front."""
    dog = np.array([[1, 1, 60, 60, 0.99]], np.float32)
    return [np.concatenate([dog, rows])[None], np.array([[label + 1, *[label] * len(rows)]], np.float32)]


LAYOUTS = {
    "RTMDet": labelled(TWICE, 0),
    "boxes alone": [TWICE[None]],
    "YOLO with suppression": [np.concatenate([labelled(TWICE, 0)[0][0], labelled(TWICE, 0)[1].T], axis=1)[None]],
    "YOLO": [columns(TWICE, 80, 0).T[None]],
    "YOLO of one class": [columns(TWICE, 1, 0).T[None]],
    "YOLOv5": [columns(TWICE, 80, 0, objectness=True)[None]],
}


def detector(outputs: list[np.ndarray], **changes: object) -> RowDetector:
    return RowDetector(Fixed(*outputs), family_models.model(family_models.BOXES, **changes))


@pytest.mark.parametrize("outputs", LAYOUTS.values(), ids=LAYOUTS)
def test_people_come_once_in_pixels_of_the_frame(outputs):
    image = np.full((128, 64, 3), 7, np.uint8)  # letterboxed into the left half
    boxes = detector(outputs)(image)
    expected = PEOPLE.copy()
    expected[:, :4] = (PEOPLE[:, :4] + 0.5) * 2 - 0.5
    np.testing.assert_allclose(boxes, expected, rtol=1e-5)


def test_the_frame_is_letterboxed_on_grey():
    engine = Fixed(TWICE[None])
    RowDetector(engine, family_models.model(family_models.BOXES))(np.full((128, 64, 3), 7, np.uint8))
    picture = engine.batches[-1][0]
    assert (picture[:, :32] == 7).all()
    assert (picture[:, 32:] == 114).all()


@pytest.mark.parametrize("outputs", [labelled(TWICE, 5), [columns(TWICE, 80, 5).T[None]]], ids=["labels", "scores"])
def test_the_persons_class_counts(outputs):
    image = np.zeros((64, 64, 3), np.uint8)
    np.testing.assert_allclose(detector(outputs, person_label=5)(image)[:, 4], [0.9, 0.8], rtol=1e-6)
    assert len(detector(outputs, person_label=3)(image)) == 0


def test_the_descriptions_confidence_counts():
    assert len(detector([TWICE[None]], min_confidence=0.85)(np.zeros((64, 64, 3), np.uint8))) == 1


@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_any_rows_equal_the_plain_twin(seed, count):
    random = np.random.default_rng(seed)
    rows = random.uniform(0, 64, (count, 5)).astype(np.float32)
    rows[:, 4] = np.round(random.random(count), 1)
    odd = random.random(rows.shape) < 0.05
    rows[odd] = random.choice([np.nan, np.inf, -np.inf, 0, 1e38, -5], odd.sum())
    with np.errstate(all="ignore"):
        kept = plain_decoders.distinct(rows[:, :4], rows[:, 4], 0.5, MOST_OVERLAP)
        boxes = detector([rows[None]])(np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_allclose(boxes[:, :4], rows[kept, :4], rtol=1e-4, atol=1e-4)


def test_ten_thousand_rows_are_bounded():
    random = np.random.default_rng(0)
    rows = random.uniform(0.5, 1, (1, 10_000, 5)).astype(np.float32)
    rows[..., :2] = random.uniform(0, 1e6, (1, 10_000, 2))
    rows[..., 2:4] = rows[..., :2] + 1
    assert len(detector([rows])(np.zeros((64, 64, 3), np.uint8))) == MAX_BOXES


@pytest.mark.parametrize(
    "outputs",
    [[np.zeros((1, 19, 4, 8))], [np.zeros((1, 9, 4))], [np.zeros((9, 5))], [np.zeros((1, 9, 5)), np.zeros((1, 8))],
     [np.zeros((1, 9, 5))] * 3],
    ids=["maps", "four values", "two axes", "other labels", "three outputs"],
)  # fmt: skip
def test_networks_that_are_no_detectors(outputs):
    with pytest.raises(edgepose.ModelError, match=r"mine answers \(.*is no detector with class 0; expected \(1, N, 5\)"):
        detector(outputs)


def test_a_class_that_the_network_does_not_have():
    with pytest.raises(edgepose.ModelError, match="no detector with class 80"):
        detector([columns(TWICE, 80, 0).T[None]], person_label=80)


def test_the_best_come_first_and_of_equals_the_first():
    scores = np.array([0.5, np.nan, 0.9, 0.5, 0.1, np.inf, 0.5], np.float32)
    assert best_first(scores, 0.5, 10).tolist() == [5, 2, 0, 3, 6]
    assert best_first(scores, 0.5, 3).tolist() == [5, 2, 0]
    assert best_first(scores[:0], 0.5, 3).tolist() == []


def test_suppression_keeps_at_most_so_many():
    boxes = np.array([[x, 0, x + 1, 1] for x in range(0, 20, 2)], np.float32)
    assert distinct_boxes(boxes, 0.5, 4).tolist() == [0, 1, 2, 3]
    assert distinct_boxes(np.repeat(boxes[:1], 5, axis=0), 0.5, 4).tolist() == [0]
