"""The decoder of heatmaps and tags: the reference's answers, the plain twin's, and maps that no network should make."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from synthetic import plain_tags
from synthetic.tagged_scenes import make_scene

from edgepose.arrays import Float
from edgepose.decoding import log_filter
from edgepose.decoding import tags as decoder
from edgepose.decoding.tag_grouping import MAX_CANDIDATES
from edgepose.decoding.tags import decode_tags
from edgepose.errors import InputError


def assert_same(heatmaps: Float, tags: Float, poses: Float, scores: Float, **options: Any) -> None:
    """`decode_tags` gives poses (N, 17, 3) and scores (N,) of the twin or the reference, best first."""
    decoded = decode_tags(heatmaps, tags, **options)
    order = np.argsort(-np.float32(scores), kind="stable")
    assert len(decoded.confidence) == len(poses)
    found = poses[order][..., 2] > 0
    assert np.array_equal(decoded.scores > 0, found)
    assert np.array_equal(np.isnan(decoded.keypoints).any(axis=2), ~found)
    # The cells of the reference begin at whole numbers, where ours have their middle.
    np.testing.assert_allclose(decoded.keypoints[found] + 0.5, poses[order][found][:, :2], atol=0.01)
    np.testing.assert_allclose(decoded.scores, np.minimum(poses[order][..., 2], 1), atol=1e-3)
    np.testing.assert_allclose(decoded.confidence, np.minimum(scores[order], 1), atol=1e-3)


def test_people_are_those_of_the_reference(shared):
    files = sorted((shared / "golden").glob("tags_*.npz"))
    assert len(files) >= 4
    for file in files:
        golden = np.load(file)
        assert_same(golden["heatmaps"], golden["tags"], golden["poses"], golden["scores"])
        twin = plain_tags.decode(golden["heatmaps"].astype(np.float32), golden["tags"].astype(np.float32))
        np.testing.assert_allclose(twin[0], golden["poses"], atol=1e-3)


@pytest.mark.parametrize("people", [1, 2, 5, 20, 40])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scenes_of_people_are_those_of_the_twin(people, seed):
    heatmaps, tags = make_scene(people, 96, 128, seed)
    poses, scores = plain_tags.decode(heatmaps, tags)
    assert len(poses) >= people
    assert_same(heatmaps, tags, poses, scores)


@pytest.mark.parametrize("seed", range(4))
def test_two_tags_a_cell_equal_the_twin(seed):
    heatmaps, tags = make_scene(6, 64, 80, seed)
    random = np.random.default_rng(seed)
    both = np.stack([tags, 1.5 * tags + random.normal(0, 0.1, tags.shape)]).astype(np.float32)
    assert_same(heatmaps, both, *plain_tags.decode(heatmaps, both))


def test_two_tags_tell_people_apart_whom_one_does_not():
    heatmaps = np.zeros((17, 8, 16), np.float32)
    heatmaps[:, 4, 4] = heatmaps[:, 4, 12] = 0.8
    tags = np.zeros((2, 17, 8, 16), np.float32)
    tags[0, 1:, :, 8:] = 0.3
    tags[1, :, :, 8:] = 3
    tags[0, 0, :, 8:] = 0.4  # of the nose alone, by which people are told apart first
    apart = decode_tags(heatmaps, tags)
    assert len(apart.keypoints) == 2
    assert sorted(np.ptp(person[:, 0]) for person in apart.keypoints) == [0, 0]


def test_equal_tags_are_one_person_as_in_the_published_code():
    heatmaps = np.zeros((17, 8, 30), np.float32)
    tags = np.zeros_like(heatmaps)
    heatmaps[0, 4, 4], heatmaps[0, 4, 14] = 0.9, 0.8
    poses, scores = plain_tags.decode(heatmaps, tags)
    assert poses[:, 0, 2].tolist() == [np.float32(0.8)]  # the lower of two noses comes last
    assert_same(heatmaps, tags, poses, scores)

    # Somebody drifts away from the tag that he began with, until the right ear that has it is not for him, but a lower one.
    # The first still counts as his, and then gives way; his tags are forgotten with it, after all distances were taken.
    for k, tag in ((1, 0.95), (2, 1.4), (3, 1.7)):
        heatmaps[k, 4, 4], tags[k] = 0.9, tag
    heatmaps[4, 4, 4], heatmaps[4, 4, 14] = 0.9, 0.5
    tags[4, :, 10:] = 1.3
    poses, scores = plain_tags.decode(heatmaps, tags)
    assert len(poses) == 1
    assert poses[0, 4, 2] == 0.5
    assert_same(heatmaps, tags, poses, scores)


# Few heights and few rounded distances, so that there are ties; but no two keypoints alike in all: either could go first.
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_maps_are_those_of_the_twin(data):
    shape = (17, data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)))
    steps = data.draw(st.sampled_from([2, 5, 64]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    heatmaps = (random.integers(-1, steps + 1, shape) / steps).astype(np.float32)
    heatmaps *= random.random(shape) < data.draw(st.sampled_from([0.05, 0.3, 1.0]))
    tags = (random.integers(0, data.draw(st.sampled_from([2, 20, 200])), shape) / 8).astype(np.float32)
    tags += random.random(shape, np.float32) / 16
    spots = data.draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in shape)), max_size=6))
    for spot in spots:
        heatmaps[spot] = data.draw(st.sampled_from([1.0, 0.1, 3.0, -2.0]))
    twin = plain_tags.decode(heatmaps, tags)
    decoded = decode_tags(heatmaps, tags)
    assert len(decoded.keypoints) == len(twin[0])
    # Sorted, as several people may have the same confidence.
    ours = np.dstack([np.nan_to_num(decoded.keypoints + 0.5), decoded.scores])
    theirs = np.concatenate([twin[0][..., :2], np.minimum(twin[0][..., 2:], 1)], axis=2)
    for k in range(17):
        a, b = (np.array(sorted(people[:, k].tolist())).reshape(-1, 3) for people in (ours, theirs))
        np.testing.assert_allclose(a, b, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, (17, 5, 6), elements=st.floats(width=32)),
    arrays(np.float32, (17, 5, 6), elements=st.floats(width=32)),
)
def test_any_numbers_at_all_give_sound_people(heatmaps, tags):
    decoded = decode_tags(heatmaps, tags)
    found = decoded.scores > 0
    assert np.isfinite(decoded.keypoints[found]).all()
    assert np.isnan(decoded.keypoints[~found]).all()
    assert ((decoded.scores >= 0) & (decoded.scores <= 1)).all()
    assert ((decoded.confidence >= 0) & (decoded.confidence <= 1)).all()


@pytest.mark.parametrize("which", ["heatmaps", "tags"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_maps_without_numbers_have_nobody(which, value):
    maps = {"heatmaps": np.full((17, 9, 9), 0.5, np.float32), "tags": np.zeros((17, 9, 9), np.float32)}
    maps[which][:] = value
    assert len(decode_tags(**maps).keypoints) == 0


def test_nan_spoils_the_keypoint_it_lies_on_alone():
    heatmaps = np.zeros((17, 12, 12), np.float32)
    heatmaps[:, 3, 3] = 0.9
    heatmaps[5, 3, 3] = np.nan
    decoded = decode_tags(heatmaps, np.zeros_like(heatmaps))
    assert np.flatnonzero(decoded.scores[0] == 0).tolist() == [5]


def test_maps_of_one_cell_are_decoded():
    heatmaps = np.full((17, 1, 1), 0.5, np.float32)
    decoded = decode_tags(heatmaps, np.zeros_like(heatmaps))
    np.testing.assert_array_equal(decoded.keypoints, np.full((1, 17, 2), -0.25))
    np.testing.assert_array_equal(decoded.confidence, [0.5])


def test_maps_full_of_peaks_are_bounded_and_logged(caplog, monkeypatch):
    monkeypatch.setattr(log_filter, "PAUSE_S", 0)
    heatmaps = np.zeros((17, 60, 80), np.float32)
    heatmaps[:, ::3, ::3] = np.linspace(0.2, 0.9, 20 * 27).reshape(20, 27)
    tags = np.random.default_rng(0).uniform(0, 1000, heatmaps.shape).astype(np.float32)
    with caplog.at_level(logging.WARNING):
        decoded = decode_tags(heatmaps, tags)
    assert "17 keypoint types with more than 30 peaks" in caplog.text
    assert 0 < len(decoded.keypoints) <= 17 * MAX_CANDIDATES
    assert decoded.confidence.max() > 0.02  # the highest peaks are those that are kept


def test_the_highest_peaks_are_kept():
    heatmaps = np.zeros((17, 7, 9 * MAX_CANDIDATES), np.float32)
    heatmaps[0, 3, 4::6] = np.linspace(0.2, 0.9, len(range(4, 9 * MAX_CANDIDATES, 6)))
    tags = np.arange(heatmaps[0].size, dtype=np.float32).reshape(1, 7, -1).repeat(17, axis=0)
    decoded = decode_tags(heatmaps, tags)
    assert len(decoded.scores) == MAX_CANDIDATES
    np.testing.assert_array_equal(decoded.scores[:, 0], np.sort(heatmaps[0, 3, 4::6])[::-1][:MAX_CANDIDATES])


def test_thresholds_and_least_keypoints_leave_out_the_rest():
    heatmaps = np.zeros((17, 9, 20), np.float32)
    heatmaps[:5, 4, 4] = 0.9
    heatmaps[5, 4, 4] = 0.08  # too low to be joined, but filled in
    heatmaps[0, 4, 15] = 0.6  # a lonely peak of somebody else
    tags = np.zeros_like(heatmaps)
    tags[..., 10:] = 5
    assert [(scores > 0).sum() for scores in decode_tags(heatmaps, tags).scores] == [6, 1]
    (scores,) = decode_tags(heatmaps, tags, min_keypoints=2).scores
    assert (scores > 0).sum() == 6
    (scores,) = decode_tags(heatmaps, tags, min_keypoints=2, fill_threshold=0.2).scores
    assert (scores > 0).sum() == 5
    assert len(decode_tags(heatmaps, tags, peak_threshold=0.95).scores) == 0


def test_warm_up_calls_every_kernel(monkeypatch):
    called = []
    for name in ("assign", "join", "fill_missing"):
        kernel = getattr(decoder, name)
        monkeypatch.setattr(decoder, name, lambda *args, name=name, kernel=kernel: called.append(name) or kernel(*args))
    decoder.warm_up()
    assert {"assign", "join", "fill_missing"} <= set(called)


def test_maps_are_left_alone_and_need_not_be_contiguous():
    heatmaps, tags = make_scene(2, 40, 50)
    expected = decode_tags(heatmaps, tags)
    wide = np.zeros((17, 40, 100, 2), np.float32)
    wide[:, :, ::2, 0], wide[:, :, ::2, 1] = heatmaps, tags
    wide.flags.writeable = False
    decoded = decode_tags(wide[:, :, ::2, 0], wide[:, :, ::2, 1])
    np.testing.assert_array_equal(decoded.keypoints, expected.keypoints)


GOOD = np.zeros((17, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("heatmaps", "tags", "options", "message"),
    [
        pytest.param(GOOD[:16], GOOD[:16], {}, r"heatmaps have shape \(16, 4, 5\); expected \(17, h, w\)", id="channels"),
        pytest.param(GOOD, GOOD[:1], {}, r"tags have shape \(1, 4, 5\); expected \(17, 4, 5\)", id="tag channels"),
        pytest.param(GOOD, GOOD[:, :3], {}, r"tags have shape \(17, 3, 5\)", id="tags of another size"),
        pytest.param(GOOD, GOOD[None][:0], {}, r"tags have shape \(0, 17, 4, 5\)", id="no tags"),
        pytest.param(GOOD[:, :0], GOOD[:, :0], {}, r"heatmaps have shape \(17, 0, 5\)", id="empty"),
        pytest.param(GOOD.astype(int), GOOD, {}, "heatmaps are int64; expected a float32", id="type"),
        pytest.param(GOOD, None, {}, "tags are NoneType; expected a float32", id="None"),
        pytest.param(GOOD, GOOD, {"peak_threshold": 0}, "peak_threshold is 0; expected", id="threshold"),
        pytest.param(GOOD, GOOD, {"peak_threshold": np.nan}, "peak_threshold is nan; expected", id="NaN threshold"),
        pytest.param(GOOD, GOOD, {"fill_threshold": -1}, "fill_threshold is -1; expected 0 or more", id="fill threshold"),
    ],
)
def test_wrong_maps_and_thresholds_are_refused(heatmaps, tags, options, message):
    with pytest.raises(InputError, match=message):
        decode_tags(heatmaps, tags, **options)
