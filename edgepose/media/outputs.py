"""Checks of outputs before anything is written: a source is never an output, nor are two outputs one.

Files are compared by device and inode, not by name: hard and symbolic links, other spellings of a path, and other cases of its
letters, where the file system does not tell them apart, are the same file. Nothing here writes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from edgepose.errors import OutputError
from edgepose.media.files import unwritable
from edgepose.media.kinds import IMAGE_SUFFIXES, VIDEO_CODECS

SOURCE = "the source itself"


def check_file(path: Path, files: Iterable[Path] = (), what: str = SOURCE) -> None:
    """Make sure that a file can be written as `path`, and is none of `files`, which are `what`.

    Raises:
        OutputError: It is one of them, a folder, a disk or write-protected; or its folder cannot be made or written.
    """
    found = _status(path)
    if found is None:
        check_folder(path.parent)
        return
    if stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{path}: cannot be written: {os.strerror(errno.EISDIR)}; give the name of a file")
    if stat.S_ISBLK(found.st_mode):
        raise OutputError(f"{path}: is a disk, which would lose all that is on it; give the name of a file")
    spare(path, files, what)
    if not os.access(path, os.W_OK):
        raise unwritable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def check_folder(folder: Path, files: Sequence[Path] = (), suffixes: Sequence[str] = ()) -> None:
    """Make sure that `folder` can be made and written, and that no file in it with one of `suffixes` is one of `files`.

    Raises:
        OutputError: A file in it is one of `files`; or the folder, or one above it, is a file or write-protected.
    """
    there = folder
    while (found := _status(there)) is None and there != there.parent:
        there = there.parent
    if found is not None and not stat.S_ISDIR(found.st_mode):
        spare(there, files)
        raise unwritable(there, FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)))
    if not os.access(there, os.W_OK | os.X_OK):
        raise unwritable(folder, PermissionError(errno.EACCES, f"no right to write in {there}"))
    if there != folder or not files:
        return
    try:
        names = [name for name in os.listdir(folder) if Path(name).suffix.lower() in suffixes]
    except OSError:  # A folder may be writable and not readable.
        return
    known = {(status.st_dev, status.st_ino) for status in map(_status_or_none, files) if status is not None}
    for name in names:
        status = _status_or_none(folder / name)
        if status is not None and (status.st_dev, status.st_ino) in known:
            raise OutputError(f"{folder / name}: is {SOURCE}; give another folder, so that it is not overwritten")


def check_no_picture(path: Path, way_out: str) -> None:
    """Make sure that a file which is no picture is not called like one.

    Raises:
        OutputError: It is; `way_out` says how to call it.
    """
    if path.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_CODECS):
        raise OutputError(f"{path}: has the suffix of a picture or video; {way_out}")


def check_apart(file: Path, other: Path) -> None:
    """Make sure that an output which is a file is not where `other` goes, or above it.

    Raises:
        OutputError: It is.
    """
    place, theirs = Path(os.path.realpath(file)), Path(os.path.realpath(other))
    one = place == theirs or place in theirs.parents
    with suppress(OSError):
        one = one or place.samefile(theirs)
    if one:
        raise OutputError(f"{file}: is where {other} goes, too; give each its own name")


def spare(path: Path, files: Iterable[Path], what: str = SOURCE) -> None:
    """Make sure that writing `path` destroys none of `files`, which are `what`.

    Raises:
        OutputError: It would.
    """
    found = _status(path)
    if found is None:
        return
    for file in files:
        status = _status_or_none(file)
        if status is not None and os.path.samestat(found, status):
            raise OutputError(f"{path}: is {what}; give another name or folder, so that it is not overwritten")


def spare_source(path: Path, source: str) -> None:
    """Make sure that writing `path` does not destroy the file that it is made from.

    Raises:
        OutputError: It would.
    """
    spare(path, [Path(source)])


def _status(path: Path) -> os.stat_result | None:
    """The status of the file or folder at `path`; None if there is none. Raises `OutputError` if it cannot be read."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unwritable(path, error) from None
    except ValueError as error:  # A NUL in the name.
        raise OutputError(f"{path!r}: cannot be written: {error}") from None


def _status_or_none(path: Path) -> os.stat_result | None:
    with suppress(OSError, ValueError):
        return path.stat()
    return None
