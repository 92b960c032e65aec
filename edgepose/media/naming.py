"""Names and numbers of frames, where each has its own file, or its own place in a data set."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from edgepose.errors import OutputError
from edgepose.media.frames import Frame, Source
from edgepose.media.kinds import IMAGE_SUFFIXES


def picture_name(frame: Frame, digits: int = 6) -> str:
    """The file name of a picture of `frame`: its own, or the source's name and the frame's number: clip_000012.jpg."""
    path = Path(frame.path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return path.name
    # The name may be that of a camera or a URL.
    return f"{re.sub(r'[^0-9A-Za-z_.-]+', '_', path.stem).strip('_')}_{frame.index:0{digits}d}.jpg"


def unique(name: str, taken: set[str]) -> str:
    """`name`, or where it is `taken` (by a file of another folder, say), the same with a number; notes it as taken."""
    path, number = Path(name), 1
    while name.casefold() in taken:  # Some file systems do not tell A.jpg from a.jpg.
        number += 1
        name = f"{path.stem}_{number}{path.suffix}"
    taken.add(name.casefold())
    return name


def only_once(path: Path, taken: set[str], what: str) -> None:
    """Make sure that the file of a single frame is written once.

    Raises:
        OutputError: It was `taken` before.
    """
    if path.name in taken:
        raise OutputError(f"{path}: holds one {what} already; give a folder to write several")
    taken.add(path.name)


class ImageNames:
    """The file names and numbers of images in a data set, no two of them the same.

    A picture has its own file name, with the folders between it and the source; a frame of a video the name that `--save` into
    a folder gives it, such as clip_000012.jpg. A picture whose name is of COCO's kind (000000000139.jpg,
    COCO_val2014_000000000139.jpg) has the number in it; all others are numbered from 1 on, in their order, past those numbers.

    Args:
        source: What is read; its files are known beforehand, and so the numbers that are taken. None: nothing is known.
    """

    def __init__(self, source: Source | None = None) -> None:
        files = [] if source is None else [Path(file) for file in source.files]
        self._reserved = {number for number in map(_coco_number, files) if number is not None}
        self._used: set[int] = set()
        self._names: set[str] = set()
        self._next = 1
        self._last: tuple[tuple[str, int], tuple[str, int]] | None = None
        self._root = _root(source, files)

    def __call__(self, frame: Frame) -> tuple[str, int]:
        """The file name and the number of `frame`; the same again if it is that of the last call."""
        key = (frame.path, frame.index)
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        name = self._name(frame)
        number = _coco_number(Path(frame.path))
        is_counted = number is not None and number < self._next and number not in self._reserved
        if number is None or number in self._used or is_counted:
            while self._next in self._reserved or self._next in self._used:
                self._next += 1
            number = self._next
            self._next += 1
        else:
            self._used.add(number)
        self._last = (key, (name, number))
        return self._last[1]

    def _name(self, frame: Frame) -> str:
        path = Path(frame.path)
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return picture_name(frame)  # Frames are many, and their numbers differ.
        try:
            name = path.relative_to(self._root).as_posix() if self._root is not None else path.name
        except ValueError:
            name = path.name
        if name.casefold() in self._names:  # Of another folder, or another frame of an animated picture.
            name = f"{name.removesuffix(path.suffix)}_{frame.index:06d}{path.suffix}"
        return unique(name, self._names)


def _coco_number(path: Path) -> int | None:
    """The number in the name of a picture, if that is a name of COCO's kind."""
    number = re.fullmatch(r"(?:COCO_\w+_)?([0-9]+)", path.stem) if path.suffix.lower() in IMAGE_SUFFIXES else None
    return int(number[1]) if number else None


def _root(source: Source | None, files: Sequence[Path]) -> Path | None:
    """The folder that names of pictures start from; None: they are their names alone."""
    if source is None or not files:
        return None
    if os.path.isdir(source.name):
        return Path(source.name)
    try:
        return Path(os.path.commonpath([file.parent for file in files]))
    except ValueError:  # On several drives.
        return None
