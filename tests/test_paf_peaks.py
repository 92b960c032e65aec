from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import plain_decoder

from edgepose.decoding.bicubic import axis_taps, block_weights
from edgepose.decoding.paf_peaks import MAX_PEAKS, find_peaks


def kernel(heatmap: np.ndarray, ratio: int = 4, radius: float = 0.0) -> np.ndarray:
    """Peaks (n, 5) of one map, without merging unless there is a radius."""
    peaks = np.empty((1, MAX_PEAKS, 5), np.float32)
    counts = np.empty(1, np.int64)
    find_peaks(heatmap[None].copy(), block_weights(ratio), 0.1, radius, peaks, counts)
    return peaks[0, : counts[0]]


def upsampled(heatmap: np.ndarray, ratio: int) -> np.ndarray:
    """The whole surface, its sums in the kernel's order, so that ties are the same ties."""
    weights = block_weights(ratio)[1:-1]  # (ratio, 5)
    for axis in (1, 0):
        cells = heatmap.shape[axis]
        padded = np.pad(heatmap, [(0, 0), (2, 2)] if axis else [(2, 2), (0, 0)], mode="edge")
        taps = [np.take(padded, np.arange(n, n + cells), axis) for n in range(5)]
        phases = [(((taps[0] * w[0] + taps[1] * w[1]) + taps[2] * w[2]) + taps[3] * w[3]) + taps[4] * w[4] for w in weights]
        heatmap = np.stack(phases, axis + 1).reshape((heatmap.shape[0], -1) if axis else (-1, heatmap.shape[1]))
    return heatmap


def twin(heatmap: np.ndarray, ratio: int = 4) -> set[tuple[int, int]]:
    """The same peaks on the whole upsampled map, in cells that no neighbour is more than twice as high as."""
    surface = np.pad(upsampled(heatmap, ratio), 1, constant_values=-np.inf)
    center = surface[1:-1, 1:-1]
    high = (center >= 0.1) & (center >= surface[1:-1, :-2]) & (center > surface[1:-1, 2:])
    high &= (center >= surface[:-2, 1:-1]) & (center > surface[2:, 1:-1])
    padded = np.pad(heatmap, 1, constant_values=-np.inf)
    around = np.max([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]], axis=0)
    eligible = (heatmap >= 0.05) & (around <= heatmap * np.float32(2))
    high &= np.kron(eligible, np.ones((ratio, ratio), bool))
    y, x = np.nonzero(high)
    return set(zip(x.tolist(), y.tolist(), strict=True))


@pytest.mark.parametrize("ratio", [1, 2, 3, 4, 8])
def test_tables_are_those_of_opencv(ratio):
    random = np.random.default_rng(ratio).random((9, 13)).astype(np.float32)
    expected = cv2.resize(random, (13 * ratio, 9 * ratio), interpolation=cv2.INTER_CUBIC)
    (columns, column_weights), (rows, row_weights) = axis_taps(13, ratio), axis_taps(9, ratio)
    taps_x, taps_y = columns.astype(int)[:, None] + np.arange(4), rows.astype(int)[:, None] + np.arange(4)
    got = np.einsum("ya,yxab,xb->yx", row_weights, random[taps_y[:, None, :, None], taps_x[None, :, None, :]], column_weights)
    np.testing.assert_allclose(got, expected, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 4, 5]), st.floats(0.3, 3))
def test_noise_equals_the_twin(seed, height, width, ratio, blur):
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    heatmap = cv2.GaussianBlur(noise, (0, 0), blur) - np.float32(0.2)
    expected = twin(heatmap, ratio)
    if len(expected) > MAX_PEAKS:
        return
    got = {(int(x), int(y)) for x, y, *_ in kernel(heatmap, ratio)}
    assert got == expected


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 29), st.floats(0, 19), st.floats(0.8, 2.5), st.floats(0.2, 1))
def test_a_gaussian_has_one_peak_where_it_is(x, y, sigma, height):
    rows, columns = np.mgrid[:20, :30].astype(np.float32)
    heatmap = (height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))).astype(np.float32)
    peaks = kernel(heatmap, radius=6)
    assert len(peaks) == 1
    refined = (peaks[0, 3:] + 0.5) / 4 - 0.5
    # Within two cells of the edge the surface is that of the repeated edge, and its top may lie on it.
    tolerance = 0.15 if 1.5 < x < 27.5 and 1.5 < y < 17.5 else 0.9
    assert np.abs(refined - (x, y)).max() < tolerance


def test_the_filter_costs_smooth_maps_no_peak():
    """The cells that are passed over hold no peak on maps like a network's: all of the surface's are found."""
    rows, columns = np.mgrid[:40, :60].astype(np.float32)
    random = np.random.default_rng(3)
    for _ in range(30):
        heatmap = np.zeros((40, 60), np.float32)
        for x, y, s in random.uniform((0, 0, 0.8), (60, 40, 2), (12, 3)):
            np.maximum(
                heatmap, 0.9 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * s * s)).astype(np.float32), out=heatmap
            )
        surface = np.pad(upsampled(heatmap, 4), 1, constant_values=-np.inf)
        center = surface[1:-1, 1:-1]
        high = (center >= 0.1) & (center >= surface[1:-1, :-2]) & (center > surface[1:-1, 2:])
        high &= (center >= surface[:-2, 1:-1]) & (center > surface[2:, 1:-1])
        assert len(kernel(heatmap)) == high.sum()


@pytest.mark.parametrize("name", ["00_000000133969", "01_000000208363", "07_000000085682"])
def test_the_filter_costs_real_maps_no_peak(shared, name):
    """A neighbour may be a third higher than a peak's cell; in the maps of a network it is hardly higher at all."""
    heatmaps = np.load(shared / "golden" / f"decode_{name}.npz")["heatmaps"][:18].astype(np.float32)
    for heatmap, peaks in zip(heatmaps, plain_decoder.find_peaks(plain_decoder.upsample(heatmaps, 4), 0), strict=True):
        places = {(int(x), int(y)) for x, y, _ in peaks}
        assert places <= {(int(x), int(y)) for x, y, *_ in kernel(heatmap)}
        padded = np.pad(heatmap, 1, constant_values=-np.inf)
        for x, y in places:
            row, column = y // 4 + 1, x // 4 + 1
            around = padded[[row - 1, row + 1, row, row], [column, column, column - 1, column + 1]]
            assert around.max() <= 1.11 * padded[row, column]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.8, 2), st.floats(0, 40))
def test_merging_equals_the_twin(seed, blur, radius):
    noise = np.random.default_rng(seed).random((20, 30)).astype(np.float32)
    heatmap = cv2.GaussianBlur(noise, (0, 0), blur)
    merged = kernel(heatmap, radius=radius)
    np.testing.assert_array_equal(merged[:, :3], plain_decoder.merge(kernel(heatmap)[:, :3], radius))


def test_merging_keeps_the_leftmost():
    heatmap = np.zeros((20, 30), np.float32)
    heatmap[10, 10], heatmap[10, 11], heatmap[10, 20] = 0.5, 0.5, 0.9
    heatmap[11, 11] = 0.55
    merged = kernel(heatmap, radius=8)
    assert len(merged) == 2
    assert merged[0, 0] == kernel(heatmap)[0, 0]


def test_of_too_many_peaks_the_strongest_stay():
    random = np.random.default_rng(1)
    heatmap = np.zeros((80, 80), np.float32)
    heatmap[2::4, 2::4] = random.uniform(0.2, 0.9, (20, 20)).astype(np.float32)
    strongest = np.sort(heatmap[2::4, 2::4].ravel())[-MAX_PEAKS:]
    peaks = kernel(heatmap)
    assert len(peaks) == MAX_PEAKS
    np.testing.assert_allclose(np.sort(peaks[:, 2]) / strongest, peaks[:, 2].max() / strongest.max(), rtol=1e-4)
    assert (np.diff(peaks[:, 0]) >= 0).all()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_plains_have_at_most_a_corner(value):
    assert len(kernel(np.full((12, 12), value, np.float32))) <= 1
