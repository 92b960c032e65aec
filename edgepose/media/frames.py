"""`Frame` and `Source`: a picture with its number and time, and the iterator of them that every kind of source opens as."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.prefetch import Prefetch

# A function that returns the annotated frame, (H, W, 3) uint8 BGR, so that it is drawn only if it is needed.
Picture = Callable[[], NDArray[np.uint8]]

# The frame rate of a video that does not state one.
DEFAULT_FPS = 25.0
# A live source that gives no frame for this long, seconds, and for so many of its usual intervals, is gone.
SILENCE_S = 2.0
MISSED_INTERVALS = 5


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture of a source.

    Attributes:
        image: (H, W, 3) uint8 BGR, upright.
        index: How many frames of the source came before it, dropped ones included.
        timestamp: Seconds, always growing: on the video's own clock in a file, since the first frame when live; 0 for
            pictures, which have no clock.
        path: The file that it came from, or the name of the source.
        received: When a live frame came, in seconds of Unix time; None for files and pictures.
    """

    image: NDArray[np.uint8]
    index: int
    timestamp: float
    path: str
    received: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Part:
    """The frames of a source that are wanted: those from `start` to before `end`, and of them each `every`-th.

    Attributes:
        start: Seconds on the clock of the source.
        end: Likewise.
        every: 1 for each frame.

    Raises:
        InputError: A value is out of range.
    """

    start: float = 0.0
    end: float = math.inf
    every: int = 1

    def __post_init__(self) -> None:
        if not (isinstance(self.start, (int, float)) and 0 <= self.start < math.inf):
            raise InputError(f"start is {self.start!r}; expected seconds, 0 or more")
        if not (isinstance(self.end, (int, float)) and self.end > self.start):
            raise InputError(f"end is {self.end!r}; expected seconds after the start, {self.start:g}")
        if isinstance(self.every, bool) or not isinstance(self.every, (int, np.integer)) or self.every < 1:
            raise InputError(f"every is {self.every!r}; expected a whole number, 1 or more")

    @property
    def has_times(self) -> bool:
        """Whether it begins late or ends early."""
        return self.start > 0 or self.end < math.inf

    def expected(self, total: int | None, duration_s: float | None) -> int | None:
        """The frames to expect of it where the whole has `total` of them in `duration_s` seconds."""
        if total is None or (self.has_times and not duration_s):
            return None
        if duration_s and self.has_times:
            total = round(total * max(0.0, min(self.end, duration_s) - self.start) / duration_s)
        return -(-total // self.every)


class Pulse:
    """Whether the frames of a live source still come: its reader says when one does, and any thread may ask."""

    def __init__(self) -> None:
        self._interval = 0.0  # The longest of late, seconds.
        self._is_lost = False
        self._last = (time.monotonic(), time.time())

    def came(self) -> None:
        """Note that a frame came."""
        last, now = self._last[0], (time.monotonic(), time.time())
        if not self._is_lost:
            self._interval = max(now[0] - last, 0.9 * self._interval)
        self._last, self._is_lost = now, False

    def lost(self) -> None:
        """Note that the source went away; it is back when the next frame comes."""
        self._is_lost = True

    @property
    def gone_since(self) -> float | None:
        """When the last frame came, or the source was opened, in seconds of Unix time; None while frames come."""
        came, came_unix = self._last
        silence = time.monotonic() - came
        is_gone = self._is_lost or silence > max(SILENCE_S, MISSED_INTERVALS * self._interval)
        return came_unix if is_gone else None


@dataclass(eq=False)
class Source:
    """An iterator of frames, with what is known of where they come from. It can be read once.

    `open_source` opens one by name; other frames become one by `Source(name, kind, frames)`, and `dataclasses.replace(source,
    frames=...)` puts something between a source and whoever reads it. Use it in a `with` statement, or call `close()`. Where it
    reads in the calling thread, close it there, too.

    Attributes:
        name: The source as the user named it, without any password.
        kind: "images", "video", "camera" or "stream".
        frames: Where the next frame is taken from.
        is_live: Frames come at their own pace, and without an end; only the newest is kept.
        fps: Frames per second, or None where there is no such thing or the source does not say.
        total: Frames to expect, or None. A hint: videos lie.
        skipped: The files, or places in the video, that could not be read and were passed over, each with the reason. It
            grows on the way.
        release: Is called by `close`, as often as that is.
        prefetch: The iterator that reads ahead in another thread, where there is one; `dropped` and `ready` ask it.
        files: The files or devices that it reads, by any name: none of them may be written to.
        pixel_aspect: The width of a pixel over its height, when shown; 1 but for anamorphic videos.
        sound: The video file whose sound belongs to the frames, or None.
        pulse: Tells whether frames of a live source still come, where it is read ahead; `gone_since` asks it.
    """

    name: str
    kind: Literal["images", "video", "camera", "stream"]
    frames: Iterator[Frame] = field(repr=False)
    is_live: bool = False
    fps: float | None = None
    total: int | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    release: Callable[[], object] = field(default=lambda: None, repr=False)
    prefetch: Prefetch[Frame] | None = field(default=None, repr=False)
    files: Sequence[Path] = field(default=(), repr=False)
    pixel_aspect: float = 1.0
    sound: Path | None = None
    pulse: Pulse | None = field(default=None, repr=False)

    @property
    def is_timed(self) -> bool:
        """Whether its frames have times: those of videos, cameras and streams have, pictures have not."""
        return self.kind != "images"

    @property
    def dropped(self) -> int:
        """Frames of a live source that were passed over because newer ones came."""
        return 0 if self.prefetch is None else self.prefetch.dropped

    @property
    def ready(self) -> bool:
        """Whether a frame waits, read ahead, so that `next` returns at once."""
        return self.prefetch is not None and self.prefetch.ready

    @property
    def gone_since(self) -> float | None:
        """Since when a live source gives no frames, in seconds of Unix time; None while they come, and for what is not live.

        It is gone while it is being opened again, and when no frame has come for two seconds and five of its usual intervals.
        Any thread may ask.
        """
        return None if self.pulse is None else self.pulse.gone_since

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self.frames)

    def close(self) -> None:
        """Let go of the file or device; there are no more frames then. Closing twice does no harm.

        A thread that reads ahead is ended. One that waits for its camera, server or pipe is left to end by itself, when that
        wait does.
        """
        self.frames = iter(())
        self.release()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
