"""A plain NumPy and SciPy decoder of heatmaps and tags: the twin of `edgepose.decoding.tags`, by the rules of HigherHRNet.

It pools and sorts whole maps, as the published code does. tests/test_tags.py holds the kernels against it, and
benchmarks/tags.py measures both.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.optimize import linear_sum_assignment

from edgepose.arrays import Float

ORDER = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16)
THRESHOLD = 0.1
TAG_THRESHOLD = 1.0
CANDIDATES = 30
LATER_COST, NEARER_COST = 1e-7, 1e-9  # decide among people whose distances round to the same


def decode(heatmaps: Float, tags: Float, threshold: float = THRESHOLD, fill: float = 0.0) -> tuple[Float, Float]:
    """People in heatmaps (17, h, w) and tags (17, h, w) or (D, 17, h, w), in the order in which they were begun.

    Returns:
        Poses (N, 17, 3): x, y in cells, whose first corner is at whole numbers, and height; zeros where missing. Scores (N,).
    """
    tags = tags if tags.ndim == 4 else tags[None]
    poses, people_tags = match(heatmaps, tags, *find_peaks(heatmaps, tags, threshold))
    scores = poses[:, :, 2].mean(axis=1)
    for pose, own_tags in zip(poses, people_tags, strict=True):
        # The published code looks for all of them, too, and then keeps those that are missing.
        found = [refine(heatmaps[k], tags[:, k], own_tags, fill) for k in range(17)]
        for k in range(17):
            if pose[k, 2]:
                pose[k, :2] = adjust(heatmaps[k], *pose[k, :2].astype(int))
            else:
                pose[k] = found[k]
    return poses, scores


def find_peaks(heatmaps: Float, tags: Float, threshold: float) -> tuple[list[Float], list[Float]]:
    """Of each type the highest maxima (n, 3) x, y, height, and their tags (n, D)."""
    with np.errstate(invalid="ignore"):
        pooled = np.stack([maximum_filter(heatmap, 5, mode="nearest") for heatmap in heatmaps])
        candidates = np.where((pooled == heatmaps) & (heatmaps > threshold), heatmaps, 0).reshape(17, -1)
    peaks, peak_tags = [], []
    for k in range(17):
        places = np.argsort(candidates[k], kind="stable")[::-1][:CANDIDATES]  # of equals the last first
        places = places[candidates[k, places] > 0]
        y, x = np.divmod(places, heatmaps.shape[2])
        peaks.append(np.column_stack([x, y, heatmaps[k, y, x]]).astype(np.float32))
        peak_tags.append(tags[:, k, y, x].T)
    return peaks, peak_tags


def match(heatmaps: Float, tags: Float, peaks: list[Float], peak_tags: list[Float]) -> tuple[Float, list[Float]]:
    """Poses (N, 17, 3) as yet without the missing keypoints, and the tags (n, D) of each person's keypoints."""
    people: dict[float, Float] = {}
    known: dict[float, list[Float]] = {}
    for k in ORDER:
        if len(peaks[k]) == 0:
            continue
        keys = list(people)[:CANDIDATES]
        partner = {}
        if keys:
            means = np.stack([np.mean(known[key], axis=0, dtype=np.float64) for key in keys])
            distance = np.sqrt(np.square(peak_tags[k][:, None] - means).sum(axis=2))
            cost = np.round(distance) * 100 - peaks[k][:, 2:] + LATER_COST * np.arange(len(keys)) + NEARER_COST * distance**2
            pairs = zip(*linear_sum_assignment(cost), strict=True)
            partner = {row: keys[column] for row, column in pairs if distance[row, column] < TAG_THRESHOLD}
        for row, (peak, tag) in enumerate(zip(peaks[k], peak_tags[k], strict=True)):
            key = partner.get(row, float(tag[0]))
            if row in partner:
                known[key].append(tag)
            else:
                known[key] = [tag]
                people.setdefault(key, np.zeros((17, 3), np.float32))
            people[key][k] = peak
    poses = np.array(list(people.values()), np.float32).reshape(-1, 17, 3)
    return poses, [np.stack([tags[:, k, int(p[k, 1]), int(p[k, 0])] for k in range(17) if p[k, 2]]) for p in poses]


def adjust(heatmap: Float, x: int, y: int) -> tuple[float, float]:
    """A quarter of a cell from the middle of a cell towards the higher neighbours."""
    height, width = heatmap.shape
    right = heatmap[y, min(x + 1, width - 1)] > heatmap[y, max(x - 1, 0)]
    down = heatmap[min(y + 1, height - 1), x] > heatmap[max(y - 1, 0), x]
    return x + (0.75 if right else 0.25), y + (0.75 if down else 0.25)


def refine(heatmap: Float, tags: Float, own_tags: Float, least: float) -> tuple[float, float, float]:
    """x, y, height of the best place for a missing keypoint of a person with `own_tags` (n, D); zeros for none."""
    mean = np.asarray(np.mean(own_tags, axis=0, dtype=np.float64), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        value = heatmap - np.round(np.sqrt(np.square(tags - mean[:, None, None]).sum(axis=0)))
    value = np.where(np.isnan(value), -np.inf, value)
    y, x = np.unravel_index(np.argmax(value), value.shape)
    if value[y, x] == -np.inf or not heatmap[y, x] > least:
        return 0, 0, 0
    return (*adjust(heatmap, int(x), int(y)), float(heatmap[y, x]))


def merge(coarse: Float, fine: Float) -> Float:
    """Heatmaps and tags of a coarse output at twice the resolution (bilinear), the heatmaps as the mean with finer ones."""
    doubled = coarse
    for axis in (1, 2):
        padded = np.take(doubled, np.clip(np.arange(-1, doubled.shape[axis] + 1), 0, doubled.shape[axis] - 1), axis=axis)
        before, here, behind = (np.take(padded, np.arange(doubled.shape[axis]) + n, axis=axis) for n in range(3))
        even, odd = 0.75 * here + 0.25 * before, 0.75 * here + 0.25 * behind
        shape = list(doubled.shape)
        shape[axis] *= 2
        doubled = np.stack([even, odd], axis=axis + 1).reshape(shape)
    return np.concatenate([(doubled[: len(fine)] + fine) / 2, doubled[len(fine) :]]).astype(np.float32)
