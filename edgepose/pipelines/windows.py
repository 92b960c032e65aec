"""Following for bottom-up models: the network sees the part of a frame where the people are, and now and then all of it.

The part is scaled as the whole frame is, so that people have the size that the network sees otherwise. It has one of a few
shapes, because the network is compiled for each: in the background, when it is first wanted. Meanwhile the whole frame is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from edgepose.arrays import Float
from edgepose.media.frames import Frame
from edgepose.media.images import check_image
from edgepose.pipelines.bottom_up import BottomUp, Window
from edgepose.pipelines.detection import boxes_around
from edgepose.pipelines.scheduling import Started
from edgepose.poses import Poses

# Heights and widths of windows, as shares of the network's input for the whole frame: from an eighth of its area to half of it.
# More of them would follow people more closely, but each costs the time and the memory of another compiled network.
SHARES = ((1 / 2, 1 / 4), (1 / 2, 1 / 2), (3 / 4, 1 / 2), (1, 1 / 4), (1 / 2, 1), (1, 1 / 2))
# Around people, of their box's longer side: how far they get until the frame that is started next.
MARGIN = 0.12


class WindowedFrames:
    """Starts a bottom-up network on the frames of one source, in windows around the people found before.

    Args:
        pipeline: Runs the network.
        every: Frames from one that is seen whole to the next.
        executor: Compiles the network for the shapes of windows, and is shut down at the end; None: a thread of its own.
    """

    def __init__(self, pipeline: BottomUp, every: int, *, executor: Executor | None = None) -> None:
        self._pipeline = pipeline
        self._every = every
        self._executor = executor or ThreadPoolExecutor(1, "edgepose-compile")
        self._ready: dict[tuple[int, int], Future[Any]] = {}
        self._boxes = np.empty((0, 4), np.float32)  # Around the people of the newest frame whose result is known.
        self._size = (0, 0)  # Of that frame.
        self._whole: int | None = None  # The number of the frame that was last seen whole, to look for others; None: none.
        self._is_known = True  # Its result is. Until then all frames are seen whole, so that nobody who is new flickers.

    def start(self, frames: Sequence[Frame]) -> list[Started]:
        """Start the network on some frames; the results are to be asked for in order."""
        return [self._start(frame) for frame in frames]

    def close(self) -> None:
        """Compile nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start(self, frame: Frame) -> Started:
        check_image(frame.image)
        size = frame.image.shape[:2]
        is_due = self._whole is None or not 0 <= frame.index - self._whole < self._every
        if is_due:
            self._whole, self._is_known = frame.index, False
        window = self._window(*size) if self._is_known and size == self._size else None
        pipeline = self._pipeline
        started = pipeline.start(frame.image) if window is None else pipeline.start_in(frame.image, window)
        return Started(partial(self._finish, started, size, is_due), started.wait)

    def _finish(self, started: Started, size: tuple[int, int], looks_for_others: bool) -> Poses:
        poses = started.result()
        self._is_known |= looks_for_others
        boxes = boxes_around(poses)[:, :4]
        if len(boxes) < len(self._boxes):  # Somebody was lost, and may be anywhere.
            self._whole = None
        self._boxes, self._size = boxes, size
        return poses

    def _window(self, height: int, width: int) -> Window | None:
        """The smallest window that holds everybody and that the network is compiled for; None for the whole frame."""
        if not len(self._boxes):
            return None
        low, high = self._extent(height, width)
        for window in windows(self._pipeline.input_shape(height, width), height, width, self._pipeline.multiple):
            if window.width >= high[0] - low[0] and window.height >= high[1] - low[1]:
                ready = self._ready.get(window.shape)
                if ready is None:
                    self._ready[window.shape] = self._executor.submit(self._pipeline.prepare, window.shape)
                elif ready.done():
                    ready.result()
                    middle, room = (low + high) / 2, (width - window.width, height - window.height)
                    left, top = np.clip(middle - (window.width / 2, window.height / 2), 0, room).tolist()
                    return window.at(round(left), round(top))
        return None

    def _extent(self, height: int, width: int) -> tuple[Float, Float]:
        """The corners of the box around everybody, with the margin, within the frame."""
        margin = MARGIN * (self._boxes[:, 2:] - self._boxes[:, :2]).max(axis=1, keepdims=True)
        low, high = (self._boxes[:, :2] - margin).min(axis=0), (self._boxes[:, 2:] + margin).max(axis=0)
        size = np.array((width, height), np.float32)
        return np.clip(low, 0, size), np.clip(high, 0, size)


def windows(shape: tuple[int, int], height: int, width: int, multiple: int) -> list[Window]:
    """The windows of a frame of `height` x `width` pixels that the network sees as `shape`, the smallest first."""
    scale = min(shape[0] / height, shape[1] / width)
    found = []
    for share in SHARES:
        rows, columns = (-(-round(side * part) // multiple) * multiple for side, part in zip(shape, share, strict=True))
        found.append(Window((rows, columns), 0, 0, min(height, int(rows / scale)), min(width, int(columns / scale))))
    return sorted((window for window in found if window.area < 0.7 * shape[0] * shape[1]), key=lambda window: window.area)
