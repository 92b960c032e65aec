"""A plain NumPy and Python decoder of PAF maps: what people run today, and what `edgepose.decode_poses` is held against.

It upsamples the whole maps with OpenCV, finds peaks and scores limbs with NumPy, and assembles people in Python. The rules
are those of the reference decoder of Lightweight OpenPose (arXiv 1811.12004). benchmarks/decoding.py measures its speed;
the tests take it as the twin of the kernels.
"""

from __future__ import annotations

import cv2
import numpy as np

from edgepose.arrays import Float
from edgepose.skeleton import PAF_CHANNELS, PAF_LIMBS

KEYPOINTS = 18
PEAK_THRESHOLD = 0.1
MERGE_RADIUS_CELLS = 1.5
SAMPLES = 10
MIN_AFFINITY = 0.05
MIN_HITS = 9  # more than 80 % of the samples
MIN_KEYPOINTS = 3
MIN_MEAN_SCORE = 0.2


def decode(heatmaps: Float, pafs: Float, ratio: int = 4) -> tuple[Float, Float]:
    """People in heatmaps (18 or 19, h, w) and PAFs (38, h, w), in the order in which they were begun.

    Returns:
        Poses (N, 18, 3): x, y in pixels of the upsampled maps and the peak's height, NaN where not found; totals (N,).
    """
    peaks = find_peaks(upsample(heatmaps[:KEYPOINTS], ratio), MERGE_RADIUS_CELLS * ratio)
    people, totals = group(upsample(pafs, ratio), peaks)
    poses = np.full((len(people), KEYPOINTS, 3), np.nan, np.float32)
    for pose, person in zip(poses, people, strict=True):
        for k, i in person.items():
            pose[k] = peaks[k][i]
    return poses, np.array(totals, np.float32)


def upsample(maps: Float, ratio: int) -> Float:
    """Maps (C, h, w) as (h * ratio, w * ratio, C): pixel by pixel, as OpenCV has it, which is also the quickest way."""
    _, height, width = maps.shape
    size = (width * ratio, height * ratio)
    return np.asarray(cv2.resize(maps.transpose(1, 2, 0), size, interpolation=cv2.INTER_CUBIC), np.float32)


def find_peaks(heatmaps: Float, radius: float, threshold: float = PEAK_THRESHOLD) -> list[Float]:
    """The peaks of each of the upsampled maps (H, W, K): (n, 3) x, y, height, from left to right."""
    found = []
    for k in range(heatmaps.shape[2]):
        heatmap = heatmaps[:, :, k]
        padded = np.pad(np.where(heatmap >= threshold, heatmap, 0), 1)
        center = padded[1:-1, 1:-1]
        higher = (
            (center > padded[1:-1, :-2])
            & (center > padded[1:-1, 2:])
            & (center > padded[:-2, 1:-1])
            & (center > padded[2:, 1:-1])
        )
        y, x = np.nonzero(higher)
        order = np.lexsort((y, x))
        candidates = np.column_stack([x[order], y[order], heatmap[y, x][order]]).astype(np.float32)
        found.append(merge(candidates, radius))
    return found


def merge(peaks: Float, radius: float) -> Float:
    """`peaks` (n, 3) without those closer than `radius` to one kept before."""
    kept = np.ones(len(peaks), bool)
    for i in range(len(peaks)):
        if kept[i]:
            distance = np.hypot(peaks[i + 1 :, 0] - peaks[i, 0], peaks[i + 1 :, 1] - peaks[i, 1])
            kept[i + 1 :] &= distance >= radius
    return peaks[kept]


def score_limb(field: Float, starts: Float, ends: Float) -> Float:
    """Affinity (n, m) of each pair of starts (n, 3) and ends (m, 3) in the field (H, W, 2); 0 where too few samples count."""
    start = starts[:, None, :2]
    vector = ends[None, :, :2] - start  # (n, m, 2)
    unit = vector / (np.sqrt((vector**2).sum(axis=-1, keepdims=True)) + np.float32(1e-6))
    steps = np.arange(SAMPLES, dtype=np.float32)[:, None]
    points = start[:, :, None] + steps * (vector * np.float32(1 / (SAMPLES - 1)))[:, :, None]  # (n, m, samples, 2)
    x, y = np.rint(points).astype(np.intp).transpose(3, 0, 1, 2)
    affinity = (field[y, x] * unit[:, :, None]).sum(axis=-1)  # (n, m, samples)
    hit = affinity > MIN_AFFINITY
    hits = hit.sum(axis=-1)
    mean = np.where(hit, affinity, 0).sum(axis=-1) / np.maximum(hits, 1)
    return np.where(hits >= MIN_HITS, mean, 0).astype(np.float32)


def group(pafs: Float, peaks: list[Float]) -> tuple[list[dict[int, int]], list[float]]:
    """People as {keypoint: peak} in upsampled PAFs (H, W, 38), and their totals of heights and affinities."""
    people: list[dict[int, int]] = []
    totals: list[float] = []
    sizes: list[int] = []
    for limb, ((a, b), channels) in enumerate(zip(PAF_LIMBS, PAF_CHANNELS, strict=True)):
        if not len(peaks[a]) or not len(peaks[b]):
            continue
        affinity = score_limb(pafs[:, :, list(channels)], peaks[a], peaks[b])
        for i, j in match(affinity):
            if limb >= 17:  # shoulder to ear: fills a missing end, starts nobody
                for person in people:
                    if person.get(a) == i:
                        person.setdefault(b, j)
                    elif person.get(b) == j:
                        person.setdefault(a, i)
                continue
            owner = next((n for n, person in enumerate(people) if person.get(a) == i), None)
            if owner is None:
                owner = len(people)
                people.append({a: i})
                totals.append(float(peaks[a][i, 2]))
                sizes.append(1)
            people[owner][b] = j
            totals[owner] += float(peaks[b][j, 2] + affinity[i, j])
            sizes[owner] += 1
    strong = [n for n in range(len(people)) if sizes[n] >= MIN_KEYPOINTS and totals[n] >= MIN_MEAN_SCORE * sizes[n]]
    return [people[n] for n in strong], [totals[n] for n in strong]


def match(affinity: Float) -> list[tuple[int, int]]:
    """Pairs with an affinity, best first, each start and each end once."""
    starts, ends = np.nonzero(affinity)
    pairs = []
    taken_starts: set[int] = set()
    taken_ends: set[int] = set()
    for pair in np.argsort(-affinity[starts, ends], kind="stable"):
        i, j = int(starts[pair]), int(ends[pair])
        if i not in taken_starts and j not in taken_ends:
            taken_starts.add(i)
            taken_ends.add(j)
            pairs.append((i, j))
    return pairs
