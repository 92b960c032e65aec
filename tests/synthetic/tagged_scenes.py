"""Synthetic heatmaps and tags of people, for benchmarks and tests: as HigherHRNet is taught to answer, with noise."""

from __future__ import annotations

import numpy as np

from edgepose.arrays import Float
from edgepose.skeleton import COCO17, OPENPOSE18, convert
from synthetic.scenes import MISSING, place_people

PEAK_SIGMA = 2.0  # cells, as HigherHRNet is taught
APART = 2.2  # between the tags of two people
TAG_NOISE = 0.1  # standard deviation, of the tags of one person and where nobody is
NOISE = 0.01  # standard deviation of the heatmaps where nobody is


def make_scene(people: int, height: int, width: int, seed: int = 0) -> tuple[Float, Float]:
    """Heatmaps and tags (17, h, w) of `people` people; the more there are, the smaller they stand."""
    rng = np.random.default_rng(seed)
    placed = place_people(rng, people, height, width)
    keypoints, _ = convert(placed, np.ones(placed.shape[:2], np.float32), OPENPOSE18, COCO17)
    found = rng.random((people, 17)) >= MISSING
    strength = rng.uniform(0.4, 1, (people, 17))
    person_tags = APART * rng.permutation(people)
    rows, columns = np.mgrid[:height, :width]
    heatmaps = np.abs(rng.normal(0, NOISE, (17, height, width)))
    tags = rng.normal(0, TAG_NOISE, (17, height, width))
    nearest = np.full((17, height, width), 3 * PEAK_SIGMA)  # beyond, a keypoint does not colour the map
    for n, k in np.argwhere(found):
        distance = np.hypot(columns - keypoints[n, k, 0], rows - keypoints[n, k, 1])
        np.maximum(heatmaps[k], strength[n, k] * np.exp(-np.square(distance / PEAK_SIGMA) / 2), out=heatmaps[k])
        own = distance < nearest[k]
        tags[k][own] = person_tags[n] + rng.normal(0, TAG_NOISE)
        nearest[k][own] = distance[own]
    return heatmaps.astype(np.float32), tags.astype(np.float32)
