"""Synthetic PAF maps of people, for benchmarks and tests: like those of a network that is neither sure nor clean."""

from __future__ import annotations

import cv2
import numpy as np

from edgepose.arrays import Bools, Float
from edgepose.skeleton import OPENPOSE18, PAF_CHANNELS, PAF_LIMBS

PEAK_SIGMA = 1.0  # of a heatmap's peaks, cells
FIELD_RADIUS = 1.0  # cells from the limb to the edge of its field
NOISE = 0.004  # standard deviation, smooth over two cells: what a real network answers where nobody is
MISSING = 0.05  # of the keypoints: hidden or outside the picture

# An upright person of height 1 from the nose to the ankles, seen from the front; x right, y down.
_BODY: dict[str, tuple[float, float]] = {
    "nose": (0, 0), "neck": (0, 0.15), "r_eye": (-0.03, -0.03), "l_eye": (0.03, -0.03), "r_ear": (-0.06, -0.01),
    "l_ear": (0.06, -0.01), "r_shoulder": (-0.12, 0.15), "l_shoulder": (0.12, 0.15), "r_elbow": (-0.16, 0.33),
    "l_elbow": (0.16, 0.33), "r_wrist": (-0.18, 0.5), "l_wrist": (0.18, 0.5), "r_hip": (-0.08, 0.5), "l_hip": (0.08, 0.5),
    "r_knee": (-0.09, 0.75), "l_knee": (0.09, 0.75), "r_ankle": (-0.1, 1), "l_ankle": (0.1, 1),
}  # fmt: skip
# Joints that bend: (joint, what hangs from it, most degrees either way).
_JOINTS = (
    ("shoulder", ("elbow", "wrist"), 70),
    ("elbow", ("wrist",), 80),
    ("hip", ("knee", "ankle"), 25),
    ("knee", ("ankle",), 30),
)


def make_scene(people: int, height: int, width: int, seed: int = 0) -> tuple[Float, Float]:
    """Heatmaps (19, h, w) and PAFs (38, h, w) of `people` people; the more there are, the smaller they stand."""
    rng = np.random.default_rng(seed)
    keypoints = place_people(rng, people, height, width)
    found = rng.random((people, 18)) >= MISSING
    strength = rng.uniform(0.5, 0.95, (people, 18)).astype(np.float32)
    heatmaps, pafs = draw(keypoints, found, strength, height, width)
    return heatmaps + _noise(rng, heatmaps.shape), pafs + _noise(rng, pafs.shape)


def place_people(rng: np.random.Generator, people: int, height: int, width: int) -> Float:
    """Keypoints (N, 18, 2) in cells; the more people there are, the smaller they stand."""
    size = min(0.85, 1.5 / np.sqrt(people)) * height
    corners: list[Float] = []
    keypoints = np.empty((people, 18, 2), np.float32)
    for n in range(people):
        body = _body(rng) * size * rng.uniform(0.7, 1.1)
        # The loneliest of a few places: people overlap, but seldom stand inside each other.
        room = np.maximum((width, height) - np.ptp(body, axis=0), 1)
        places = rng.uniform(0, room, (8, 2))
        distance = [min((float(np.hypot(*(place - other))) for other in corners), default=0.0) for place in places]
        corners.append(places[int(np.argmax(distance))].astype(np.float32))
        keypoints[n] = body - body.min(axis=0) + corners[-1]
    return keypoints


def draw(keypoints: Float, found: Bools, strength: Float, height: int, width: int) -> tuple[Float, Float]:
    """Maps without noise of keypoints (N, 18, 2) in cells; `strength` (N, 18) is the height of each peak."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    heatmaps = np.zeros((19, height, width), np.float32)
    pafs = np.zeros((38, height, width), np.float32)
    weights = np.zeros((19, height, width), np.float32)
    for points, here, peak in zip(keypoints, found, strength, strict=True):
        for k in np.flatnonzero(here):
            squared = (columns - points[k, 0]) ** 2 + (rows - points[k, 1]) ** 2
            np.maximum(heatmaps[k], peak[k] * np.exp(-squared / (2 * PEAK_SIGMA**2)), out=heatmaps[k])
        for limb, ((a, b), (x, y)) in enumerate(zip(PAF_LIMBS, PAF_CHANNELS, strict=True)):
            length = float(np.hypot(*(points[b] - points[a])))
            if not (here[a] and here[b] and length):
                continue
            unit = (points[b] - points[a]) / length
            dx, dy = columns - points[a, 0], rows - points[a, 1]
            along = np.clip(dx * unit[0] + dy * unit[1], 0, length)
            distance = np.hypot(dx - along * unit[0], dy - along * unit[1])
            # Full inside, fading over the last half cell: a network's fields have soft edges.
            weight = np.clip((FIELD_RADIUS + 0.25 - distance) / 0.5, 0, 1) * min(peak[a], peak[b])
            pafs[x] += weight * unit[0]
            pafs[y] += weight * unit[1]
            weights[limb] += weight > 0
    for limb, (x, y) in enumerate(PAF_CHANNELS):
        pafs[[x, y]] /= np.maximum(weights[limb], 1)  # where limbs cross, the field is their mean
    heatmaps[18] = 1 - heatmaps[:18].max(axis=0)
    return heatmaps, pafs


def _body(rng: np.random.Generator) -> Float:
    """(18, 2) keypoints of a person of height 1 in some posture."""
    points = {name: np.array(xy, np.float64) for name, xy in _BODY.items()}
    for side in "rl":
        for joint, hanging, most in _JOINTS:
            angle = np.deg2rad(rng.uniform(-most, most))
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            center = points[f"{side}_{joint}"]
            for name in hanging:
                points[f"{side}_{name}"] = turn @ (points[f"{side}_{name}"] - center) + center
    return np.array([points[name] for name in OPENPOSE18.keypoints], np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Float:
    rough = rng.standard_normal(shape, np.float32)
    smooth = np.stack([cv2.GaussianBlur(plane, (5, 5), 1.0) for plane in rough])
    return np.asarray(smooth * (NOISE / smooth.std()), np.float32)
