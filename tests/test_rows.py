"""Decoding of rows of box, score and keypoints, against its plain twin and in all the layouts that networks answer."""

from __future__ import annotations

import time

import family_models
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import plain_decoders

import edgepose
from edgepose.decoding.rows import MAX_PEOPLE, MOST_OVERLAP, RowDecoder, decode_rows

ODD = [np.nan, np.inf, -np.inf, 0, 1e38, -1e38]


def decoder(**changes: object) -> RowDecoder:
    return RowDecoder(family_models.model(family_models.ROWS, **changes), (0,), 0.1)


def same(people: edgepose.decoding.DecodedPoses, expected: plain_decoders.People) -> None:
    assert len(people.confidence) == len(expected)
    for (confidence, points), own, scores, own_confidence in zip(
        expected, people.keypoints, people.scores, people.confidence, strict=True
    ):
        np.testing.assert_allclose(own_confidence, confidence, rtol=1e-6)
        np.testing.assert_allclose(np.column_stack([own, scores]), np.array(points, np.float32), rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.sampled_from([(5, 3), (6, 3), (5, 2)]), st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_rows_equal_the_plain_twin(seed, count, layout, centred, turned):
    random = np.random.default_rng(seed)
    first, values = layout
    types = 3
    table = random.uniform(0, 1, (count, first + values * types)).astype(np.float32)
    table[:, :4] *= 40
    table[:, first:] = np.round(table[:, first:], 1)
    table[:, 4] = np.round(table[:, 4], 1)  # some are equal
    odd = random.random(table.shape) < 0.04
    table[odd] = random.choice(ODD, odd.sum())
    given_table = np.ascontiguousarray(table.T).T if turned else table
    people = decode_rows(given_table, given_table[:, first:], types=types, are_centred=centred, min_score=0.1)
    with np.errstate(all="ignore"):
        same(people, plain_decoders.rows(table, types, first, values, centred, 0.1, MOST_OVERLAP))


PEOPLE = [family_models.person(40, 30) + np.array(shift, np.float32) for shift in ((0, 0), (30, 10))]


def table(**options: bool) -> np.ndarray:
    """Rows of both people, each twice and the worse one first, and of nobody."""
    rows = [family_models.row(points + shift, score, **options) for points in PEOPLE for shift, score in ((0.4, 0.5), (0, 0.8))]
    return np.stack([*rows, np.zeros_like(rows[0])])


LAYOUTS = {
    "corners": [table()[None]],
    "corners and class": [table(label=True)[None]],
    "columns": [table(centred=True).T[None]],
    "RTMO": [table()[None, :, :5], table()[None, :, 5:].reshape(1, 5, 17, 3)],
    "RTMO, the other way round": [table()[None, :, 5:].reshape(1, 5, 17, 3), table()[None, :, :5]],
    "keypoints without scores": [np.delete(table(), np.s_[7::3], axis=1)[None]],
}


@pytest.mark.parametrize("outputs", LAYOUTS.values(), ids=LAYOUTS)
def test_each_person_comes_once_whatever_the_layout(outputs):
    people = decoder()(outputs, (64, 64))
    np.testing.assert_allclose(people.confidence, [0.8, 0.8], rtol=1e-6)
    np.testing.assert_allclose(people.keypoints, PEOPLE, rtol=1e-5)
    np.testing.assert_allclose(people.scores, 0.9 if outputs[0].shape[-1] != 39 else 0.8, rtol=1e-6)


def test_rows_with_centred_boxes_say_so():
    people = decoder(boxes="centre")([table(centred=True)[None]], (64, 64))
    np.testing.assert_allclose(people.keypoints, PEOPLE, rtol=1e-5)


def test_suppression_in_the_graph_leaves_nothing_to_do():
    once = table()[[1, 3]][None]
    np.testing.assert_array_equal(decoder()([once], (64, 64)).keypoints, once[0, :, 5:].reshape(2, 17, 3)[..., :2])
    assert len(decoder()([once[:, :0]], (64, 64)).confidence) == 0


@pytest.mark.parametrize("skeleton", ["halpe26", {"name": "four", "keypoints": ["a", "b", "c", "d"]}])
def test_other_skeletons(skeleton):
    count = 26 if skeleton == "halpe26" else 4
    points = np.random.default_rng(0).uniform(5, 60, (count, 2)).astype(np.float32)
    people = decoder(skeleton=skeleton)([family_models.row(points, 0.7)[None, None]], (64, 64))
    np.testing.assert_allclose(people.keypoints[0], points, rtol=1e-5)


@pytest.mark.parametrize(
    "shapes",
    [[(1, 9, 55)], [(1, 83, 9)], [(2, 9, 56)], [(9, 56)], [(1, 1, 9, 56)], [(1, 9, 5), (1, 9, 16, 3)],
     [(1, 9, 5), (1, 8, 17, 3)], [(1, 9, 5), (1, 9)], [(1, 17, 16, 12)]],
)  # fmt: skip
def test_outputs_of_other_shapes_are_refused(shapes):
    message = r"mine answers \(.*; expected \(1, N, 56\).*the 17 keypoints of coco17.*mend skeleton or decoder"
    with pytest.raises(edgepose.ModelError, match=message):
        decoder()([np.zeros(shape, np.float32) for shape in shapes], (64, 64))


def test_three_outputs_are_refused():
    with pytest.raises(edgepose.ModelError, match="mine has 3 outputs; expected"):
        RowDecoder(family_models.model(family_models.ROWS), (0, 0, 0), 0.1)


def test_ten_thousand_rows_are_bounded():
    random = np.random.default_rng(0)
    hostile = random.uniform(0, 1, (1, 10_000, 56)).astype(np.float32)
    hostile[..., :2] = random.uniform(0, 1e6, (1, 10_000, 2))
    hostile[..., 2:4] = hostile[..., :2] + 1
    started = time.process_time()
    people = decoder()([hostile], (64, 64))
    assert len(people.confidence) == MAX_PEOPLE
    assert people.confidence.min() > 0.9  # the best are kept
    assert time.process_time() - started < 2  # a bound, and no measurement
