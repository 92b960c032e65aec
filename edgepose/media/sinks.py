"""Where results go: annotated pictures, annotated videos, and files of keypoints.

All of them are used in a `with` statement, or closed by hand. Until the first frame nothing is touched; whatever ends the
`with` statement after it, what was written so far is there, and can be opened. Missing folders are made.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError, OutputError
from edgepose.media.files import STDOUT, JsonList, to_json, write_file
from edgepose.media.frames import Frame, Source
from edgepose.media.images import IMAGE_SUFFIXES, write_image
from edgepose.media.outputs import check_apart, check_file, check_folder, spare_source
from edgepose.media.video_sink import VIDEO_CODECS, VideoSink
from edgepose.poses import Poses

__all__ = ["ImageSink", "PosesFormat", "PosesSink", "Sinks", "VideoSink", "open_sinks"]

PosesFormat = Literal["json", "jsonl", "coco", "openpose"]


class ImageSink:
    """Annotated pictures: one file, or a folder in which each keeps the name of its source.

    Frames of videos and cameras are numbered: clip_000012.jpg.

    Args:
        path: A file name with an image suffix, for one picture; or a folder.

    Raises:
        OutputError: The suffix is unknown. While writing: the file cannot be written, is the source itself, or was
            written already.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.is_file = _is_picture(self._path)
        suffix = self._path.suffix.lower()
        if suffix and not self.is_file and not os.path.isdir(path):
            known = ", ".join([*IMAGE_SUFFIXES, *VIDEO_CODECS])
            raise OutputError(f"{path}: unknown suffix {suffix!r}; expected one of {known}, or a folder")
        check_folder(self._path.parent if self.is_file else self._path)
        self._names: set[str] = set()

    def write(self, frame: Frame, image: NDArray[np.uint8]) -> None:
        """Write `image` (H, W, 3) uint8 BGR, which was made from `frame`."""
        path = self._path if self.is_file else self._path / _unique(_picture_name(frame), self._names)
        if self.is_file:
            _only_once(path, self._names, "picture")
        spare_source(path, frame.path)
        write_image(path, image)

    def close(self) -> None:
        """Nothing is left to do: each picture was whole when `write` returned."""

    def __enter__(self) -> ImageSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PosesSink:
    """Keypoints in a file. After every `write` it is complete, beside its place, where it is moved in the end.

    - json: an object per image, as `Poses.to_dict` has it, with path, width, height, and the names of the keypoints; a list
      where there are several.
    - jsonl: the same objects, one a line.
    - coco: the list of results that COCO's evaluation reads. `image_id` is the number in the file's name, if that is
      COCO's kind of name (000000000139.jpg, COCO_val2014_000000000139.jpg), or else the frame's index.
    - openpose: OpenPose's JSON, a file per frame named like OpenPose's, in a folder; or one .json file for one image.

    Args:
        path: The file, or "-" for standard output; for openpose a folder, or a file name that ends in .json.
        format: One of the four.
        timed: Add `frame` and `timestamp` (seconds) to the objects of json and jsonl: for videos and cameras.

    Raises:
        OutputError: The file cannot be written, or has the suffix of an image or video.
        InputError: There is no such format.
    """

    def __init__(self, path: str | Path, format: PosesFormat = "json", *, timed: bool = False) -> None:
        self._path, self._format, self._timed = Path(path), format, timed
        self._names: set[str] = set()
        self._frames = 0
        self._file: JsonList | None = None
        if format not in get_args(PosesFormat):
            raise InputError(f"format is {format!r}; expected one of {', '.join(get_args(PosesFormat))}")
        if self._path.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_CODECS):
            raise OutputError(f"{path}: has the suffix of a picture or video; keypoints go to a .json or .jsonl, or a folder")
        if format != "openpose":
            if str(path) != STDOUT:
                check_file(self._path)
            self._file = JsonList(path, lines=format == "jsonl", lone=format == "json")
        elif str(path) == STDOUT:
            raise OutputError("openpose has a file per frame; give a folder, or another format for standard output")
        else:
            check_folder(self._path.parent if self._path.suffix == ".json" else self._path)

    def write(self, frame: Frame, poses: Poses) -> None:
        """Write the people of `frame`."""
        if self._file is None:
            write_file(self._openpose_path(frame), to_json(poses.to_openpose()))
        elif self._format == "coco":
            self._file.start()
            for result in poses.to_coco(_image_id(frame)):
                self._file.append(result)
        else:
            height, width = frame.image.shape[:2]
            time = {"frame": frame.index, "timestamp": round(frame.timestamp, 6)} if self._timed else {}
            image = {"path": frame.path, "width": width, "height": height}
            names = list(poses.skeleton.keypoints)
            self._file.append({**time, "image": image, **poses.to_dict(), "keypoint_names": names})
        self._frames += 1

    def close(self) -> None:
        """Finish the file; closing twice does no harm."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> PosesSink:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.close()
        elif self._file is not None:
            self._file.close(keep=self._frames > 0)

    def _openpose_path(self, frame: Frame) -> Path:
        if self._path.suffix == ".json":
            _only_once(self._path, self._names, "frame")
            return self._path
        name = Path(_picture_name(frame, digits=12)).stem
        return self._path / _unique(f"{name}_keypoints.json", self._names)


class Sinks:
    """All that a run writes, together; `open_sinks` makes one."""

    def __init__(self, pictures: ImageSink | VideoSink | None, poses: PosesSink | None) -> None:
        self._pictures, self._poses = pictures, poses
        self.written = 0  # Frames.
        self._stack = ExitStack()
        for sink in (pictures, poses):
            if sink is not None:
                self._stack.enter_context(sink)

    def write(self, frame: Frame, poses: Poses, draw: Callable[[], NDArray[np.uint8]]) -> None:
        """Write the people of `frame`, and the picture that `draw` makes if one is wanted."""
        if self._poses is not None:
            self._poses.write(frame, poses)
        if self._pictures is not None:
            self._pictures.write(frame, draw())
        self.written += 1

    def close(self) -> None:
        """Finish all files."""
        self._stack.close()

    def __enter__(self) -> Sinks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, traceback)


def open_sinks(
    source: Source,
    *,
    save: str | Path | None = None,
    poses: str | Path | None = None,
    format: PosesFormat | None = None,
    spared: Sequence[Path] = (),
) -> Sinks:
    """Open the files that a run over `source` writes.

    Args:
        source: What is read; whether it is pictures or a video decides on numbering and times.
        save: Where annotated frames go: a video file, an image file for a single image, or a folder.
        poses: Where keypoints go, see `PosesSink`.
        format: Of the keypoints; None: json for images, jsonl for videos and cameras.
        spared: Other files that are read, such as the model's: no output may be one of them, or of the source's.

    Raises:
        OutputError: A suffix is unknown, or names one image where the source has more; a file cannot be written, is one that
            is read, or both outputs are one.
    """
    timed = source.kind != "images"
    format = format or ("jsonl" if timed else "json")
    # All is checked before the first sink is made: that of a named pipe opens it at once.
    outputs: list[tuple[Path, bool, Sequence[str]]] = []  # Each with whether it is a file, and the suffixes in a folder.
    if save is not None:
        path = Path(save)
        outputs.append((path, path.suffix.lower() in VIDEO_CODECS or _is_picture(path), IMAGE_SUFFIXES))
    if poses is not None and str(poses) != STDOUT:
        path = Path(poses)
        outputs.append((path, format != "openpose" or path.suffix == ".json", (".json",)))
    for path, is_file, suffixes in outputs:
        if is_file:
            check_file(path, source.files)
            check_file(path, spared, "a file of the model")
        else:
            check_folder(path, source.files, suffixes)
    for (path, is_file, _), (other, _, _) in itertools.permutations(outputs, 2):
        if is_file:
            check_apart(path, other)
    pictures: ImageSink | VideoSink | None = None
    if save is not None and Path(save).suffix.lower() in VIDEO_CODECS:
        pictures = VideoSink(save, source.fps)
    elif save is not None:
        pictures = ImageSink(save)
        if pictures.is_file and source.total not in (0, 1):
            raise OutputError(
                f"{save}: is one picture, and {source.name} may have more; give a folder, or a video such as .mp4"
            )
    return Sinks(pictures, None if poses is None else PosesSink(poses, format, timed=timed))


def _is_picture(path: Path) -> bool:
    """Whether `path` names one picture, rather than a folder."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not os.path.isdir(path)  # Path.is_dir raises where a name is too long.


def _image_id(frame: Frame) -> int:
    path = Path(frame.path)
    number = re.fullmatch(r"(?:COCO_\w+_)?([0-9]+)", path.stem) if path.suffix.lower() in IMAGE_SUFFIXES else None
    return int(number[1]) if number else frame.index


def _picture_name(frame: Frame, digits: int = 6) -> str:
    """The file name of a picture of `frame`: its own, or the source's name and the frame's number."""
    path = Path(frame.path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return path.name
    # The name may be that of a camera or a URL.
    return f"{re.sub(r'[^0-9A-Za-z_.-]+', '_', path.stem).strip('_')}_{frame.index:0{digits}d}.jpg"


def _unique(name: str, taken: set[str]) -> str:
    """`name`, or where it is `taken` (by a file of another folder, say), the same with a number; notes it as taken."""
    path, number = Path(name), 1
    while name.casefold() in taken:  # Some file systems do not tell A.jpg from a.jpg.
        number += 1
        name = f"{path.stem}_{number}{path.suffix}"
    taken.add(name.casefold())
    return name


def _only_once(path: Path, taken: set[str], what: str) -> None:
    if path.name in taken:
        raise OutputError(f"{path}: holds one {what} already; give a folder to write several")
    taken.add(path.name)
