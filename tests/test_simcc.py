"""Decoding of SimCC against its plain twin, and what is refused."""

from __future__ import annotations

import family_models
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import plain_decoders

import edgepose
from edgepose.decoding.simcc import SimCCDecoder, decode_simcc, merge_mirrored
from edgepose.skeleton import COCO17, HALPE26, get_skeleton

ODD = [np.nan, -np.nan, np.inf, -np.inf, 0, 5, -1]


def decoder(**changes: object) -> SimCCDecoder:
    model = family_models.model(family_models.SIMCC, **changes)
    return SimCCDecoder(model, (len(get_skeleton(model.skeleton or "")),) * 2, 0.1)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_any_bins_equal_the_plain_twin(seed, crops, types, columns, rows):
    random = np.random.default_rng(seed)
    bins = [random.normal(0, 1, (crops, types, side)).astype(np.float32) for side in (columns, rows)]
    for part in bins:
        odd = random.random(part.shape) < 0.3
        part[odd] = random.choice(ODD, odd.sum())
    points, scores = decode_simcc(*bins)
    expected, expected_scores = plain_decoders.simcc(*bins)
    np.testing.assert_array_equal(points, expected)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("skeleton", ["coco17", "halpe26", "wholebody133"])
@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_keypoints_come_in_pixels_of_the_input(skeleton, ratio):
    points = np.random.default_rng(1).integers(1, 47, (len(get_skeleton(skeleton)), 2)).astype(np.float32)
    outputs = family_models.simcc(points, 64, 48, ratio)
    people = decoder(skeleton=skeleton)(outputs, (64, 48))
    np.testing.assert_allclose(people.keypoints[0], points)
    np.testing.assert_allclose(people.confidence, 0.8, rtol=1e-5)


def test_outputs_are_told_apart_by_their_bins():
    outputs = family_models.simcc(family_models.person(64, 48), 64, 48)
    np.testing.assert_array_equal(decoder()(outputs, (64, 48)).keypoints, decoder()(outputs[::-1], (64, 48)).keypoints)


def test_low_keypoints_are_not_found():
    x, y = family_models.simcc(family_models.person(64, 48), 64, 48)
    y[0, 3] *= 0.1
    people = decoder()([x, y], (64, 48))
    assert np.flatnonzero(people.scores[0] == 0).tolist() == [3]
    assert np.isnan(people.keypoints[0, 3]).all()


def test_flip_test_brings_mirrored_crops_back():
    random = np.random.default_rng(2)
    bins = [random.random((2, 17, side), np.float32) for side in (96, 128)]
    flip = list(COCO17.flip)
    back = [bins[0][:, flip, ::-1], bins[1][:, flip]]
    for outputs, mirrored in ((bins, back), (bins[::-1], back[::-1])):
        for merged, original in zip(decoder().merge_mirrored(outputs, mirrored), bins, strict=True):
            np.testing.assert_allclose(merged, original, rtol=1e-6)


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 17, 96), (1, 17, 96)],
        [(1, 17, 96), (1, 16, 128)],
        [(1, 26, 96), (1, 26, 128)],
        [(1, 17, 97), (1, 17, 128)],
        [(1, 17, 24), (1, 17, 32)],
        [(1, 17, 64, 48), (1, 17, 64, 48)],
        [(1, 17, 0), (1, 17, 0)],
    ],
)
def test_outputs_of_other_shapes_are_refused(shapes):
    with pytest.raises(edgepose.ModelError, match="mend size or skeleton in its description"):
        decoder()([np.zeros(shape, np.float32) for shape in shapes], (64, 48))


@pytest.mark.parametrize("channels", [(17,), (16, 16), (17, 26), (17, 17, 17)])
def test_networks_with_other_outputs_are_refused(channels):
    model = family_models.model(family_models.SIMCC)
    with pytest.raises(edgepose.ModelError, match="expected two outputs with 17 rows each, as coco17 has keypoints"):
        SimCCDecoder(model, channels, 0.1)


def test_what_does_not_fit_together():
    one = np.zeros((1, 17, 8), np.float32)
    with pytest.raises(edgepose.InputError, match="expected \\(B, K, n\\) and \\(B, K, m\\)"):
        decode_simcc(one, one[0])
    with pytest.raises(edgepose.InputError, match="twice"):
        merge_mirrored((one, one), (one, one), HALPE26)
