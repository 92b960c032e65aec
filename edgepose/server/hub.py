"""One inference for all viewers: a thread looks at the source, and every viewer takes the newest result when it is ready.

Nobody is waited for. The thread only puts the result down and goes on; drawing and encoding happen in another thread, once a
frame, and only if a viewer asks for the picture.
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
from edgepose.server.pose_json import warm_up
from edgepose.server.results import People, Result

logger = logging.getLogger(__name__)

State = Literal["running", "waiting", "ended", "failed"]

# A live source that its own tries did not bring back is opened anew this often, for as long as the server runs.
RETRY_S = 15.0
# Pictures of a folder have no clock; this is a second each.
PICTURES_PER_S = 1.0
# Results whose people are kept for viewers who get those of several frames at once.
RECENT = 64


class Hub:
    """Looks at a source in a thread of its own, and keeps the newest result for whoever asks.

    Args:
        estimator: Finds the people.
        open_frames: Opens the source; called now, and whenever it has to be opened again.
        track: Give people identities that last from frame to frame.
        smooth: Smooth the keypoints over time; tracks, too.
        loop: Begin files again where they end.
        paced: Show files at their own rate at most, not as fast as they can be looked at.
        metrics: Is filled on the way.

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
        self.reason = ""  # Of `state`, where it needs one.
        self.latest: Result | None = None
        self._recent: deque[People] = deque(maxlen=RECENT)
        self._estimator = estimator
        self._open = open_frames
        self._source = open_frames()
        self.name = PurePath(self._source.name).name or self._source.name
        self._track, self._smooth, self._again, self._paced = track, smooth, loop, paced
        self._meter = Meter()
        self._dropped_before = 0
        self._held = 0.0  # Seconds in which frames of this opening were held back to be paced.
        self._ended = threading.Event()
        self._draw = ThreadPoolExecutor(1, "edgepose-draw")
        self._thread = threading.Thread(target=self._run, name="edgepose-hub", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._came = asyncio.Event()
        self._waiting = 0
        self._dismissed = False

    def start(self) -> None:
        """Begin; viewers have to be in the event loop that runs now."""
        warm_up()  # Here, where nobody waits for an answer yet.
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def newer(self, number: int) -> Result | None:
        """The newest result, once it is newer than result `number`; None when there will be no more."""
        while True:
            came, latest = self._came, self.latest
            if self._dismissed:
                return None
            if latest is not None and latest.number > number:
                return latest
            if self.state in ("ended", "failed"):
                return None
            self._waiting += 1
            try:
                # The thread tells only if somebody waits. So: say so, then look again, then wait.
                if latest is self.latest and self.state not in ("ended", "failed"):
                    await came.wait()
            finally:
                self._waiting -= 1

    def between(self, first: int, last: int) -> list[People]:
        """The people of the results between those with numbers `first` and `last`, as far back as they are kept."""
        return [people for people in self._recent.copy() if first < people.number < last]

    def dismiss(self) -> None:
        """Send all viewers home. To be called in the event loop, as the server goes down."""
        self._dismissed = True
        self._wake()

    def close(self) -> None:
        """End the threads, and wait until they have; a camera or server may keep that waiting for a few seconds."""
        self._ended.set()
        self._source.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._draw.shutdown()

    def _run(self) -> None:
        try:
            while True:
                source = self._source
                number = self.metrics.frames
                try:
                    self._look_at(source)
                    failure = ""
                except SourceError as error:
                    failure = str(error)
                self._dropped_before += source.dropped
                looked = self.metrics.frames - number
                if failure and not source.is_live:
                    self._turn("failed", failure)
                elif not source.is_live and not (self._again and looked):
                    self._turn("ended")
                elif self._reopen(failure):
                    self._turn("running")
                    continue
                return
        except EdgePoseError as error:
            self._turn("failed", str(error))
        except Exception:
            logger.exception("the source is looked at no more")
            self._turn("failed", "an error in the server; its log says more")
        finally:
            self.metrics.running = False

    def _reopen(self, failure: str) -> bool:
        """Open the source again; False when the server ends first."""
        while not self._ended.is_set():
            if failure:
                self._turn("waiting", failure)
                logger.warning("%s; tried again every %g s", failure, RETRY_S)
                self._ended.wait(RETRY_S)
            try:
                # Put down first, then looked whether we are to end: `close` does the two the other way round.
                self._source = self._open()
            except SourceError as error:
                failure = str(error)
                continue
            if not self._ended.is_set():
                return True
            self._source.close()
        return False

    def _look_at(self, source: Source) -> None:
        read_at: dict[int, float] = {}
        self._held = 0.0
        timed = replace(source, frames=self._read(source, read_at))
        started: float | None = None
        with source, closing(self._estimator.stream(timed, track=self._track, smooth=self._smooth)) as frames:
            for frame in frames:
                now = time.perf_counter()
                self.metrics.stages["estimate"].add(now - self._held - read_at.pop(frame.index))
                if self._paced and not source.is_live:
                    clock = frame.timestamp if source.kind != "images" else frame.index / PICTURES_PER_S
                    # What is late is not made up for in a rush: the clock is set back instead.
                    started = now - clock if started is None else max(started, now - clock)
                    self._ended.wait(max(0.0, started + clock - now))
                    self._held += time.perf_counter() - now
                if self._ended.is_set():
                    return
                with self.metrics.timed("publish"):
                    self._publish(frame, source)

    def _read(self, source: Source, read_at: dict[int, float]) -> Iterator[Frame]:
        """The frames of `source`; when each came is noted in `read_at`."""
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
        metrics.frames += 1
        metrics.running = True
        metrics.people, metrics.fps, metrics.dropped = len(frame.poses), self._meter.fps, self._dropped_before + source.dropped
        facts = {"fps": round(metrics.fps, 2), "dropped": metrics.dropped}
        people = People(metrics.frames, frame, facts)
        self._recent.append(people)
        self.latest = Result(people, frame, self._draw, metrics)
        if self._waiting:
            self._tell()

    def _turn(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason
        if state != "running":
            self.metrics.running, self.metrics.fps = False, 0.0
        self._tell()

    def _tell(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._came.set()
        self._came = asyncio.Event()
