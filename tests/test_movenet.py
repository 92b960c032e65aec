"""Decoding of MoveNet's keypoints against its plain twin, and what is refused."""

from __future__ import annotations

import family_models
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import plain_decoders

import edgepose
from edgepose.decoding.movenet import MoveNetDecoder, decode_movenet

ODD = [np.nan, np.inf, -np.inf, 0, 3e38, -1]


def decoder() -> MoveNetDecoder:
    return MoveNetDecoder(family_models.model(family_models.MOVENET), (1,), 0.1)


@given(st.integers(0, 2**32 - 1), st.integers(0, 6))
@settings(max_examples=80, deadline=None)
def test_any_rows_equal_the_plain_twin(seed, count):
    random = np.random.default_rng(seed)
    points = random.random((count, 17, 3), np.float32)
    confidence = np.round(random.random(count, np.float32), 1)
    for part in (points, confidence):
        odd = random.random(part.shape) < 0.1
        part[odd] = random.choice(ODD, odd.sum())
    people = decode_movenet(points, confidence, (64, 96), min_score=0.1)
    with np.errstate(all="ignore"):
        expected = plain_decoders.movenet(points, confidence, 64, 96, 0.1)
    assert len(people.confidence) == len(expected)
    for (own_confidence, own), *found in zip(expected, people.confidence, people.keypoints, people.scores, strict=True):
        np.testing.assert_allclose(found[0], own_confidence, rtol=1e-6)
        np.testing.assert_allclose(np.column_stack(found[1:]), np.array(own, np.float32), rtol=1e-6)


def single(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """(17, 3) y, x, score as the network has them."""
    return np.column_stack([points[:, 1] / height, points[:, 0] / width, np.full(17, 0.6)]).astype(np.float32)


def test_one_person_y_before_x():
    points = family_models.person(64, 96)
    people = decoder()([single(points, 64, 96)[None, None]], (64, 96))
    np.testing.assert_allclose(people.keypoints, points[None], rtol=1e-5)
    np.testing.assert_allclose(people.confidence, [0.6], rtol=1e-6)


def test_six_rows_best_first():
    rows = np.zeros((1, 6, 56), np.float32)
    shifts = (0, 4, 8)
    for row, (shift, score) in enumerate(zip(shifts, (0.4, 0.9, 0.6), strict=True)):
        rows[0, row] = [*single(family_models.person(64, 64) + shift, 64, 64).ravel(), 0.1, 0.1, 0.9, 0.9, score]
    people = decoder()([rows], (64, 64))
    np.testing.assert_allclose(people.confidence, [0.9, 0.6, 0.4], rtol=1e-6)
    np.testing.assert_allclose(
        people.keypoints[:, 0], [family_models.person(64, 64)[0] + shift for shift in (4, 8, 0)], rtol=1e-5
    )


def test_a_picture_of_nobody():
    assert len(decoder()([np.zeros((1, 1, 17, 3), np.float32)], (64, 64)).confidence) == 0
    assert len(decoder()([np.full((1, 1, 17, 3), np.nan, np.float32)], (64, 64)).confidence) == 0
    assert len(decoder()([np.zeros((1, 6, 56), np.float32)], (64, 64)).confidence) == 0


@pytest.mark.parametrize("shape", [(1, 3, 1, 17), (1, 1, 16, 3), (1, 6, 55), (6, 56), (1, 56, 6), (2, 1, 17, 3)])
def test_outputs_of_other_shapes_are_refused(shape):
    with pytest.raises(edgepose.ModelError, match=r"mine answers .*; expected \(1, 1, 17, 3\) or \(1, N, 56\): mend"):
        decoder()([np.zeros(shape, np.float32)], (64, 64))


def test_two_outputs_are_refused():
    with pytest.raises(edgepose.ModelError, match="mine has 2 outputs; expected one"):
        MoveNetDecoder(family_models.model(family_models.MOVENET), (1, 1), 0.1)
