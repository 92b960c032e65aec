"""Identities over time (OKS and optimal assignment) and smoothing of keypoints (One Euro filter).

Legend: M people remembered, N people in the frame, K keypoints. Times in seconds, distances in pixels of the image. A person's
scale is the square root of the area, in pixels, as OKS has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edgepose.arrays import Double, Float, Ints
from edgepose.errors import InputError
from edgepose.kernels.assignment import assign
from edgepose.kernels.jit import kernel
from edgepose.kernels.oks import areas, oks_in_motion
from edgepose.poses import Poses
from edgepose.skeleton import COCO17, Skeleton

Clock = Double  # float32 would lose the milliseconds within hours

# The most people out of sight that are remembered, the last seen first: noise must not fill the memory.
MAX_LOST = 256
# A time stamp that is not after the one before it (a looped video, a source without a clock) counts as one frame of 1/30 s.
# Steps shorter than a microsecond count as standstill, steps longer than thirty years (of a damaged file) as thirty years.
STANDSTILL_S, SHORTEST_STEP_S, LONGEST_STEP_S = 1 / 30, 1e-6, 1e9

# Chosen by benchmarks/tracking.py, on people who walk, run, hide behind each other and leave, at 5 to 30 frames a second.
SLACKS_PER_S = (0.3, 2.0)  # growth of a keypoint's tolerance, in scales a second: first try, second try
VELOCITY_TIME_S = 0.05  # time constants of the running means
AREA_TIME_S = 0.5


@dataclass
class _Tracks:
    """The state of M people who were seen before. The last row is nobody, so that index -1 stands for an unknown person."""

    ids: Ints  # (M,)
    keys: Ints  # (M,) of who gave them to `Tracker.update`; 0 where nobody did
    position: Float  # (M, K, 2) of each keypoint when it was last seen, NaN where never
    seen: Clock  # (M, K) when that was, by a clock that is 0 now; minus infinity where never
    velocity: Float  # (M, 2) pixels a second, of the whole person
    area: Float  # (M,)
    smoothed: Float  # (M, K, 2) state of the filter: position, and its change in pixels a second
    slope: Float  # (M, K, 2)

    @classmethod
    def nobody(cls, keypoints: int) -> _Tracks:
        place = np.full((1, keypoints, 2), np.nan, np.float32)
        still = np.zeros((1, keypoints, 2), np.float32)
        never = np.full((1, keypoints), -np.inf)
        nobody, one = np.zeros(1, np.int64), np.ones(1, np.float32)
        return cls(nobody, nobody, place, never, np.zeros((1, 2), np.float32), one, place, still)

    def __getitem__(self, index: NDArray[np.integer] | slice) -> _Tracks:
        return _Tracks(*(array[index] for array in vars(self).values()))

    def joined(self, others: _Tracks) -> _Tracks:
        pairs = zip(vars(self).values(), vars(others).values(), strict=True)
        return _Tracks(*(np.concatenate(pair) for pair in pairs))


class Tracker:
    """Gives people the same identity from frame to frame, and can smooth their keypoints.

    Identities count from 1 in each tracker. A tracker follows one source; threads must not share it.

    Args:
        max_gap_s: A person who is missed and comes back within this time, in seconds, is the same; after it, a new one.
        min_oks: Least similarity, in [0, 1], of a person to where one was expected, for the two to be the same.
        smooth: Also smooth the keypoints, each by a One Euro filter. Identities do not depend on it.
        min_cutoff_hz: Smoothing at rest: lower is calmer and slower to follow.
        beta: Smoothing in motion: by how many Hz the cutoff rises for each scale a second; higher lags less and jitters more.
        slope_cutoff_hz: Smoothing of the speed that `beta` goes by.

    Raises:
        InputError: A number is out of range.
    """

    def __init__(
        self,
        *,
        max_gap_s: float = 1.0,
        min_oks: float = 0.1,
        smooth: bool = False,
        min_cutoff_hz: float = 1.0,
        beta: float = 8.0,
        slope_cutoff_hz: float = 1.0,
    ) -> None:
        if not 0 <= min_oks <= 1:
            raise InputError(f"min_oks is {min_oks}; expected a number in [0, 1]")
        if not (0 <= max_gap_s < math.inf and 0 <= beta < math.inf):
            raise InputError(f"max_gap_s is {max_gap_s} and beta {beta}; expected finite numbers of at least 0")
        if not (0 < min_cutoff_hz < math.inf and 0 < slope_cutoff_hz < math.inf):
            raise InputError(f"min_cutoff_hz is {min_cutoff_hz} and slope_cutoff_hz {slope_cutoff_hz}; expected above 0")
        self.max_gap_s = max_gap_s
        self.min_oks = min_oks
        self.smooth = smooth
        self.min_cutoff_hz = min_cutoff_hz
        self.beta = beta
        self.slope_cutoff_hz = slope_cutoff_hz
        self._skeleton: Skeleton | None = None
        self._tracks = _Tracks.nobody(0)
        self._known = 0
        self._timestamp: float | None = None
        _warm_up()

    def update(self, poses: Poses, timestamp: float, keys: Ints | None = None) -> Poses:
        """The people of the next frame with their identities.

        Args:
            poses: N people, all frames with the same skeleton.
            timestamp: Seconds, from any start. One that is not after the last counts as 1/30 s after it.
            keys: (N,) numbers above 0 by which the caller knows people from frame to frame: whoever comes with a number that is
                remembered is that person, wherever they are. Others are known by their place; None: all are.

        Returns:
            The same people in the same order, with `ids`, and smoothed if asked for.

        Raises:
            InputError: The skeleton is not that of the frames before, or the time stamp is not finite.
        """
        if self._skeleton is None:
            self._skeleton = poses.skeleton
            self._tracks = _Tracks.nobody(len(poses.skeleton))
        elif poses.skeleton.name != self._skeleton.name:
            raise InputError(
                f"people with skeleton {poses.skeleton.name} after {self._skeleton.name}; expected the same in all frames: "
                "convert them, or use another tracker"
            )
        # Time counts from this frame on, so that it is as exact after years, or after a jump, as in the first second.
        elapsed, now = elapsed_s(self._timestamp, timestamp), 0.0
        self._timestamp = float(timestamp)
        self._tracks.seen -= elapsed
        # People in the previous frame are always remembered, however long ago it was: a slow source is no gap.
        tracks = _remembered(self._tracks, -max(elapsed, self.max_gap_s))
        keys = np.zeros(len(poses), np.int64) if keys is None else keys
        match = self._match(tracks, poses, now, _known(tracks.keys[:-1], keys))
        people = tracks[match]
        people.keys = keys
        unknown = np.flatnonzero(match < 0)
        people.ids[unknown] = np.arange(self._known + 1, self._known + 1 + len(unknown))
        self._known += len(unknown)
        knobs = (self.min_cutoff_hz, self.beta, self.slope_cutoff_hz)
        one_euro(people.smoothed, people.slope, people.seen, people.area, poses.keypoints, now, *knobs)
        follow(people.position, people.seen, people.velocity, people.area, poses.keypoints, areas(poses.keypoints), now)

        # People in sight first, then the lost in the order of their last sight, nobody at the end.
        lost = _others(match, len(tracks.ids) - 1)[:MAX_LOST]
        self._tracks = people.joined(tracks[np.append(lost, -1)])
        if not self.smooth:
            return replace(poses, ids=people.ids)
        found = (poses.scores > 0)[..., None]
        return replace(poses, ids=people.ids, keypoints=np.where(found, people.smoothed, np.float32(np.nan)))

    def _match(self, tracks: _Tracks, poses: Poses, now: float, known: Ints) -> Ints:
        """(N,) row of `tracks` for each person, -1 for those not known; those of `known` (N,) stay as they are.

        The second try, for the people left by the first, allows larger distances: it finds people who were seen once only,
        whose velocity is unknown, and those who ran or turned at a low frame rate. It does not change the first's matches.
        """
        sigmas = np.array(poses.skeleton.sigmas, np.float32)
        sizes = areas(poses.keypoints)
        match = known.copy()
        for slack in SLACKS_PER_S:
            free = _others(match, len(tracks.ids) - 1)
            people = np.flatnonzero(match < 0)
            if len(free) == 0 or len(people) == 0:
                break
            others = tracks[free]
            expected = (others.position, others.seen, others.velocity, others.area)
            similarity, certainty = oks_in_motion(*expected, poses.keypoints[people], sigmas, now, slack)
            # Size tells apart people at the same place, one behind the other; but it also shrinks as limbs go out of sight.
            # So it counts in the choice between people, not in whether they match at all.
            resemblance = np.exp(-np.square(np.log(sizes[people] / others.area[:, None])))
            value = np.where(similarity >= self.min_oks, certainty * resemblance, np.float32(0))
            column = assign(-value)
            pairs = np.flatnonzero(column >= 0)
            pairs = pairs[value[pairs, column[pairs]] > 0]
            match[people[column[pairs]]] = free[pairs]
        return match


def elapsed_s(last: float | None, timestamp: float) -> float:
    """Seconds from the time stamp `last`, of the frame before, to `timestamp`: always above 0. None: there was no frame before.

    Raises:
        InputError: The time stamp is not finite.
    """
    try:
        now = float(timestamp)
    except OverflowError:  # An integer beyond all floats.
        now = math.inf
    if not math.isfinite(now):
        raise InputError(f"the time stamp is {now}; expected finite seconds")
    if last is None or now - last < SHORTEST_STEP_S:
        return STANDSTILL_S
    return min(now - last, LONGEST_STEP_S)


def _known(remembered: Ints, keys: Ints) -> Ints:
    """(N,) row of the person with each of `keys` (N,) among those `remembered` (M,), -1 for nobody; 0 is nobody's key."""
    rows = np.full(len(keys), -1, np.int64)
    person, row = np.nonzero((keys[:, None] == remembered) & (keys[:, None] > 0))
    rows[person] = row
    return rows


def _others(taken: Ints, count: int) -> Ints:
    """Those of the rows 0 .. `count` - 1 that are not in `taken`, where -1 is none."""
    free = np.ones(count + 1, np.bool_)
    free[taken] = False
    return np.flatnonzero(free[:count])


def _remembered(tracks: _Tracks, since: float) -> _Tracks:
    """The people, and of each the keypoints, that were seen at or after `since`; and nobody at the end."""
    recent = tracks.seen >= since
    keep = np.append(recent[:-1].any(axis=1), True)
    tracks, recent = tracks[np.flatnonzero(keep)], recent[keep]
    tracks.position[~recent] = np.nan
    tracks.seen[~recent] = -np.inf
    return tracks


@kernel
def one_euro(
    smoothed: Float, slope: Float, seen: Clock, area: Float, keypoints: Float, now: float,
    min_cutoff_hz: float, beta: float, slope_cutoff_hz: float,
) -> None:  # fmt: skip
    """Move the filters of N people to their `keypoints` (N, K, 2), in place (Casiez, Roussel and Vogel, CHI 2012).

    The speed is the length of the slopes of both axes, so that no direction is smoothed more than another, and counts in
    scales, so that the knobs suit people near and far. A keypoint that was not remembered starts anew.
    """
    people, count = seen.shape
    for i in range(people):
        for k in range(count):
            if np.isnan(keypoints[i, k, 0]):
                continue
            if seen[i, k] == -np.inf:
                for axis in range(2):
                    smoothed[i, k, axis] = keypoints[i, k, axis]
                    slope[i, k, axis] = 0
                continue
            elapsed = now - seen[i, k]
            gain = 1 / (1 + 1 / (2 * np.pi * slope_cutoff_hz * elapsed))
            for axis in range(2):
                change = (keypoints[i, k, axis] - smoothed[i, k, axis]) / elapsed
                slope[i, k, axis] += gain * (change - slope[i, k, axis])
            speed = np.sqrt((slope[i, k, 0] ** 2 + slope[i, k, 1] ** 2) / area[i])
            gain = 1 / (1 + 1 / (2 * np.pi * (min_cutoff_hz + beta * speed) * elapsed))
            for axis in range(2):
                smoothed[i, k, axis] += gain * (keypoints[i, k, axis] - smoothed[i, k, axis])


@kernel
def follow(position: Float, seen: Clock, velocity: Float, area: Float, keypoints: Float, sizes: Float, now: float) -> None:
    """Update the state of N people, in place, with their `keypoints` (N, K, 2) and areas `sizes` (N,) of now."""
    people, count = seen.shape
    for i in range(people):
        last = -np.inf
        moved_x = moved_y = 0.0
        common = 0
        for k in range(count):
            last = max(last, seen[i, k])
            x, y = keypoints[i, k, 0], keypoints[i, k, 1]
            if np.isnan(x):
                continue
            if seen[i, k] > -np.inf:
                moved_x += (x - position[i, k, 0]) / (now - seen[i, k])
                moved_y += (y - position[i, k, 1]) / (now - seen[i, k])
                common += 1
            position[i, k, 0], position[i, k, 1] = x, y
            seen[i, k] = now
        elapsed = now - last
        area[i] += (sizes[i] - area[i]) * (elapsed / (elapsed + AREA_TIME_S) if elapsed < np.inf else 1)
        if common:
            gain = elapsed / (elapsed + VELOCITY_TIME_S)
            velocity[i, 0] += gain * (moved_x / common - velocity[i, 0])
            velocity[i, 1] += gain * (moved_y / common - velocity[i, 1])


@cache
def _warm_up() -> None:
    """Compile the kernels of tracking, once, so that the first frames do not wait for it."""
    tracks, poses = _Tracks.nobody(len(COCO17)), Poses.empty(COCO17)
    knobs = (1.0, 1.0, 1.0)
    sigmas = np.array(COCO17.sigmas, np.float32)
    remembered = (tracks.position, tracks.seen, tracks.velocity, tracks.area)
    assign(-oks_in_motion(*remembered, tracks.position, sigmas, 0.0, 1.0)[0])
    nobody = tracks[:0]
    one_euro(nobody.smoothed, nobody.slope, nobody.seen, nobody.area, poses.keypoints, 0.0, *knobs)
    follow(nobody.position, nobody.seen, nobody.velocity, nobody.area, poses.keypoints, areas(poses.keypoints), 0.0)
