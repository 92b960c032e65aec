"""Reading a source in another thread: a file two frames ahead, a live source the newest frame, opened again if it goes away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from edgepose.errors import SourceError
from edgepose.media.frames import Frame, Pulse, Source
from edgepose.prefetch import Prefetch

logger = logging.getLogger(__name__)

# How long to wait before each try to open a source again, seconds. A camera that is plugged in again takes a second or two,
# a router that restarts about a minute; after the last try the source is given up.
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# How long closing a source waits for the thread that reads it, seconds. One that waits for a server, a camera or a pipe is left
# to end by itself.
PATIENCE_S = 1.0


def read_ahead(source: Source, reopen: Callable[[], Source]) -> Source:
    """`source`, read in a thread of its own, from the first frame asked for.

    Args:
        source: It now belongs to the thread. Files lose no frame, and wait while two are read and not taken. Of a live
            source only the newest is kept, so that no frame is older than it needs to be; `Source.dropped` counts the rest.
        reopen: Opens a live source again when it goes away.

    Raises:
        SourceError: While iterating: the source went away and could not be opened again.
    """
    if not source.is_live:
        prefetch = Prefetch(source)
        return replace(source, frames=prefetch, release=partial(prefetch.close, PATIENCE_S), prefetch=prefetch)
    ended, pulse = threading.Event(), Pulse()
    prefetch = Prefetch(endless(source, reopen, ended, pulse), newest=True)

    def close() -> None:
        has_begun = prefetch.has_begun
        ended.set()
        prefetch.close(PATIENCE_S)
        if not has_begun:
            source.close()

    return replace(source, frames=prefetch, release=close, prefetch=prefetch, pulse=pulse)


def endless(
    source: Source, reopen: Callable[[], Source], ended: threading.Event, pulse: Pulse | None = None
) -> Iterator[Frame]:
    """Frames of a live source that is opened again whenever it goes away, until `ended` is set; numbered and timed as one.

    `pulse` is told when they come, and when they come no more.

    Raises:
        SourceError: It did not come back.
    """
    pulse = pulse or Pulse()
    index = tries = 0  # The index is that of the next frame.
    started = 0.0
    while True:
        before = index
        reason = "no more frames come"
        # Closed in the thread that reads: OpenCV crashes if a capture is released during a read.
        with source:
            try:
                for frame in source:
                    now = time.monotonic()
                    pulse.came()
                    if index == 0:
                        started = now
                    elif tries:
                        logger.warning("%s: back after %d %s", source.name, tries, "try" if tries == 1 else "tries")
                    tries = 0
                    index = before + frame.index
                    yield replace(frame, index=index, timestamp=now - started)
                    index += 1
            except SourceError as error:
                if index == 0:
                    raise
                reason = str(error)
        pulse.lost()
        if ended.is_set():
            return
        if not tries:
            logger.warning("%s: gone (%s); it is opened again in %g s", source.name, reason, PAUSES_S[0])
        name, again = source.name, None
        while again is None:
            if tries == len(PAUSES_S):
                raise SourceError(f"{name}: went away and did not come back in {sum(PAUSES_S):g} s; the last try: {reason}")
            if ended.wait(PAUSES_S[tries]):
                return
            tries += 1
            try:
                again = reopen()
            except SourceError as error:
                reason = str(error)
                logger.info("%s: still gone after try %d of %d: %s", name, tries, len(PAUSES_S), reason)
        source = again
