"""Pictures that visitors send: checked, bounded, decoded and looked at, one at a time in a thread of its own.

Nothing of that is done in the event loop: even the header of a picture that means harm takes its time.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edgepose.errors import InputError, SourceError
from edgepose.estimator import PoseEstimator
from edgepose.media.headers import read_header
from edgepose.media.images import read_image
from edgepose.poses import Poses
from edgepose.server.limits import Full
from edgepose.server.metrics import Metrics


class BadPicture(Exception):
    """What came is no picture that can be looked at.

    Args:
        status: What HTTP calls it: 400 damaged, 413 too large, 415 no picture.
        message: For the visitor.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Seen:
    """The people in a visitor's picture, and its size in pixels."""

    poses: Poses
    width: int
    height: int


class Visitors:
    """Finds people in pictures of visitors, beside the source.

    Args:
        estimator: The one that looks at the source, too.
        waiting: Pictures that may wait at a time.
        metrics: Is told how long each took.
    """

    def __init__(self, estimator: PoseEstimator, waiting: int, metrics: Metrics) -> None:
        self._estimator = estimator
        self._most = waiting
        self._metrics = metrics
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "edgepose-visitors")

    async def look_at(self, data: bytes, max_pixels: int) -> Seen:
        """The people in the image file `data`.

        Raises:
            BadPicture: It is none, damaged, of a shape that no network takes, or has more than `max_pixels`.
            Full: Too many are waiting.
        """
        if self._waiting >= self._most:
            raise Full(f"{self._most} pictures are waiting already; try again later")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._look_at, data, max_pixels)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread, after the picture that it is looking at."""
        self._thread.shutdown(cancel_futures=True)

    def _look_at(self, data: bytes, max_pixels: int) -> Seen:
        with self._metrics.timed("visitor"):
            check_picture(data, max_pixels)
            try:
                image = read_image(data)
                return Seen(self._estimator(image), image.shape[1], image.shape[0])
            except (SourceError, InputError) as error:
                raise BadPicture(400, str(error)) from None


def check_picture(data: bytes, max_pixels: int) -> None:
    """Look at the header of an image file, before anything is decoded.

    Raises:
        BadPicture: It is none, its header is damaged, or it has more than `max_pixels`.
    """
    try:
        header = read_header(data)
    except ValueError as error:
        raise BadPicture(400, f"damaged image: {error}") from None
    if header is None:
        status, found = (415, "not an image that can be read") if data else (400, "empty")
        raise BadPicture(status, f"{found}; expected a JPEG, PNG, WebP, BMP or TIFF image")
    if header.width * header.height > max_pixels:
        raise BadPicture(413, f"{header.width} x {header.height} pixels; expected at most {max_pixels:,} in all")
