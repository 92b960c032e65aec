"""The decoder against the golden outputs of the reference, and against a plain NumPy twin that upsamples the whole maps."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import plain_decoder
from synthetic.scenes import make_scene

import edgepose
from edgepose import decode_poses
from edgepose.decoding import log_filter
from edgepose.decoding.paf_grouping import MAX_PEOPLE
from edgepose.decoding.paf_peaks import MAX_PEAKS

GOLDEN = ["00_000000133969", "01_000000208363", "06_000000065350", "07_000000085682", "12_000000500565", "13_000000504074"]


def compare(keypoints: np.ndarray, poses: np.ndarray, ratio: int = 4) -> list[tuple[float, int]]:
    """For each of `poses` (N, 18, 3, upsampled pixels): mean distance to the nearest decoded person, and keypoints that only
    one of the two has."""
    pixels = (keypoints + 0.5) * ratio - 0.5
    rows, free = [], list(range(len(pixels)))
    for pose in poses:
        distances = np.linalg.norm(pixels[free] - pose[:, :2], axis=2)  # (n, 18), NaN where either is missing
        unlike = (np.isnan(pixels[free, :, 0]) != np.isnan(pose[:, 0])).sum(axis=1)
        cost = np.nansum(distances, axis=1) + 100 * unlike
        best = int(np.argmin(cost))
        rows.append((float(np.nanmean(distances[best])), int(unlike[best])))
        free.pop(best)
    return rows


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_people_are_those_of_the_reference(shared, name, dtype):
    """Table of differences over all six files: none. 594 keypoints, each found or missing alike, at the same pixel."""
    golden = np.load(shared / "golden" / f"decode_{name}.npz")
    decoded = decode_poses(golden["heatmaps"].astype(dtype), golden["pafs"].astype(dtype))
    assert len(decoded.keypoints) == len(golden["poses"])
    rows = compare(decoded.keypoints, golden["poses"])
    assert max(distance for distance, _ in rows) < 1e-3
    assert sum(unlike for _, unlike in rows) == 0
    np.testing.assert_allclose(
        np.sort(decoded.scores[decoded.scores > 0]),
        np.sort(golden["poses"][..., 2][~np.isnan(golden["poses"][..., 2])]),
        atol=2e-3,
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_refined_positions_stay_within_their_pixel(shared, name):
    golden = np.load(shared / "golden" / f"decode_{name}.npz")
    plain = decode_poses(golden["heatmaps"], golden["pafs"])
    refined = decode_poses(golden["heatmaps"], golden["pafs"], refine=True)
    shift = np.abs(refined.keypoints - plain.keypoints) * 4
    assert np.nanmean(shift) > 0.1
    assert np.nanmax(shift) <= 0.5 + 1e-3
    np.testing.assert_array_equal(refined.scores, plain.scores)


@pytest.mark.parametrize("people", [0, 1, 5, 20, 40])
@pytest.mark.parametrize("ratio", [2, 4])
def test_scenes_equal_the_plain_twin(people, ratio):
    heatmaps, pafs = make_scene(max(people, 1), 46, 82, seed=people)
    if not people:
        heatmaps = heatmaps * np.float32(0.05)
    poses, _ = plain_decoder.decode(heatmaps, pafs, ratio)
    decoded = decode_poses(heatmaps, pafs, upsample_ratio=ratio)
    assert len(decoded.keypoints) == len(poses)
    rows = compare(decoded.keypoints, poses, ratio)
    assert all(distance < 1e-3 and unlike == 0 for distance, unlike in rows)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 25), st.integers(20, 50), st.integers(20, 60), st.integers(0, 2**31), st.sampled_from([2, 4]))
def test_random_scenes_equal_the_plain_twin(people, height, width, seed, ratio):
    heatmaps, pafs = make_scene(people, height, width, seed)
    poses, _ = plain_decoder.decode(heatmaps, pafs, ratio)
    decoded = decode_poses(heatmaps, pafs, upsample_ratio=ratio)
    assert len(decoded.keypoints) == len(poses)
    assert all(distance < 1e-3 and unlike == 0 for distance, unlike in compare(decoded.keypoints, poses, ratio))


def test_people_come_best_first_and_scores_are_in_range():
    decoded = decode_poses(*make_scene(10, 46, 82))
    assert (np.diff(decoded.confidence) <= 0).all()
    assert ((decoded.scores >= 0) & (decoded.scores <= 1)).all()
    np.testing.assert_array_equal(np.isnan(decoded.keypoints).any(axis=2), decoded.scores == 0)
    assert {array.dtype for array in decoded} == {np.dtype(np.float32)}


def test_a_peak_in_the_middle_of_a_cell_is_found():
    """Its two upsampled pixels side by side are equally high, so neither is above the other."""
    heatmaps, pafs = make_scene(1, 46, 46)
    rows, columns = np.mgrid[:46, :46]
    heatmaps[:] = 0
    for k, (y, x) in {0: (10, 20), 1: (16, 20), 2: (16, 14)}.items():
        heatmaps[k] = 0.8 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2)
    pafs[:] = 0
    pafs[12, 14:19, 12:22], pafs[29, 9:18, 18:23] = -1, -1  # neck to r_shoulder: left; neck to nose: up
    decoded = decode_poses(heatmaps, pafs, refine=True)
    assert len(decoded.keypoints) == 1
    np.testing.assert_allclose(decoded.keypoints[0, :3], [(20, 10), (20, 16), (14, 16)], atol=0.15)


def test_input_of_any_layout_is_read_and_never_written():
    heatmaps, pafs = make_scene(5, 32, 57)
    expected = decode_poses(heatmaps, pafs)
    for h, p in [
        (np.asfortranarray(heatmaps), np.asfortranarray(pafs)),
        (np.repeat(heatmaps, 2, axis=2)[:, :, ::2], np.repeat(pafs, 2, axis=1)[:, ::2]),
        (heatmaps.transpose(1, 2, 0).copy().transpose(2, 0, 1), pafs),
        (heatmaps[:18], pafs),
    ]:
        h.flags.writeable = p.flags.writeable = False
        decoded = decode_poses(h, p)
        np.testing.assert_array_equal(decoded.keypoints, expected.keypoints)


def test_the_people_in_noise_are_bounded_and_logged(caplog, monkeypatch):
    monkeypatch.setattr(log_filter, "PAUSE_S", 0)
    random = np.random.default_rng(0)
    with caplog.at_level(logging.WARNING):
        decoded = decode_poses(
            random.random((19, 90, 160), np.float32), random.standard_normal((38, 90, 160)).astype(np.float32)
        )
    assert len(decoded.keypoints) <= MAX_PEOPLE
    assert f"more than {MAX_PEAKS} peaks" in caplog.text


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_values_hurt_only_their_surroundings(bad):
    heatmaps, pafs = make_scene(3, 46, 82)
    heatmaps[:, :4, :4] = bad
    pafs[:, -3:, -3:] = bad
    decoded = decode_poses(heatmaps, pafs)
    assert np.isfinite(decoded.scores).all()
    assert ((decoded.scores >= 0) & (decoded.scores <= 1)).all()
    assert len(decode_poses(np.full_like(heatmaps, bad), np.full_like(pafs, bad)).keypoints) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3)])
def test_maps_of_one_cell_are_decoded(size):
    heatmaps, pafs = np.ones((19, *size), np.float32), np.ones((38, *size), np.float32)
    assert decode_poses(heatmaps, pafs).keypoints.shape[1:] == (18, 2)


BAD = [
    ("channels", np.zeros((17, 4, 4), np.float32), np.zeros((38, 4, 4), np.float32), "18 or 19"),
    ("pafs", np.zeros((19, 4, 4), np.float32), np.zeros((19, 4, 4), np.float32), r"expected \(38, h, w\)"),
    ("sizes", np.zeros((19, 4, 4), np.float32), np.zeros((38, 4, 5), np.float32), "the same size"),
    ("type", np.zeros((19, 4, 4), np.uint8), np.zeros((38, 4, 4), np.float32), "uint8; expected a float32 or float16"),
    ("batch", np.zeros((1, 19, 4, 4), np.float32), np.zeros((38, 4, 4), np.float32), "shape"),
    ("empty", np.zeros((19, 0, 4), np.float32), np.zeros((38, 0, 4), np.float32), "shape"),
    ("list", [[1.0]], np.zeros((38, 4, 4), np.float32), "list; expected"),
]


@pytest.mark.parametrize(("heatmaps", "pafs", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_wrong_maps_are_refused(heatmaps, pafs, message):
    with pytest.raises(edgepose.InputError, match=message) as caught:
        decode_poses(heatmaps, pafs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ratio", [0, -1, 17, 2.5])
def test_a_wrong_ratio_is_refused(ratio):
    with pytest.raises(edgepose.InputError, match="upsample_ratio"):
        decode_poses(np.zeros((19, 4, 4), np.float32), np.zeros((38, 4, 4), np.float32), upsample_ratio=ratio)


@pytest.mark.parametrize("threshold", [0, -0.1, float("nan"), float("inf")])
def test_a_wrong_threshold_is_refused(threshold):
    with pytest.raises(edgepose.InputError, match="peak_threshold is"):
        decode_poses(np.zeros((19, 4, 4), np.float32), np.zeros((38, 4, 4), np.float32), peak_threshold=threshold)


def test_a_higher_threshold_finds_fewer_keypoints():
    heatmaps, pafs = make_scene(5, 46, 82)
    low, high = (decode_poses(heatmaps, pafs, peak_threshold=threshold).scores for threshold in (0.1, 0.7))
    assert 0 < (high > 0).sum() < (low > 0).sum()
    assert high[high > 0].min() >= 0.7
