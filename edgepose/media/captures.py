"""Videos and network streams, and the reading of OpenCV's captures, which cameras use, too."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.addresses import showable
from edgepose.errors import SourceError
from edgepose.media.frames import Frame, Source
from edgepose.media.images import MAX_PIXELS

logger = logging.getLogger(__name__)

# OpenCV answers "no frame" at the end of a video and at every damaged frame alike, so a video has ended when this many
# answers in a row say so, or when they have taken this long. At a true end all of them together take a few milliseconds.
MAX_FAILED_READS = 1000
PATIENCE_S = 5.0
# OpenCV waits 30 seconds for a server that does not answer, and nothing ends that wait.
STREAM_TIMEOUT_MS = 5_000
# FFmpeg decodes with a thread for each core, and each holds frames: 16 of them 44 MB more than 2 (H.264, 720p). The network has
# more to do for a frame, and wants the cores; and four decode one in less time than OpenCV's only thread takes to convert it.
DECODING_THREADS = min(4, max(1, cv2.getNumberOfCPUs() // 2))
# The frame rate of a video that does not state one.
DEFAULT_FPS = 25.0


def open_video(path: Path) -> Source:
    """The frames of a video file.

    Raises:
        SourceError: It is empty, or no video; while iterating: no frame of it can be decoded.
    """
    name = str(path)
    if path.is_file() and path.stat().st_size == 0:
        raise SourceError(f"{name}: an empty file; expected a video or an image")
    capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, DECODING_THREADS])
    if not capture.isOpened():
        capture = cv2.VideoCapture(name)  # By another of OpenCV's backends.
    if not capture.isOpened():
        raise SourceError(f"{name}: neither a video that OpenCV can open nor an image; it may be damaged or cut short")
    return from_capture(capture, name, "video", is_live=False)


def open_stream(url: str) -> Source:
    """The frames of a network stream, or of a video file on a web server.

    Raises:
        SourceError: The server does not answer, or not with a video.
    """
    name = showable(url)
    try:
        urlsplit(url)
    except ValueError as error:
        reason = "" if "'" in str(error) else f": {error}"  # The error may quote a password.
        raise SourceError(
            f"{name}: not an address that can be opened{reason}; expected rtsp://HOST/PATH or http://HOST/PATH"
        ) from None
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, [*timeouts, cv2.CAP_PROP_N_THREADS, DECODING_THREADS])
    if not capture.isOpened():
        raise SourceError(f"{name} cannot be opened; check the address, user name and password, and that it can be reached")
    # A video file on a web server says how long it is; a stream cannot.
    return from_capture(capture, name, "stream", is_live=not capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0)


def from_capture(capture: Any, name: str, kind: Literal["video", "camera", "stream"], *, is_live: bool) -> Source:
    """The frames of an opened `cv2.VideoCapture`, or an object that behaves like one.

    Raises:
        SourceError: They are too large; while iterating: none can be decoded.
    """
    width, height = (capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        capture.release()
        raise SourceError(f"{name}: {width:.0f} x {height:.0f} pixels a frame; expected at most {MAX_PIXELS:,}")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # Phones note how they were held; the frames are to come upright.
    said_fps, said_total = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    fps = said_fps if math.isfinite(said_fps) and 0 < said_fps <= 1000 else None
    total = int(said_total) if not is_live and 0 < said_total < 1e9 else None
    skipped: list[tuple[str, str]] = []
    frames = _read_capture(capture, name, fps, total, skipped, is_live=is_live)
    return Source(name, kind, frames, is_live, fps, total, skipped, capture.release)


def _read_capture(
    capture: Any, name: str, fps: float | None, total: int | None, skipped: list[tuple[str, str]], *, is_live: bool
) -> Iterator[Frame]:
    step = 1 / (fps or DEFAULT_FPS)
    index = failures = 0
    timestamp, started = -step, math.nan
    while True:
        image, failed = _next_image(capture)
        if image is None:
            break
        if failed:
            place, reason = f"{name}, before frame {index}", f"damaged; frames that could not be decoded: {failed}"
            if is_live:  # It has no end, and neither would the list.
                logger.warning("%s: %s", place, reason)
            else:
                skipped.append((place, reason))
        failures += failed
        if is_live:
            now = time.monotonic()
            started = now if index == 0 else started
            timestamp = now - started
        else:
            clock = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # The container's clock, which knows of variable rates; where it stands still or runs back, the nominal step.
            timestamp = clock if 0 <= clock < math.inf and clock > timestamp else timestamp + step
        yield Frame(image, index, timestamp, name)
        index += 1
    if index == 0:
        raise SourceError(f"{name}: no frame of it can be decoded; it may be damaged or of an unknown format")
    if total is not None and index + failures < 0.98 * total - 1:
        logger.warning("%s: its header promises %d frames, %d were read; it is damaged, cut short, or lies", name, total, index)


def _next_image(capture: Any) -> tuple[NDArray[np.uint8] | None, int]:
    """The next frame that can be decoded, or None at the end, and how many before it could not be."""
    started = time.monotonic()
    for failed in range(MAX_FAILED_READS):
        done, image = capture.read()
        if done:
            return image, failed
        if time.monotonic() - started > PATIENCE_S:
            break
    return None, 0
