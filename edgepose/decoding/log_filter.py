"""A log filter for warnings that come with every frame, thirty times a second: only some of them are written."""

from __future__ import annotations

import logging
import time

PAUSE_S = 10.0


class NowAndThen(logging.Filter):
    """Lets a logger speak at most once in `PAUSE_S` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -PAUSE_S

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        now = time.monotonic()
        if now - self._last < PAUSE_S:
            return False
        self._last = now
        return True
