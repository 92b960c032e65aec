"""Watches a source to its end: people are found and tracked in one thread; drawn, shown and written in the caller's.

    reading thread           estimating thread (files)                                     caller's thread
    source, newest or all -> network on frame n+1, while n is decoded and tracked       -> draw, show, write n-1

Queues between them hold two frames at most, and a thread that is early waits. A live source has no estimating thread: a frame
that waits in a queue is an old frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

from edgepose.drawing import draw_figures, draw_poses
from edgepose.errors import SourceError
from edgepose.estimator import EstimatedFrame, PoseEstimator
from edgepose.media.sinks import Sinks
from edgepose.media.sources import Source
from edgepose.media.window import Window
from edgepose.meter import Meter
from edgepose.prefetch import Prefetch


@dataclass(frozen=True)
class Watched:
    """The counts of a run over a source.

    Attributes:
        frames: The frames in which people were looked for.
        people: The people found in all of these together.
        dropped: Frames of a live source that were passed over because newer ones came.
        seconds: From the first frame's result to the last's.
        ended: The user ended it in the window.
    """

    frames: int
    people: int
    dropped: int
    seconds: float
    ended: bool = False

    @property
    def fps(self) -> float | None:
        """Frames a second, once running; None for fewer than two frames."""
        return (self.frames - 1) / self.seconds if self.frames > 1 and self.seconds > 0 else None


@contextmanager
def estimated(
    estimator: PoseEstimator, source: Source, *, track: bool = False, smooth: bool = False
) -> Iterator[Iterator[EstimatedFrame]]:
    """The frames of `source` with the people in them, found while the caller is busy with the frame before.

    Everything is ended when the `with` statement is left, at whatever frame and for whatever reason.

    Args:
        estimator: Finds the people.
        source: Is closed at the end.
        track: Give people identities that last from frame to frame.
        smooth: Smooth the keypoints over time; tracks, too.

    Raises:
        SourceError: While iterating: the source cannot be read.
    """
    frames = estimator.stream(source, track=track, smooth=smooth)
    with source:  # For the case that nobody takes a frame, so that the stream never begins.
        if source.is_live:
            try:
                yield frames
            finally:
                frames.close()
        else:
            with Prefetch(frames) as prefetch:
                yield prefetch


def watch(
    estimator: PoseEstimator,
    source: Source,
    *,
    sinks: Sinks,
    window: Window | None = None,
    figures: bool = True,
    track: bool = False,
    smooth: bool = False,
    progress: Callable[[Iterator[EstimatedFrame]], Iterator[EstimatedFrame]] = iter,
) -> Watched:
    """Find people in all of `source`; draw them onto its frames, show and write what is found.

    Args:
        estimator: Finds the people.
        source: Is closed at the end.
        sinks: Where frames and people are written.
        window: Where frames are shown, or None. The run ends when the user ends it.
        figures: Write frames a second, people and dropped frames onto what is shown, not onto what is saved.
        track: Give people identities that last from frame to frame.
        smooth: Smooth the keypoints over time; tracks, too.
        progress: Wraps the frames, to tell how far it is.

    Raises:
        SourceError: The source cannot be read, or nothing of it.
        OutputError: A file cannot be written.
    """
    meter = Meter()
    frames = people = 0
    first = last = 0.0
    ended = False
    with estimated(estimator, source, track=track, smooth=smooth) as results:
        for frame in progress(results):
            last = time.perf_counter()
            first = last if frames == 0 else first
            frames += 1
            people += len(frame.poses)
            meter.count()
            # Drawn once, and only if somebody wants to see it; onto the frame, which nobody else needs.
            colours: Literal["limb", "person"] = "limb" if frame.poses.ids is None else "person"
            picture = cache(partial(draw_poses, frame.image, frame.poses, color_by=colours, out=frame.image))
            sinks.write(frame, frame.poses, picture)
            if window is not None:
                shown = picture()
                if figures:
                    shown = draw_figures(shown, fps=meter.fps, people=len(frame.poses), dropped=source.dropped)
                if not window.show(shown):
                    ended = True
                    break
    if not frames and source.skipped:
        place, reason = source.skipped[0]
        raise SourceError(f"{source.name}: nothing of it can be read; skipped {len(source.skipped)}, such as {place}: {reason}")
    return Watched(frames, people, source.dropped, last - first, ended)
