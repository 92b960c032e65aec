"""Standard input, FIFOs and other pipes: a picture, several, or a video, told apart by what comes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from edgepose.errors import SourceError
from edgepose.media.frames import Part, Source
from edgepose.media.headers import read_header
from edgepose.media.heif import heif_kind
from edgepose.media.images import MAX_FILE_BYTES
from edgepose.media.pictures import open_pictures
from edgepose.prefetch import interruptible

STANDARD_INPUT = "-"
_START = 64  # Bytes that tell pictures from videos.
_PIECE = 1 << 16
# A JPEG after the end of another one: a camera's pictures in a row, which are a video without an end.
_NEXT_JPEG = b"\xff\xd9\xff\xd8\xff"


def is_pipe(path: Path) -> bool:
    """Whether `path` is something to be read once, from its start to its end, such as a FIFO."""
    mode = path.stat().st_mode
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def open_pipe_at(path: Path | None, name: str, part: Part) -> Source:
    """The frames that come through a pipe; of standard input where `path` is None.

    Raises:
        SourceError: Nothing comes, or neither a picture nor a video.
    """
    return interruptible(lambda: _open(path, name, part))


class _Pipe:
    """What is read from a pipe, with a part of it put back."""

    def __init__(self, path: Path | None) -> None:
        self._file = os.fdopen(os.dup(0), "rb", 0) if path is None else path.open("rb", buffering=0)
        self._back = b""

    def seekable(self) -> bool:
        return False

    def read(self, size: int) -> bytes:
        if self._back:
            piece, self._back = self._back[:size], self._back[size:]
            return piece
        return self._file.read(size) or b""

    def put_back(self, data: bytes) -> None:
        self._back = data + self._back

    def read_until(self, size: int, mark: bytes | None = None) -> bytes:
        """So many bytes, or fewer if it ends, or has the mark in it, before."""
        data = bytearray()
        while len(data) < size:
            piece = self.read(min(_PIECE, size - len(data)))
            searched = max(0, len(data) - len(mark or b""))
            data += piece
            if not piece or (mark is not None and data.find(mark, searched) >= 0):
                break
        return bytes(data)

    def close(self) -> None:
        self._file.close()


def _open(path: Path | None, name: str, part: Part) -> Source:
    try:
        pipe = _Pipe(path)
    except OSError as error:
        raise SourceError(f"{name}: cannot be opened: {error.strerror or error}") from None
    try:
        start = _start_of(pipe, name)
        if _begins_a_picture(start):
            is_jpeg = start.startswith(b"\xff\xd8\xff")
            pipe.put_back(start)
            data = pipe.read_until(MAX_FILE_BYTES, _NEXT_JPEG if is_jpeg else None)
            if not (is_jpeg and _NEXT_JPEG in data):
                pipe.close()
                return open_pictures(data, name, part)
            start = data
        pipe.put_back(start)
        from edgepose.media.videos import open_pipe  # Here, because PyAV takes a while to load, and pictures need none.

        return open_pipe(pipe, name, part)
    except BaseException:
        pipe.close()
        raise


def _start_of(pipe: _Pipe, name: str) -> bytes:
    start = pipe.read_until(_START)
    if not start:
        raise SourceError(f"{name}: empty; expected a video or an image")
    return start


def _begins_a_picture(start: bytes) -> bool:
    if heif_kind(start) or start.startswith(b"\xff\xd8\xff"):
        return True
    try:
        header: Any = read_header(start + bytes(64))
    except ValueError:
        return True
    return header is not None
