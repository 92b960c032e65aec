"""Object keypoint similarity (OKS), COCO's measure of how alike two people are: 1 for the same place, 0 for far apart.

Each keypoint counts exp(-d^2 / (2 (2 sigma)^2 area)), where d is the distance, sigma the skeleton's constant for that keypoint,
and area the person's. Legend: M people, N others, K keypoints; NaN where a keypoint was not found. Distances are in pixels.
"""

from __future__ import annotations

import numpy as np

from edgepose.arrays import Double, Float
from edgepose.kernels.jit import kernel

# COCO's area is that of the segmented person. This, of the box around the keypoints, fits it best among such formulas, over
# the 270 people with six keypoints or more in 130 photos of COCO val2017; the second term is for people seen edge-on.
BOX_SHARE, LENGTH_SHARE = 0.7, 0.07
MIN_COMMON = 3  # keypoints: a similarity over fewer counts as if the rest did not agree
NEGLIGIBLE = 12.0  # exp(-12) is about a millionth: most pairs of people are farther apart than that, and need no exp
MAX_SLACK = 0.7  # square roots of the area: with more, newcomers elsewhere would be taken for those who left


@kernel
def areas(keypoints: Float) -> Float:
    """(N,) areas in pixels, as OKS uses them, of people with `keypoints` (N, K, 2); at least 1."""
    people, count = keypoints.shape[:2]
    result = np.ones(people, np.float32)
    for i in range(people):
        low_x = low_y = np.float32(np.inf)
        high_x = high_y = np.float32(-np.inf)
        for k in range(count):
            x, y = keypoints[i, k, 0], keypoints[i, k, 1]
            if not np.isnan(x):
                low_x, high_x = min(low_x, x), max(high_x, x)
                low_y, high_y = min(low_y, y), max(high_y, y)
        width, height = high_x - low_x, high_y - low_y
        if width >= 0:
            size = BOX_SHARE * width * height + LENGTH_SHARE * max(width, height) ** 2
            result[i] = max(size, np.float32(1))
    return result


@kernel
def keypoint_similarity(keypoints: Float, others: Float, area: Float, sigmas: Float) -> Float:
    """Similarity (M, N, K) of each keypoint of people to the same one of others; 0 where either was not found.

    Args:
        keypoints, others: (M, K, 2), (N, K, 2).
        area: (M,) of the first people.
        sigmas: (K,) of the skeleton.
    """
    people, count = keypoints.shape[:2]
    similarity = np.zeros((people, len(others), count), np.float32)
    for i in range(people):
        for j in range(len(others)):
            for k in range(count):
                precision = np.float32(1 / (2 * 4 * sigmas[k] * sigmas[k] * area[i]))
                exponent = _exponent(keypoints[i, k, 0], keypoints[i, k, 1], others[j, k, 0], others[j, k, 1], precision)
                if exponent < NEGLIGIBLE:  # false for NaN
                    similarity[i, j, k] = np.exp(-exponent)
    return similarity


def oks(keypoints: Float, others: Float, area: Float, sigmas: Float) -> Float:
    """OKS (M, N) over the keypoints that both have, and at least `MIN_COMMON`; arguments as of `keypoint_similarity`."""
    people, count = keypoints.shape[:2]
    still = np.zeros((people, 2), np.float32)
    similarity, _ = oks_in_motion(keypoints, np.zeros((people, count)), still, area, others, sigmas, 0.0, 0.0)
    return similarity


@kernel
def oks_in_motion(
    position: Float, seen: Double, velocity: Float, area: Float, keypoints: Float, sigmas: Float, now: float, slack_per_s: float
) -> tuple[Float, Float]:
    """OKS (M, N) of people's `keypoints` (N, K, 2) to the places where M people who were seen before are expected now.

    It is COCO's, over the keypoints that both have, with a tolerance that grows by `slack_per_s` square roots of the area
    (`MAX_SLACK` at most) for each second since a keypoint was seen.

    Args:
        position: (M, K, 2) of each keypoint when it was last seen.
        seen: (M, K) when that was, in seconds; minus infinity where never.
        velocity: (M, 2) pixels a second, of the whole person.
        area: (M,) of the people seen before.
        keypoints: (N, K, 2) of the people now.
        sigmas: (K,) of the skeleton.
        now: Seconds, by the clock of `seen`.
        slack_per_s: See above.

    Returns:
        OKS, and its certainty: the same sum with each keypoint weighted by how much narrower its tolerance was at first. A wide
        tolerance forgives much; by certainty, a person who was seen long ago does not win over one who is at the very place.
    """
    tracks, count = position.shape[:2]
    people = keypoints.shape[0]
    similarity = np.zeros((tracks, people), np.float32)
    weighted = np.zeros((tracks, people), np.float32)
    x, y, precision, weight = np.empty((4, count), np.float32)
    for i in range(tracks):
        for k in range(count):
            age = now - seen[i, k] if seen[i, k] > -np.inf else 0.0
            x[k] = position[i, k, 0] + velocity[i, 0] * age
            y[k] = position[i, k, 1] + velocity[i, 1] * age
            sharp = 4 * sigmas[k] * sigmas[k]
            tolerance = sharp + min(slack_per_s * age, MAX_SLACK) ** 2
            precision[k] = 1 / (2 * tolerance * area[i])
            weight[k] = np.sqrt(sharp / tolerance)
        for j in range(people):
            common = 0
            for k in range(count):
                exponent = _exponent(x[k], y[k], keypoints[j, k, 0], keypoints[j, k, 1], precision[k])
                if np.isnan(exponent):
                    continue
                common += 1
                if exponent < NEGLIGIBLE:
                    agreement = np.exp(-exponent)
                    similarity[i, j] += agreement
                    weighted[i, j] += weight[k] * agreement
            common = max(common, MIN_COMMON)
            similarity[i, j] /= common
            weighted[i, j] /= common
    return similarity, weighted


@kernel
def _exponent(x: np.float32, y: np.float32, other_x: np.float32, other_y: np.float32, precision: np.float32) -> np.float32:
    """The exponent of a keypoint's OKS, which is exp(-exponent); NaN where either was not found."""
    dx, dy = other_x - x, other_y - y
    return (dx * dx + dy * dy) * precision
