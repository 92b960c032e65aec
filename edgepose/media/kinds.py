"""The kinds of output: which file name, or which `--format`, is written by which sink.

A new kind is a file in this folder, with a function `open_sink(path, source, name)` that returns a `Sink`, and a line here: in
`PICTURES`, if `--save` chooses it by the suffix of its name, or in `POSES`, if `--json` does by `--format` or the suffix.
Options of `open_sinks` that only some kinds have are passed on to those that list them.
The command line lists the formats before it knows whether they are needed, so that nothing large is imported here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from edgepose.errors import OutputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

# Codecs of videos, by the names that `--codec` takes.
CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")
# By the suffix of a video, the codecs that players expect in such a file; the first is the one that is used by default.
VIDEO_CODECS: dict[str, tuple[str, ...]] = {
    ".mp4": ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg"),
    ".m4v": ("h264", "hevc", "av1", "mpeg4"),
    ".mov": ("h264", "hevc", "mpeg4", "mjpeg"),
    ".mkv": CODECS,
    ".avi": ("mjpeg", "mpeg4"),
    ".webm": ("vp9", "av1"),
}


class Kind(NamedTuple):
    """A kind of output.

    Attributes:
        module: The module of `edgepose.media` with its `open_sink(path, source, name)`. `path` is as the user gave it, "-" for
            standard output; `name` is the key in the table.
        per_frame: Suffixes of its files, if it writes one for each frame into a folder; a path with such a suffix is then the
            file of the only frame. Empty if all frames go into one file.
        options: The options of `open_sinks` that its `open_sink` takes as keywords.
    """

    module: str
    per_frame: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def is_file(self, path: Path) -> bool:
        """Whether `path` is a file, rather than a folder of files."""
        return not self.per_frame or is_one_frame(path, self.per_frame)


# By the suffix of the name; a name without one is a folder.
PICTURES = {
    "": Kind("image_sink", IMAGE_SUFFIXES),
    **dict.fromkeys(IMAGE_SUFFIXES, Kind("image_sink", IMAGE_SUFFIXES)),
    **dict.fromkeys(VIDEO_CODECS, Kind("video_sink", options=("codec", "crf", "audio"))),
}

# By the name of the format.
POSES = {
    "json": Kind("poses_sink", options=("many",)),
    "jsonl": Kind("poses_sink"),
    "coco": Kind("coco_sink"),
    "coco-results": Kind("coco_sink"),
    "openpose": Kind("poses_sink", (".json",)),
}


def picture_kind(path: Path) -> str:
    """The key in `PICTURES` for annotated frames that go to `path`.

    Raises:
        OutputError: The suffix is unknown, and `path` is no folder.
    """
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        return suffix
    if os.path.isdir(path):
        return ""
    raise OutputError(f"{path}: unknown suffix {suffix!r}; expected one of {', '.join(filter(None, PICTURES))}, or a folder")


def poses_kind(path: Path, *, is_timed: bool) -> str:
    """The key in `POSES` for keypoints that go to `path`, where the user names no format.

    A suffix that is the name of a format chooses it. Anything else, .json included, is JSON for pictures; and JSON Lines for
    what `is_timed`, videos and cameras, whose lists would be complete only at their end.
    """
    name = path.suffix.lower().removeprefix(".")
    if name in POSES and name != "json":
        return name
    return "jsonl" if is_timed else "json"


def is_one_frame(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether `path` is the file of a single frame, as its suffix says, rather than a folder with a file for each."""
    return path.suffix.lower() in suffixes and not os.path.isdir(path)
