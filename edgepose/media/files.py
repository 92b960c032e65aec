"""Writes files that are always complete: all at once or not at all, or complete after every value.

Until a new file is complete, it grows beside its place under a name of its own, and an older file stays as it is.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import re
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

from edgepose.errors import OutputError

logger = logging.getLogger(__name__)

STDOUT = "-"  # The path that means standard output, as in other commands.

# The system's names for open files. These files are written to and not replaced, because others write there, too.
_OPEN_FILES = re.compile(r"/dev/(stdin|stdout|stderr|fd/.*)|/proc/.*")
# Characters of a file's name that go into the name of its part: file systems allow 255 bytes in all, some of them 143.
_NAMED = 40


class Arrival:
    """A file on its way: it is made as `part`, beside its place, and moved there when it is whole.

    If the process is killed, the part stays: it has the name of the file, hidden by a dot, and ends in `.part` and `suffix`.

    Args:
        place: Where the file will be. A symbolic link there is replaced; resolve it for what it leads to.
        suffix: Of the part, where a writer looks at it.
    """

    def __init__(self, place: Path, suffix: str = "") -> None:
        self._place = place
        self._made: list[Path] = []  # Folders, the innermost first.
        self._lock: int | None = None
        # Nothing but ASCII: some libraries take no other names.
        self._named = re.sub(r"[^0-9A-Za-z_-]", "_", place.stem)[:_NAMED]
        self._suffix = suffix
        self.part = self._place.with_name(f".{self._named}.{secrets.token_hex(4)}.part{suffix}")

    @property
    def place(self) -> Path:
        """Where the file will be."""
        return self._place

    @property
    def replaces(self) -> bool:
        """Whether there is an older file."""
        return self._place.exists()

    def prepare(self) -> None:
        """Make missing folders, so that the part can be written.

        Raises:
            OSError: They cannot be made, or what is there may not be replaced: a folder, a device, a write-protected file.
        """
        if self._place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if self._place.exists() and not self._place.is_file():
            raise OSError(errno.EINVAL, "it is a device or a pipe")
        if self._place.exists() and not os.access(self._place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        folder = self._place.parent
        if not folder.is_dir():
            self._made = [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)

    def arrive(self) -> None:
        """Move the part to its place. An older file goes, and leaves its rights to the new one.

        Raises:
            OSError: It cannot be moved; the part stays.
        """
        self.release()
        with contextlib.suppress(OSError):
            shutil.copymode(self._place, self.part)
        self.part.replace(self._place)

    def stranded(self, error: OSError) -> OutputError:
        """The error to raise where results are not given up because they cannot be moved."""
        return OutputError(f"{self._place}: cannot be written: {error.strerror or error}; it is kept as {self.part}")

    def discard(self) -> None:
        """Delete the part, if it is there, and folders that were made for it, if nothing is in them."""
        self.release()
        with contextlib.suppress(OSError):
            self.part.unlink()
        with contextlib.suppress(OSError):
            for folder in self._made:
                folder.rmdir()

    def hold(self) -> None:
        """Mark the part, which is there, as one that is being written, for as long as this process lives."""
        with contextlib.suppress(ImportError, OSError):  # Windows has no such locks, and some file systems have none.
            import fcntl

            self._lock = os.open(self.part, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Take the mark away."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def leftovers(self) -> list[Path]:
        """The parts of earlier runs for the same place that nobody writes any more: those runs were killed."""
        pattern = re.compile(rf"\.{re.escape(self._named)}\.[0-9a-f]{{8}}\.part{re.escape(self._suffix)}")
        found = []
        with contextlib.suppress(OSError):
            found = [entry.name for entry in os.scandir(self._place.parent) if pattern.fullmatch(entry.name)]
        parts = [self._place.with_name(name) for name in sorted(found)]
        return [part for part in parts if part != self.part and _is_abandoned(part)]


def report_leftovers(arrival: Arrival) -> None:
    """Log a warning about what a run that was killed has left of the same file."""
    for part in arrival.leftovers():
        logger.warning(
            "%s: an earlier run was cut off before its end; what it had written is in %s; rename it or delete it",
            arrival.place, part,
        )  # fmt: skip


def _is_abandoned(part: Path) -> bool:
    """Whether there is something in `part`, and no process has marked it as its own."""
    try:
        file = os.open(part, os.O_RDONLY)
    except OSError:
        return False
    try:
        if not os.fstat(file).st_size:
            return False
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    else:
        return True
    finally:
        os.close(file)


def written_straight(path: Path) -> bool:
    """Whether `path` is written directly, not by way of a part: a device, a named pipe, or the system's name of an open file.

    Raises:
        OSError: It cannot be looked at.
    """
    if _OPEN_FILES.fullmatch(os.path.abspath(path)):
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def open_straight(path: Path) -> io.FileIO:
    """Open standard output, or what `written_straight` says is written directly, for writing.

    Raises:
        OSError: It cannot be opened, or standard output is closed.
    """
    if not _is_stdout(path):
        return io.FileIO(path, "w")
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    return io.FileIO(sys.stdout.fileno(), "w", closefd=False)


def _is_stdout(path: str | Path) -> bool:
    # If standard output is a file, opening it by one of its names would empty it.
    return str(path) in (STDOUT, "/dev/stdout", "/dev/fd/1")


def write_file(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, then move it into place; missing folders are made. A symbolic link is replaced.

    Raises:
        OutputError: The file cannot be written; what was there before is untouched.
    """
    arrival = Arrival(path)
    try:
        if written_straight(path):
            path.write_bytes(data)
            return
        arrival.prepare()
        arrival.part.write_bytes(data)
        arrival.arrive()
    except OSError as error:
        raise unwritable(path, error) from None
    finally:
        arrival.discard()  # It is not there any more if all went well.


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error to raise for an `OSError` while writing `path`."""
    return OutputError(f"{path}: cannot be written: {error.strerror or error}; check the folder, its rights and free space")


def to_json(value: Any) -> bytes:
    """`value` as compact JSON on one line. Names that are not valid UTF-8, which file systems allow, survive escaped."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


class JsonList:
    """A list of JSON values that is complete after each: a value goes over the closing bracket, and brings its own.

    It is written beside its place, from the first value on, and moved there by `close`. Pipes, devices and standard output are
    written directly: JSON Lines one by one, and a list when it is closed, because no closing bracket can be written over there.

    Args:
        path: The file, which takes the place of an older one, or a link to it; or "-" for standard output.
        lines: JSON Lines: a value a line, and no brackets.
        lone: A single value is written without brackets.

    Raises:
        OutputError: The file cannot be written; if there is no room for a value, those before it stay readable.
    """

    def __init__(self, path: str | Path, *, lines: bool = False, lone: bool = False) -> None:
        self._path, self._lines, self._lone = Path(path), lines, lone
        self._count = self._end = 0  # How many values there are, and where the last of them ends.
        self._tail = b"" if lines else b"[]\n"  # What stands after the end now.
        self._out: io.FileIO | None = None  # Where it goes, ...
        self._file: io.FileIO | io.BytesIO  # ... and where it is written until it is closed.
        self._closed = False
        self._to_stdout = _is_stdout(path)
        self._arrival: Arrival | None = None
        try:
            if not self._to_stdout and not written_straight(self._path):
                self._arrival = Arrival(Path(os.path.realpath(path)))
                report_leftovers(self._arrival)
        except OSError as error:
            raise unwritable(self._path, error) from None
        if self._arrival is None:
            self.start()

    def start(self) -> None:
        """Begin the file, empty as it is; the first value does so, too."""
        if self._out is not None:
            return
        try:
            self._out = self._open()
        except OSError as error:
            raise unwritable(self._path, error) from None
        seekable = self._out.seekable() and not self._to_stdout  # `>> file` moves every write to the end.
        self._file = self._out if self._lines or seekable else io.BytesIO()
        try:
            self._put(0, self._tail)
        except BaseException:
            self.close(keep=False)
            raise

    def append(self, value: Any) -> None:
        """Write one value."""
        self.start()
        data, tail = to_json(value), b"]\n"
        if self._lines:
            data, tail = data + b"\n", b""
        elif self._lone and not self._count:
            data, tail = b" " + data, b"\n"  # The space is for a bracket, should a second value come.
        else:
            data = (b",\n" if self._count else b"[") + data
        self._put(self._end, data + tail)
        if self._lone and self._count == 1:
            self._put(0, b"[")
        self._count, self._end, self._tail = self._count + 1, self._end + len(data), tail

    def close(self, *, keep: bool = True) -> None:
        """Finish the file and move it to its place; closing twice does no harm.

        Args:
            keep: Otherwise, leave what was there before as it is, and nothing else.
        """
        if self._closed:
            return
        if keep:
            self.start()  # An empty list is a result, too.
        self._closed = True
        if self._out is None:
            return
        try:
            if isinstance(self._file, io.BytesIO) and keep:
                content, self._file = self._file.getvalue(), self._out
                self._lines = True  # From here on one way, as lines go.
                self._put(0, content)
        finally:
            self._out.close()
            if self._arrival is not None and not keep:
                self._arrival.discard()
        if self._arrival is not None and keep:
            try:
                self._arrival.arrive()
            except OSError as error:
                raise self._arrival.stranded(error) from None

    def _open(self) -> io.FileIO:
        if self._arrival is not None:
            self._arrival.prepare()
            file = io.FileIO(self._arrival.part, "x")
            self._arrival.hold()
            return file
        return open_straight(self._path)

    def _put(self, at: int, data: bytes) -> None:
        """Write `data` at a place; if that fails, put back what was there."""
        try:
            self._write(at, data)
        except BrokenPipeError:
            raise  # The reader has enough; no fault of the file's.
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
                self._write(self._end, self._tail)
            raise unwritable(self._path, error) from None

    def _write(self, at: int, data: bytes) -> None:
        if not self._lines:
            self._file.seek(at)
        while data:  # A write without a buffer may write a part only, as much as fits on the disk.
            data = data[self._file.write(data) :]
