"""Hard cuts, told by the colours of frames: cheap enough for every frame, and known before anybody is looked for."""

from __future__ import annotations

import numpy as np

from edgepose.arrays import Double, Image, Ints

# Of each frame, pixels on a grid are looked at, and their colours counted in 4 x 4 x 4 kinds. Such a histogram hardly changes
# as a camera moves, but does with the scene. Both bounds were chosen on the clips of benchmarks/following.py.
GRID = (36, 64)
LEAST_CHANGE = 0.25  # of the pixels: their share that changed its kind
TIMES_USUAL = 3.0  # a cut changes so many times as much as the frames before it did
USUAL_GAIN = 0.2  # of the running mean of changes


class Cuts:
    """Notices hard cuts between the frames of one source."""

    def __init__(self) -> None:
        self._before: Double | None = None
        self._usual = 0.0

    def begins(self, image: Image) -> bool:
        """Whether `image` (H, W, 3) uint8 BGR, the next frame, begins another scene; not so for the first."""
        colours = _histogram(image)
        before, self._before = self._before, colours
        if before is None:
            return False
        change = float(np.abs(colours - before).sum()) / 2
        is_cut = change > max(LEAST_CHANGE, TIMES_USUAL * self._usual)
        if is_cut:
            self._usual = 0.0
        else:
            self._usual += USUAL_GAIN * (change - self._usual)
        return is_cut


def _histogram(image: Image) -> Double:
    """(64,) shares of the pixels with each kind of colour."""
    rows, columns = (max(1, side // cells) for side, cells in zip(image.shape[:2], GRID, strict=True))
    levels = image[::rows, ::columns] >> 6
    kinds: Ints = levels[..., 0] * np.int64(16) + levels[..., 1] * np.int64(4) + levels[..., 2]
    return np.bincount(kinds.ravel(), minlength=64) / kinds.size
