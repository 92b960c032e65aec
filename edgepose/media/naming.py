"""Names for the files that are written for frames, where each frame has its own."""

from __future__ import annotations

import re
from pathlib import Path

from edgepose.errors import OutputError
from edgepose.media.frames import Frame
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
