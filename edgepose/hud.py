"""What is written into the corner of a live picture: frames a second, people, dropped frames."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

# The rate is that of the last frames, over this time at most: steady enough to read, quick enough to tell a change.
WINDOW_S = 2.0
_TEXT, _PLATE = (240, 240, 240), (24, 24, 24)


class Hud:
    """Counts frames and writes on them.

    Args:
        clock: Seconds, always growing.
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
        """Frames a second over the last two seconds; 0 before the second frame."""
        passed = self._times[-1] - self._times[0] if self._times else 0.0
        return (len(self._times) - 1) / passed if passed > 0 else 0.0

    def draw(self, image: NDArray[np.uint8], people: int, dropped: int) -> NDArray[np.uint8]:
        """`image` (H, W, 3) uint8 BGR with the figures at its top left, as a new image."""
        canvas = image.copy()
        words = [f"{self.fps:.1f} FPS", f"{people} {'person' if people == 1 else 'people'}"]
        text = "   ".join([*words, f"{dropped} dropped"] if dropped else words)
        scale = max(0.4, min(image.shape[:2]) / 800)
        stroke = max(1, round(2 * scale))
        (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
        margin = round(0.5 * high)
        # On a plate of its own, so that it can be read on any background.
        cv2.rectangle(canvas, (0, 0), (wide + 2 * margin, high + 2 * margin), _PLATE, cv2.FILLED)
        place = (margin, high + margin)
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _TEXT, stroke, cv2.LINE_AA)
        return canvas
