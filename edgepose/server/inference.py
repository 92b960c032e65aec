"""One inference for all viewers: a thread finds the people in each frame of the source, and viewers take the newest result.

The thread waits for no viewer: it keeps the result and goes on. Pictures are drawn and encoded in another thread, once for each
frame, and only if a viewer asks for them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import PurePath
from typing import Literal

from edgepose.errors import EdgePoseError, SourceError
from edgepose.estimator import EstimatedFrame, PoseEstimator
from edgepose.media.sources import Frame, Source
from edgepose.meter import Meter
from edgepose.server.metrics import Metrics
from edgepose.server.results import People, Result

logger = logging.getLogger(__name__)

State = Literal["running", "waiting", "ended", "failed"]

# Seconds between tries to open a live source that is gone, and did not come back by tries of its own.
RETRY_S = 15.0
# The rate of the pictures of a folder, which have no time stamps.
PICTURES_PER_S = 1.0
# The number of results whose people are kept, for messages with the people of several frames.
RECENT = 64


class SourceInference:
    """Finds the people in a source, in a thread of its own, and keeps the newest result.

    Args:
        estimator: Finds the people.
        open_frames: Opens the source; called at once, and whenever the source has to be opened again.
        track: Give people identities that last from frame to frame.
        smooth: Smooth the keypoints over time; tracks, too.
        loop: Begin files again where they end.
        paced: Look at files at their own rate at most, not as fast as possible.
        metrics: Counts frames and times of the stages; None: new ones.

    Raises:
        SourceError: The source cannot be opened.
    """

    def __init__(
        self,
        estimator: PoseEstimator,
        open_frames: Callable[[], Source],
        *,
        track: bool = False,
        smooth: bool = False,
        loop: bool = False,
        paced: bool = True,
        metrics: Metrics | None = None,
    ) -> None:
        self.metrics = metrics or Metrics()
        self.state: State = "running"
        self.reason = ""  # The reason of `state`, where it needs one.
        self.frames = 0  # The number of frames up to now, over all openings of the source.
        self.latest: Result | None = None
        self._recent: deque[People] = deque(maxlen=RECENT)
        self._estimator = estimator
        self._open = open_frames
        self._source = open_frames()
        self.name = PurePath(self._source.name).name or self._source.name
        self._track, self._smooth, self._repeats, self._paced = track, smooth, loop, paced
        self._meter = Meter()
        self._dropped = self._dropped_before = 0  # Frames, up to now, and by openings of the source that have ended.
        self._held = 0.0  # Seconds for which frames of this opening of the source were held back.
        self._ended = threading.Event()
        self._draw = ThreadPoolExecutor(1, "edgepose-draw")
        self._thread = threading.Thread(target=self._run, name="edgepose-inference", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._waiting = 0
        self._is_released = False

    def start(self) -> None:
        """Start the thread. Viewers have to run in the event loop of the caller."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def newer(self, number: int) -> Result | None:
        """The newest result, once it is newer than result `number`; None when there will be no more."""
        while True:
            changed, latest = self._changed, self.latest
            if self._is_released:
                return None
            if latest is not None and latest.number > number:
                return latest
            if self.state in ("ended", "failed"):
                return None
            self._waiting += 1
            try:
                # The thread wakes viewers only if it sees that one waits. So: count this one, look again, and only then wait.
                if latest is self.latest and self.state not in ("ended", "failed"):
                    await changed.wait()
            finally:
                self._waiting -= 1

    def between(self, first: int, last: int) -> list[People]:
        """The people of the results between those with numbers `first` and `last`, as far back as they are kept."""
        return [people for people in self._recent.copy() if first < people.number < last]

    def release_viewers(self) -> None:
        """Let `newer` end for all viewers. To be called in the event loop, when the server is to end."""
        self._is_released = True
        self._wake()

    def close(self) -> None:
        """End the threads and wait for that, which may take a few seconds if a camera or a server does not answer."""
        self._ended.set()
        self._source.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._draw.shutdown()

    def _run(self) -> None:
        try:
            while True:
                source = self._source
                number = self.frames
                try:
                    self._estimate_all(source)
                    failure = ""
                except SourceError as error:
                    failure = str(error)
                self._dropped_before += source.dropped
                had_frames = self.frames > number
                if failure and not source.is_live:
                    self._set_state("failed", failure)
                elif not source.is_live and not (self._repeats and had_frames):
                    self._set_state("ended")
                elif self._reopen(failure):
                    self._set_state("running")
                    continue
                return
        except EdgePoseError as error:
            self._set_state("failed", str(error))
        except Exception:
            logger.exception("the thread that looks at the source has ended")
            self._set_state("failed", "an error in the server; its log says more")
        finally:
            self.metrics.up.set(0)

    def _reopen(self, failure: str) -> bool:
        """Open the source again; False when the server ends first."""
        while not self._ended.is_set():
            if failure:
                self._set_state("waiting", failure)
                logger.warning("%s; tried again every %g s", failure, RETRY_S)
                self._ended.wait(RETRY_S)
            try:
                # First the source is set, then `_ended` is read; `close` does it the other way round. So one of them closes it.
                self._source = self._open()
            except SourceError as error:
                failure = str(error)
                continue
            if not self._ended.is_set():
                return True
            self._source.close()
        return False

    def _estimate_all(self, source: Source) -> None:
        """Find the people in all frames of `source`."""
        read_at: dict[int, float] = {}
        self._held = 0.0
        timed = replace(source, frames=self._read(source, read_at))
        started: float | None = None
        with source, closing(self._estimator.stream(timed, track=self._track, smooth=self._smooth)) as frames:
            for frame in frames:
                now = time.perf_counter()
                self.metrics.stages["estimate"].observe(now - self._held - read_at.pop(frame.index))
                if self._paced and not source.is_live:
                    clock = frame.timestamp if source.kind != "images" else frame.index / PICTURES_PER_S
                    # After a delay, the frames do not catch up: the clock is set back instead.
                    started = now - clock if started is None else max(started, now - clock)
                    self._ended.wait(max(0.0, started + clock - now))
                    self._held += time.perf_counter() - now
                if self._ended.is_set():
                    return
                with self.metrics.timed("publish"):
                    self._publish(frame, source)

    def _read(self, source: Source, read_at: dict[int, float]) -> Iterator[Frame]:
        """The frames of `source`; the time at which each came is put into `read_at`."""
        while True:
            with self.metrics.timed("read"):
                frame = next(source, None)
            if frame is None:
                return
            read_at[frame.index] = time.perf_counter() - self._held
            yield frame

    def _publish(self, frame: EstimatedFrame, source: Source) -> None:
        self._meter.count()
        metrics = self.metrics
        dropped = self._dropped_before + source.dropped
        metrics.dropped.inc(dropped - self._dropped)
        self.frames, self._dropped = self.frames + 1, dropped
        metrics.frames.inc()
        metrics.up.set(1)
        metrics.people.set(len(frame.poses))
        metrics.fps.set(self._meter.fps)
        people = People(self.frames, frame, {"fps": round(self._meter.fps, 2), "dropped": dropped})
        self._recent.append(people)
        self.latest = Result(people, frame, self._draw, metrics)
        if self._waiting:
            self._notify()

    def _set_state(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason
        if state != "running":
            self.metrics.up.set(0)
            self.metrics.fps.set(0)
        self._notify()

    def _notify(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
