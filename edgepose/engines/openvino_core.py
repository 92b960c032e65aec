"""OpenVINO's core, and the folder where it keeps compiled networks, so that each is compiled once on a machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import openvino as ov
import platformdirs

from edgepose.once import Once

_log = logging.getLogger(__name__)

# Of compiled networks on disk. Each shape of a network takes 5 to 100 MB, and OpenVINO never removes any.
MAX_CACHE_BYTES = 1 << 30


def _load() -> ov.Core:
    """The core; where the cache folder cannot be written, compiled networks are not kept."""
    loaded = ov.Core()
    folder = Path(platformdirs.user_cache_dir("edgepose", appauthor=False)) / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_oldest(folder, MAX_CACHE_BYTES)
        loaded.set_property({"CACHE_DIR": str(folder)})
    except OSError as error:
        _log.info("compiled models are not kept: %s", error)
    return loaded


# One for the life of the process: OpenVINO gives the thread that loads its plugin another stack to handle signals on, and frees
# it with the plugin. If another thread drops the last reference, the next signal ends the process by a segmentation fault.
core = Once(_load)


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Keep no compiled networks on disk within the `with` statement, for networks that are never opened again."""
    before = core().get_property("CACHE_DIR")
    core().set_property({"CACHE_DIR": ""})
    try:
        yield
    finally:
        core().set_property({"CACHE_DIR": before})


def remove_oldest(folder: Path, most_bytes: int) -> None:
    """Delete the files below a folder that nobody has used for longest, until the rest has at most so many bytes.

    A file that cannot be deleted, or that another process deletes meanwhile, is passed over.
    """
    files: list[tuple[float, int, str]] = []  # When it was last used, its size, its path.
    for parent, _, names in os.walk(folder):
        for path in (os.path.join(parent, name) for name in names):
            with suppress(OSError):
                status = os.lstat(path)
                files.append((max(status.st_mtime, status.st_atime), status.st_size, path))
    size = sum(file[1] for file in files)
    for _, bytes_, path in sorted(files):
        if size <= most_bytes:
            break
        with suppress(OSError):
            os.unlink(path)
            size -= bytes_
