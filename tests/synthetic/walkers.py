"""Clips of people of known identity who walk to and fro and cross, and how well a tracker tells them apart.

A keypoint is missing now and then, a whole person now and then, and whoever is hidden by somebody nearer. All of it is drawn
from a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose import COCO17, Poses, Skeleton
from edgepose.arrays import Bools, Double, Ints
from edgepose.kernels.assignment import assign
from edgepose.tracking import Tracker

# A standing person of height 1 in COCO's keypoints: x to either side of the middle, y from the top, and how far each swings.
X = np.array([0, 0.015, -0.015, 0.035, -0.035, 0.11, -0.11, 0.14, -0.14, 0.15, -0.15, 0.07, -0.07, 0.075, -0.075, 0.08, -0.08])
Y = np.array([0.06, 0.045, 0.045, 0.055, 0.055, 0.18, 0.18, 0.34, 0.34, 0.49, 0.49, 0.51, 0.51, 0.75, 0.75, 0.97, 0.97])
SWING = np.array([0, 0, 0, 0, 0, 0, 0, 0.06, -0.06, 0.14, -0.14, 0, 0, -0.08, 0.08, -0.16, 0.16])
HIDDEN = 0.8  # of a person's box behind that of somebody nearer, and no detector finds them


@dataclass(frozen=True)
class Frame:
    """A frame of a clip with P people in all, of whom N are detected."""

    timestamp: float
    poses: Poses  # N people
    people: Ints  # (N,) who each is, in 0 .. P - 1
    truth: Double  # (P, 17, 2) where everybody's COCO keypoints really are, NaN for the absent
    visible: Bools  # (P,) who is present and not hidden


def walk(
    people: int = 5,
    *,
    fps: float = 30.0,
    seconds: float = 10.0,
    speed: float = 1.0,
    seed: int = 0,
    noise: float = 0.01,
    missing: float = 0.1,
    missed: float = 0.03,
    gap_s: float = 0.5,
    replaced: int = 0,
    hiding: bool = True,
    skeleton: Skeleton = COCO17,
) -> list[Frame]:
    """A clip of people who walk to and fro, past one another.

    Args:
        people: How many at a time.
        fps: Frames a second.
        seconds: Length of the clip.
        speed: 1 for walking: at most 0.5 to 1.2 of one's own heights a second. 0 for standing still.
        seed: Another seed, other people.
        noise: Standard deviation of keypoints, as a part of the person's height.
        missing: Part of the keypoints that are not found.
        missed: Part of the people who are not found.
        gap_s: Once in the clip each person is not found for so many seconds.
        replaced: So many vanish in mid-clip, and a third of a second later somebody else comes in for each, elsewhere.
        hiding: Whether people hide those behind them.
        skeleton: Of the poses.
    """
    random = np.random.default_rng(seed)
    start, end = np.zeros(people + replaced), np.full(people + replaced, seconds)
    end[:replaced] = random.uniform(0.2, 0.8, replaced) * seconds
    start[people:] = end[:replaced] + 1 / 3
    people += replaced
    height = random.uniform(150, 400, people)
    top = 350 + random.uniform(-30, 30, people)
    middle = random.uniform(440, 840, people)
    reach = random.uniform(250, 420, people)
    phase = random.uniform(0, 2 * np.pi, people)
    pace = speed * random.uniform(0.5, 1.2, people) * height / reach  # radians a second
    gap_start = random.uniform(0.1, 0.9, people) * seconds
    frames = []
    for timestamp in np.arange(int(fps * seconds)) / fps:
        swing = min(speed, 1) * np.sin(2 * np.pi * timestamp + phase)[:, None] * SWING
        x = (middle + reach * np.sin(pace * timestamp + phase))[:, None] + (X + swing) * height[:, None]
        truth = np.stack([x, top[:, None] + Y * height[:, None]], axis=2)
        truth[(timestamp < start) | (timestamp >= end)] = np.nan
        visible = ~np.isnan(truth[:, 0, 0])
        if hiding:
            visible &= ~hidden(truth, height)
        found = random.random(truth.shape[:2]) >= missing
        in_gap = (timestamp >= gap_start) & (timestamp < gap_start + gap_s)
        detected = visible & ~in_gap & (random.random(people) >= missed) & found.any(axis=1)
        who = random.permutation(np.flatnonzero(detected))
        seen = truth[who] + random.normal(size=truth[who].shape) * noise * height[who, None, None]
        keypoints = np.where(found[who, :, None], seen, np.nan).astype(np.float32)
        confidence = np.sort(random.uniform(0.3, 0.9, len(who)))[::-1].astype(np.float32)
        poses = Poses(keypoints, np.where(found[who], 0.8, 0).astype(np.float32), confidence, COCO17)
        frames.append(Frame(float(timestamp), poses.to(skeleton), who, truth, visible))
    return frames


def boxes(keypoints: Double) -> Double:
    """(P, 4) x0, y0, x1, y1 around (P, K, 2)."""
    return np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1)


def overlaps(keypoints: Double) -> NDArray[Any]:
    """(P, P) part of each person's box that lies in each other's; 0 on the diagonal and for the absent (NaN)."""
    box = boxes(keypoints)
    low, high = np.maximum(box[:, None, :2], box[:, :2]), np.minimum(box[:, None, 2:], box[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    np.fill_diagonal(shared, 0)
    part: Double = shared / np.prod(box[:, 2:] - box[:, :2], axis=1)[:, None]
    return np.nan_to_num(part)


def hidden(keypoints: Double, height: Double) -> NDArray[Any]:
    """(P,) who is behind somebody nearer, which is somebody taller."""
    behind: Bools = (overlaps(keypoints) > HIDDEN) & (height > height[:, None])
    return np.asarray(behind.any(axis=1))


@dataclass(frozen=True)
class Identities:
    """The quality of identities over a clip.

    Attributes:
        idf1: IDF1 (Ristani et al., ECCV 2016 workshops) over the people who are not hidden.
        best: What it would be with all detections right: some people are missed.
        switches: How often a person's identity was another than the last time.
        clear_switches: Those of people who overlapped nobody's box since the last time.
    """

    idf1: float
    best: float
    switches: int
    clear_switches: int


def judge(clip: Sequence[Frame], ids: Sequence[Sequence[int]]) -> Identities:
    """Compare the identities that a tracker gave to the detected people of each frame with who they are."""
    count = len(clip[0].truth)
    shared: dict[tuple[int, int], int] = {}
    last: dict[int, int] = {}
    met: NDArray[Any] = np.zeros(count, bool)
    switches = clear = 0
    for frame, given in zip(clip, ids, strict=True):
        meets: NDArray[Any] = np.any(overlaps(frame.truth), axis=1, keepdims=False)
        met |= meets
        for person, identity in zip(frame.people.tolist(), given, strict=True):
            shared[person, identity] = shared.get((person, identity), 0) + 1
            if last.get(person, identity) != identity:
                switches += 1
                clear += not met[person]
            last[person] = identity
            met[person] = meets[person]
    names = sorted({identity for _, identity in shared})
    together = np.zeros((count, len(names)))
    for (person, identity), frames in shared.items():
        together[person, names.index(identity)] = frames
    column = assign(-together)
    right = sum(together[person, c] for person, c in enumerate(column) if c >= 0)
    detections = sum(len(frame.people) for frame in clip)
    both = detections + sum(int(frame.visible.sum()) for frame in clip)
    return Identities(2 * right / both, 2 * detections / both, switches, clear)


def track(tracker: Tracker, clip: Sequence[Frame]) -> list[list[int]]:
    """The identities of each frame's people."""
    return [ids.tolist() for frame in clip if (ids := tracker.update(frame.poses, frame.timestamp).ids) is not None]
