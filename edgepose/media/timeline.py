"""The times of frames in a video that is written, from those of the source, however these run."""

from __future__ import annotations

import math
from collections import deque
from fractions import Fraction
from statistics import median

# A clock that goes further ahead than this between two frames, or further back, has been set; the video then goes on at its
# rate. Containers bound the time between two frames, too: MP4 to five hours, with the units used here.
LEAP_S = 4 * 3600.0
SET_BACK_S = 1.0
# A container with a fixed rate holds a picture over places that have none, but no more than so many (AVI's writer gives up).
_LEAP_PLACES = 50_000
# How far behind its time a frame may come, in places, where those before it took the places.
_LATE_PLACES = 2
_RECENT = 5


class Timeline:
    """Turns the times of a source's frames into those of a video, which starts at 0 and never stands still.

    Args:
        rate: The frames a second that are expected: of all frames where they have no times, and where a clock stands still.
        unit: The unit of the video's times, seconds. Every frame has another time, in whole units.
        is_timed: Whether frames have times of their own.
        is_fixed: The container has one place for a frame in each unit; a frame for which none is left is left out.
    """

    def __init__(self, rate: Fraction, unit: Fraction, *, is_timed: bool, is_fixed: bool = False) -> None:
        self.start: float | None = None  # The time of the first frame, on the source's clock.
        self._step = 1 / rate
        self._unit, self._is_timed, self._is_fixed = unit, is_timed, is_fixed
        self._leap = min(LEAP_S, _LEAP_PLACES * float(unit)) if is_fixed else LEAP_S
        self._zero = 0.0
        self._count = 0
        self._seconds = 0.0  # Where the last frame is, ...
        self._units = -1  # ... and in whole units.
        self._steps: deque[float] = deque(maxlen=_RECENT)

    def place(self, timestamp: float) -> int | None:
        """The time of the next frame in units, or None if there is no place for it."""
        seconds = self._next(timestamp)
        exact = seconds / float(self._unit) if self._is_timed else float(seconds / self._unit)
        units = max(round(exact), self._units + 1)
        if self._is_fixed and units - exact > _LATE_PLACES:
            return None
        if self._count:
            self._steps.append(float((units - self._units) * self._unit))
        self._seconds, self._units = float(seconds), units
        self._count += 1
        return units

    @property
    def step(self) -> float:
        """How long a frame has lasted lately, seconds."""
        return median(self._steps) if self._steps and self._is_timed else float(self._step)

    @property
    def end(self) -> float:
        """When the last frame ends, seconds: it lasts as long as those before it."""
        return float(self._units * self._unit) + self.step

    def _next(self, timestamp: float) -> float | Fraction:
        if not self._is_timed:
            return self._count * self._step
        if self._count == 0:
            self._zero = self.start = timestamp if math.isfinite(timestamp) else 0.0
            return 0.0
        seconds = timestamp - self._zero
        following = self._seconds + self.step
        if not math.isfinite(seconds):
            return following
        if seconds > self._seconds + self._leap or seconds < self._seconds - SET_BACK_S:
            self._zero = timestamp - following
            return following
        return seconds if seconds > self._seconds else following
