"""Caches on disk: where the user's is, one warning where there is none, and a lock between processes that write to one.

What is kept there (compiled kernels, compiled networks) can be made again at any time: nothing about a cache is an error.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

# Windows has none, and does not let a file be rewritten that another process has mapped.
fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

_log = logging.getLogger(__name__)

# A process that computes what others wait for takes 15 s on two cores, and a few minutes on a Raspberry Pi. One that takes
# longer hangs, or was stopped.
PATIENCE_S = 300.0
_PAUSE_S = 0.05

_has_warned = False


def user_cache() -> Path | None:
    """The user's cache folder of edgepose, which need not exist; None for a user without a home."""
    try:
        folder = platformdirs.user_cache_dir("edgepose", appauthor=False)
    except RuntimeError:  # So say newer versions; older ones leave the "~" that stands for nobody's home.
        return None
    return None if folder.startswith("~") else Path(folder)


def warn_uncached(what: str, reason: object) -> None:
    """Say that something cannot be kept: a warning the first time in a process, which stands for all that follow."""
    global _has_warned
    level = logging.INFO if _has_warned else logging.WARNING
    _has_warned = True
    _log.log(
        level,
        "%s cannot be kept (%s), so that every start takes seconds longer; set XDG_CACHE_HOME to a folder that can be written "
        "(of kernels alone, set NUMBA_CACHE_DIR)",
        what,
        reason,
    )


def has_warned() -> bool:
    """Whether this process has said that it works without a cache."""
    return _has_warned


@contextmanager
def exclusive(folder: str | os.PathLike[str], patience_s: float = PATIENCE_S) -> Iterator[bool]:
    """Be the only process in a `with exclusive(folder)`; the value is False where that cannot be had: go on without the cache.

    The folder itself is locked, so that no file is left behind. The lock ends with the process, however it ends.
    """
    if fcntl is None:
        yield True
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        yield _locked(descriptor, patience_s)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # noqa: PERF203 (one turn takes a pause)
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_S)
        except OSError:  # A file system without locks.
            return False
        else:
            return True
