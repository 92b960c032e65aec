"""Decoding of top-down heatmaps against plain NumPy and OpenCV twins of the published rules, and against known places."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgepose
from edgepose.decoding.heatmaps import decode_heatmaps, merge_mirrored
from edgepose.skeleton import COCO17, OPENPOSE18

SIZES = [(64, 48, 2.0), (96, 72, 3.0)]


def gaussians(places: np.ndarray, height: int, width: int, sigma: float) -> np.ndarray:
    """Maps (..., h, w) with a gaussian at each of `places` (..., 2)."""
    y, x = np.mgrid[:height, :width]
    squares = (x - places[..., 0, None, None]) ** 2 + (y - places[..., 1, None, None]) ** 2
    return np.exp(-squares / (2 * sigma**2)).astype(np.float32)


def plain_quarter(cells: np.ndarray) -> tuple[float, float]:
    y, x = np.unravel_index(cells.argmax(), cells.shape)
    height, width = cells.shape
    if 1 < x < width - 1 and 1 < y < height - 1:
        return (
            float(x + 0.25 * np.sign(cells[y, x + 1] - cells[y, x - 1])),
            float(y + 0.25 * np.sign(cells[y + 1, x] - cells[y - 1, x])),
        )
    return float(x), float(y)


def plain_dark(cells: np.ndarray, taps: int, sigma: float) -> np.ndarray:
    """The published steps: blur the whole map on zeros, logarithm, and one step of Newton's by the derivatives."""
    y, x = np.unravel_index(cells.argmax(), cells.shape)
    height, width = cells.shape
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return np.array([x, y], float)
    padded = cv2.copyMakeBorder(cells.astype(np.float64), taps, taps, taps, taps, cv2.BORDER_CONSTANT, value=0)
    blurred = cv2.GaussianBlur(padded, (taps, taps), sigma)[taps:-taps, taps:-taps]
    m = np.log(np.maximum(blurred * cells.max() / blurred.max(), 1e-10))
    gradient = 0.5 * np.array([m[y, x + 1] - m[y, x - 1], m[y + 1, x] - m[y - 1, x]])
    dxx = 0.25 * (m[y, x + 2] - 2 * m[y, x] + m[y, x - 2])
    dyy = 0.25 * (m[y + 2, x] - 2 * m[y, x] + m[y - 2, x])
    dxy = 0.25 * (m[y + 1, x + 1] - m[y - 1, x + 1] - m[y + 1, x - 1] + m[y - 1, x - 1])
    return np.array([x, y]) - np.linalg.solve(np.array([[dxx, dxy], [dxy, dyy]]), gradient)


@pytest.mark.parametrize(("height", "width", "sigma"), SIZES, ids=["256x192", "384x288"])
def test_keypoints_lie_between_cells(height, width, sigma):
    random = np.random.default_rng(1)
    rim = 3 * sigma  # where the blur leaves the map, DARK is off
    places = random.uniform((rim, rim), (width - 1 - rim, height - 1 - rim), (20, 17, 2))
    maps = gaussians(places, height, width, sigma) * np.float32(0.8)
    quarter, scores = decode_heatmaps(maps)
    dark, _ = decode_heatmaps(maps, refinement="dark")
    assert np.abs(quarter - places).max() <= 0.25 + 1e-4
    assert np.abs(dark - places).max() <= 0.05
    assert (scores > 0.7).all()
    assert (scores <= 0.8).all()


@pytest.mark.parametrize("refinement", ["quarter", "dark"])
def test_noise_equals_the_plain_twins(refinement):
    random = np.random.default_rng(2)
    places = random.uniform((0, 0), (47, 63), (6, 17, 2))
    maps = gaussians(places, 64, 48, 2.0) + random.normal(0, 0.03, (6, 17, 64, 48)).astype(np.float32)
    points, scores = decode_heatmaps(maps, refinement=refinement)
    plain = [plain_quarter(m) if refinement == "quarter" else plain_dark(m, 11, 2.0) for m in maps.reshape(-1, 64, 48)]
    np.testing.assert_allclose(points.reshape(-1, 2), plain, atol=2e-3)
    np.testing.assert_allclose(scores, np.minimum(maps.max(axis=(2, 3)), 1))


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.sampled_from(["quarter", "dark"]))
@settings(max_examples=60, deadline=None)
def test_any_map_gives_a_place_on_it_or_none(seed, height, width, refinement):
    random = np.random.default_rng(seed)
    maps = random.normal(0, 1, (2, 3, height, width)).astype(np.float32)
    maps[random.random(maps.shape) < 0.2] = random.choice([np.nan, -np.nan, np.inf, -np.inf, 0, 5])
    before = maps.copy()
    points, scores = decode_heatmaps(maps, refinement=refinement)
    np.testing.assert_array_equal(maps, before)
    found = scores > 0
    assert np.array_equal(np.isnan(points).all(axis=2), ~found)
    assert ((scores >= 0) & (scores <= 1)).all()
    top = np.where(np.isnan(maps), -np.inf, maps).max(axis=(2, 3))
    assert np.array_equal(found, top > 0)
    assert (np.abs(points[found] - (np.array([width, height]) - 1) / 2) <= np.array([width, height]) / 2 + 2).all()


@pytest.mark.parametrize("refinement", ["quarter", "dark"])
@pytest.mark.parametrize("place", [(0, 0), (47, 63), (0, 63), (1, 30), (46, 30), (20, 1)])
def test_a_keypoint_on_the_rim_is_the_cell_itself(place, refinement):
    maps = np.zeros((1, 1, 64, 48), np.float32)
    maps[0, 0, place[1], place[0]] = 0.5
    points, scores = decode_heatmaps(maps, refinement=refinement)
    assert (tuple(points[0, 0]), scores[0, 0]) == (place, 0.5)


def test_of_equal_cells_the_first_is_the_keypoint():
    maps = np.full((1, 1, 16, 12), 0.3, np.float32)
    assert tuple(decode_heatmaps(maps)[0][0, 0]) == (0, 0)
    assert tuple(decode_heatmaps(maps, refinement="dark")[0][0, 0]) == (0, 0)


def test_maps_of_any_memory_layout_are_read():
    maps = gaussians(np.random.default_rng(3).uniform(8, 30, (2, 3, 2)), 64, 48, 2.0)
    strided = np.asfortranarray(maps)
    np.testing.assert_array_equal(decode_heatmaps(strided)[0], decode_heatmaps(maps)[0])
    np.testing.assert_array_equal(decode_heatmaps(maps[:0])[0], np.empty((0, 3, 2)))


def test_flip_test_equals_the_plain_steps():
    random = np.random.default_rng(4)
    maps, mirrored = random.normal(0, 1, (2, 3, 17, 16, 12)).astype(np.float32)
    back = mirrored[..., ::-1][:, list(COCO17.flip)].copy()
    back[..., 1:] = back[..., :-1].copy()
    np.testing.assert_allclose(merge_mirrored(maps, mirrored, COCO17), (maps + back) * 0.5, atol=1e-6)


def test_a_mirrored_person_comes_back_to_the_same_place():
    random = np.random.default_rng(5)
    places = random.uniform((10, 10), (38, 54), (4, 17, 2))
    # In the mirrored crop the pixel u is 191 - u, so the cell c is 47.75 - c.
    mirrored_places = np.stack([47.75 - places[..., 0], places[..., 1]], axis=2)[:, list(COCO17.flip)]
    merged = merge_mirrored(gaussians(places, 64, 48, 2.0), gaussians(mirrored_places, 64, 48, 2.0), COCO17)
    points, _ = decode_heatmaps(merged, refinement="dark")
    # The shift by a whole cell is a quarter of a cell too far, half of which is left in the mean.
    np.testing.assert_allclose(points - places, np.broadcast_to([0.125, 0], places.shape), atol=0.02)


@pytest.mark.parametrize("shape", [(17, 64, 48), (1, 17, 0, 48), (1, 17, 64, 0), (4,)])
def test_arrays_that_are_no_heatmaps_are_refused(shape):
    with pytest.raises(edgepose.InputError, match=r"expected \(B, K, h, w\)"):
        decode_heatmaps(np.zeros(shape, np.float32))


def test_mirrored_maps_of_another_shape_are_refused():
    maps = np.zeros((1, 17, 8, 8), np.float32)
    with pytest.raises(edgepose.InputError, match="refinement is 'third'; expected 'quarter' or 'dark'"):
        decode_heatmaps(maps, refinement="third")
    for mirrored, skeleton in ((maps[:, :, 1:], COCO17), (maps, OPENPOSE18)):
        with pytest.raises(edgepose.InputError, match="h, w\\) twice"):
            merge_mirrored(maps, mirrored, skeleton)
