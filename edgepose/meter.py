"""`Meter`, which counts frames as they come and gives their rate."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

# The rate is that of the last frames, over this time at most: steady enough to read, quick enough to tell a change.
WINDOW_S = 2.0


class Meter:
    """The rate of frames over the last two seconds.

    Args:
        clock: Gives the time in seconds, and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._times: deque[float] = deque()

    def count(self) -> None:
        """Note that a frame has come."""
        now = self._clock()
        self._times.append(now)
        while now - self._times[0] > WINDOW_S and len(self._times) > 2:
            self._times.popleft()

    @property
    def fps(self) -> float:
        """The rate in frames a second; 0 before the second frame."""
        passed = self._times[-1] - self._times[0] if self._times else 0.0
        return (len(self._times) - 1) / passed if passed > 0 else 0.0
