"""Writing files so that what is there is whole: at once or not at all, or whole after every value."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from edgepose.errors import OutputError

STDOUT = "-"  # The path that means standard output, as in other commands.


def write_file(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, then move it into place; missing folders are made.

    Raises:
        OutputError: The file cannot be written; what was there before is untouched.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)  # A device such as /dev/null, which a move would replace. A folder is an error here.
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error) from None
    finally:
        with contextlib.suppress(OSError):  # It is not there any more if all went well.
            part.unlink()


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it, unless they are there.

    Raises:
        OutputError: It cannot be made, or is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None


def spare_source(path: Path, source: str) -> None:
    """Make sure that writing `path` does not destroy the file that it is made from.

    Raises:
        OutputError: It would.
    """
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise OutputError(f"{path}: is the source itself; give another name or folder, so that it is not overwritten")


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error to raise for an `OSError` while writing `path`."""
    return OutputError(f"{path}: cannot be written: {error.strerror or error}; check the folder, its rights and free space")


def to_json(value: Any) -> bytes:
    """`value` as compact JSON on one line. Names that are not valid UTF-8, which file systems allow, survive escaped."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


class JsonList:
    """A file of JSON values that is complete after each: a value goes over the closing bracket, and brings its own.

    Where that cannot be, as in a pipe, a list is written when it is closed; JSON Lines go out one by one anywhere.

    Args:
        path: The file, overwritten if it exists; or "-" for standard output.
        lines: JSON Lines: a value a line, and no brackets.
        lone: A single value stands without brackets.

    Raises:
        OutputError: The file cannot be written; if there is no room for a value, those before it stay readable.
    """

    def __init__(self, path: str | Path, *, lines: bool = False, lone: bool = False) -> None:
        self._path, self._lines, self._lone = Path(path), lines, lone
        self._count = self._end = 0  # How many values there are, and where the last of them ends.
        self._tail = b"" if lines else b"[]\n"  # What stands after the end now.
        to_stdout = str(path) == STDOUT
        if not to_stdout:
            make_folder(self._path.parent)
        try:
            self._out = io.FileIO(sys.stdout.fileno() if to_stdout else path, "w", closefd=not to_stdout)
        except OSError as error:
            raise unwritable(self._path, error) from None
        seekable = self._out.seekable() and not to_stdout  # `>> file` moves every write to the end.
        self._file: io.FileIO | io.BytesIO = self._out if lines or seekable else io.BytesIO()
        try:
            self._put(0, self._tail)
        except BaseException:
            self._out.close()
            raise

    def append(self, value: Any) -> None:
        """Write one value."""
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

    def close(self) -> None:
        """Close the file; closing twice does no harm."""
        if isinstance(self._file, io.BytesIO) and not self._out.closed:
            content, self._file = self._file.getvalue(), self._out
            self._lines = True  # From here on one way, as lines go.
            self._put(0, content)
        self._out.close()

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
        while data:  # A write without a buffer may take only a part: what fits on the disk.
            data = data[self._file.write(data) :]
