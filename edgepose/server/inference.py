"""One inference for all viewers: a thread finds the people in each frame of the source, and viewers take the newest result.

The thread waits for no viewer: it keeps the result and goes on. Pictures are drawn and encoded in another thread, once for each
frame, and only if a viewer asks for them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import Literal

from prometheus_client import Counter

from edgepose.errors import EdgePoseError, SourceError
from edgepose.estimator import EstimatedFrame, PoseEstimator
from edgepose.media.sources import Frame, Source
from edgepose.meter import WINDOW_S, Meter
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
# Seconds for which somebody who has asked for a result counts as one who watches.
WATCHING_S = 5.0
# Seconds that a frame of a source that nobody watched may take, before the last one is shown instead.
FRESH_S = 2.0
# Seconds that the thread has to end. If a camera or a server that does not answer holds it up, it is left to end by itself.
CLOSE_S = 0.7


class SourceInference:
    """Finds the people in a source, in a thread of its own, and keeps the newest result.

    Args:
        estimator: Finds the people.
        open_frames: Opens the source; called at once, and whenever the source has to be opened again.
        track: Give people identities that last from frame to frame.
        smooth: Smooth the keypoints over time; tracks, too.
        loop: Begin files again where they end. They stand still while nobody watches.
        paced: Look at files at their own rate at most, not as fast as possible.

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
    ) -> None:
        self.metrics = Metrics()
        self.metrics.up.set_function(lambda: self.state == "running")
        self.metrics.fps.set_function(lambda: self.fps)
        self.metrics.age.set_function(lambda: math.nan if self.latest is None else self.latest.people.age)
        self.frames = 0  # The number of frames up to now, over all openings of the source.
        self.latest: Result | None = None
        # For each viewer who is being sent something: the counter of what it misses, and from when on it does.
        self.busy: dict[object, tuple[Counter, float]] = {}
        self._state: State = "running"
        self._reason = ""  # The reason of `_state`, where it needs one.
        self._recent: deque[People] = deque(maxlen=RECENT)
        self._open = open_frames
        # In a thread, so that Ctrl-C need not wait for a camera or a server that does not answer.
        self._source = ThreadPoolExecutor(1, "edgepose-open").submit(open_frames).result()
        self.name = PurePath(self._source.name).name or self._source.name
        self._stream = partial(estimator.stream, track=track, smooth=smooth)
        self._repeats, self._paced = loop, paced
        self._meter = Meter()
        self._published_at = 0.0
        self._dropped = self._dropped_before = 0  # Frames, up to now, and by openings of the source that have ended.
        self._held = 0.0  # Seconds for which frames of this opening of the source were held back.
        self._ended = threading.Event()
        self._draw = ThreadPoolExecutor(1, "edgepose-draw")
        self._thread = threading.Thread(target=self._run, name="edgepose-inference", daemon=True)
        self._closing = threading.Thread(target=lambda: self._source.close(), name="edgepose-close", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._ticks: dict[float, asyncio.Event] = {}
        self._waiting = 0  # Viewers who wait for a result.
        self._asked_at = -math.inf  # When somebody last asked for one.
        self._asked = threading.Event()
        self._is_paused = False

    @property
    def state(self) -> State:
        """Whether frames come ("running") or are waited for, or there will be no more of them, in the end or by a failure."""
        return "waiting" if self._state == "running" and self._source.gone_since is not None else self._state

    @property
    def reason(self) -> str:
        """The reason of `state`, where it needs one."""
        since = self._source.gone_since if self._state == "running" else None
        return self._reason if since is None else f"no frame has come since {time.strftime('%X', time.localtime(since))}"

    @property
    def fps(self) -> float:
        """Frames a second; 0 where none come any more."""
        fps = self._meter.fps
        is_new = fps > 0 and time.monotonic() - self._published_at < max(WINDOW_S, 3 / fps)
        return fps if is_new and self.state == "running" else 0.0

    def start(self) -> None:
        """Start the thread. Viewers have to run in the event loop of the caller."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def ask(self) -> None:
        """Count as somebody who watches, for a few seconds."""
        self._asked_at = time.monotonic()
        if not self._asked.is_set():
            self._asked.set()

    async def newer(self, number: int) -> Result | None:
        """The newest result, once it is newer than result `number`; None when there will be no more."""
        while not self._ended.is_set():
            self.ask()
            if self.latest is not None and self.latest.number > number:
                return self.latest
            if self._state in ("ended", "failed"):
                break
            self._waiting += 1
            try:
                await self._changed.wait()
            finally:
                self._waiting -= 1
        return None

    async def tick(self, interval_s: float) -> None:
        """Wait for the next tick of a clock, which all viewers share: one timer wakes them all, to take the same result."""
        if interval_s not in self._ticks:
            self._ticks[interval_s] = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.call_later(interval_s - loop.time() % interval_s, lambda: self._ticks.pop(interval_s).set())
        await self._ticks[interval_s].wait()

    async def current(self) -> Result | None:
        """The newest result; the next one, if nobody has watched for a while. None before the first."""
        was_paused = self._is_paused
        self.ask()
        if was_paused and self.latest is not None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.newer(self.latest.number), FRESH_S)
        return self.latest

    def between(self, first: int, last: int) -> list[People]:
        """The people of the results between those with numbers `first` and `last`, as far back as they are kept."""
        if last - first < 2:  # Mostly, for most viewers.
            return []
        return [people for people in self._recent.copy() if first < people.number < last]

    def release_viewers(self) -> None:
        """Let `newer` end for all viewers, and begin to close. To be called in the event loop, when the server is to end."""
        self._ended.set()
        self._asked.set()
        self._wake()
        if self._closing.ident is None:
            self._closing.start()

    def close(self) -> None:
        """End the threads; one that a camera or a server holds up ends later."""
        self.release_viewers()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)
        self._draw.shutdown(wait=False)

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                source, before, failure = self._source, self.frames, ""
                try:
                    self._estimate_all(source)
                except SourceError as error:
                    failure = str(error)
                self._dropped_before += source.dropped
                frames = self.frames - before
                if not source.is_live and (failure or not (self._repeats and frames)):
                    self._set_state("failed" if failure else "ended", failure)
                    return
                if source.kind == "images" and frames == 1:
                    self._repeat_still()
                self._reopen(failure)
        except EdgePoseError as error:
            self._set_state("failed", str(error))
        except Exception:
            logger.exception("the thread that looks at the source has ended")
            self._set_state("failed", "an error in the server; its log says more")

    def _reopen(self, failure: str) -> None:
        """Open the source again, unless the server ends first."""
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
            self._set_state("running")
            if self._ended.is_set():
                self._source.close()
            return

    def _estimate_all(self, source: Source) -> None:
        """Find the people in all frames of `source`."""
        read_at: dict[int, float] = {}
        self._held = 0.0
        timed = replace(source, frames=self._read(source, read_at))
        started: float | None = None
        with source, closing(self._stream(timed)) as frames:
            for frame in frames:
                now = time.perf_counter()
                self.metrics.stages["estimate"].observe(now - self._held - read_at.pop(frame.index))
                if not source.is_live:
                    self._wait_for_viewers()
                    if self._paced and source.kind == "images":
                        # Since the one before, which may be the last one of a folder that begins again.
                        self._ended.wait(max(0.0, self._published_at + 1 / PICTURES_PER_S - time.monotonic()))
                    elif self._paced:
                        # After a delay, the frames do not catch up: the clock is set back instead.
                        began = time.perf_counter() - frame.timestamp
                        started = began if started is None else max(started, began)
                        self._ended.wait(max(0.0, started - began))
                    self._held += time.perf_counter() - now
                if self._ended.is_set():
                    return
                with self.metrics.timed("publish"):
                    self._publish(frame, source.dropped)

    def _repeat_still(self) -> None:
        """Show the only picture of a source again and again, as new frames, until the server ends."""
        assert self.latest is not None
        while not self._ended.wait(1 / PICTURES_PER_S):
            self._wait_for_viewers()
            self._publish(self.latest.frame, 0)

    def _wait_for_viewers(self) -> None:
        """Return at once if somebody watches, or this is the first frame, or a file that ends."""
        if self._repeats and self.frames:
            self._asked.clear()
            self._is_paused = not self._waiting and time.monotonic() - self._asked_at >= WATCHING_S
            if self._is_paused and not self._ended.is_set():
                self._is_paused = not self._asked.wait()

    def _read(self, source: Source, read_at: dict[int, float]) -> Iterator[Frame]:
        """The frames of `source`; the time at which each came is put into `read_at`."""
        while True:
            with self.metrics.timed("read"):
                frame = next(source, None)
            if frame is None:
                return
            read_at[frame.index] = time.perf_counter() - self._held
            yield frame

    def _publish(self, frame: EstimatedFrame, dropped: int) -> None:
        self._meter.count()
        self._published_at = time.monotonic()
        metrics = self.metrics
        dropped += self._dropped_before
        metrics.dropped.inc(dropped - self._dropped)
        self.frames, self._dropped = self.frames + 1, dropped
        metrics.frames.inc()
        metrics.people.set(len(frame.poses))
        for skipped, due in [*self.busy.values()]:
            if self._published_at > due:
                skipped.inc()
        people = People(self.frames, frame, fps=self._meter.fps, dropped=dropped)
        self._recent.append(people)
        self.latest = Result(people, frame, self._draw, metrics)
        self._notify()

    def _set_state(self, state: State, reason: str = "") -> None:
        self._state, self._reason = state, reason
        self._notify()

    def _notify(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
