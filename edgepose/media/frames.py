"""`Frame` and `Source`: a picture with its number and time, and the iterator of them that every kind of source opens as."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgepose.prefetch import Prefetch

# A function that returns the annotated frame, (H, W, 3) uint8 BGR, so that it is drawn only if it is needed.
Picture = Callable[[], NDArray[np.uint8]]


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

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self.frames)

    def close(self) -> None:
        """Let go of the file or device; there are no more frames then. Closing twice does no harm.

        A thread that reads ahead is ended. It may be waiting for its camera or server, for a few seconds at most.
        """
        self.frames = iter(())
        self.release()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
