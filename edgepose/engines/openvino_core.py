"""OpenVINO's core, and the folder where it keeps compiled networks, so that each is compiled once on a machine."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openvino as ov

from edgepose.caches import exclusive, user_cache, warn_uncached
from edgepose.once import Once

# Of compiled networks on disk. Each shape of a network takes 5 to 100 MB, and OpenVINO never removes any.
MAX_CACHE_BYTES = 1 << 30


def _load() -> ov.Core:
    """The core; where the cache folder cannot be written, compiled networks are not kept."""
    loaded = ov.Core()
    folder = _cache_folder()
    if folder is None:
        warn_uncached("compiled networks", "the user has no home")
        return loaded
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        remove_oldest(folder, MAX_CACHE_BYTES)
        loaded.set_property({"CACHE_DIR": str(folder)})
    except OSError as error:
        warn_uncached("compiled networks", f"{folder}: {error.strerror or error}")
    return loaded


def _cache_folder() -> Path | None:
    folder = user_cache()
    return None if folder is None else folder / "openvino"


# One for the life of the process: OpenVINO gives the thread that loads its plugin another stack to handle signals on, and frees
# it with the plugin. If another thread drops the last reference, the next signal ends the process by a segmentation fault.
core = Once(_load)


def compile_alone(network: ov.Model, device: str, properties: dict[str, Any]) -> ov.CompiledModel:
    """Compile a network, or load it from the cache, while no other process does.

    OpenVINO 2026.4 writes a file of its cache in place, and runs a network on the memory-mapped file that it was loaded from:
    one process that writes changes the weights in another that has just loaded them. Who cannot be alone uses no cache.
    """
    folder = _cache_folder()
    if folder is None or not core().get_property("CACHE_DIR"):
        return core().compile_model(network, device, properties)
    with exclusive(folder) as alone:
        return core().compile_model(network, device, properties if alone else {**properties, "CACHE_DIR": ""})


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
