"""Sinks, where the results of a run go: pictures, videos, files of keypoints. `open_sinks` opens those of a run.

All of them are used in a `with` statement, or closed by hand. Until the first frame nothing is touched; whatever ends the
`with` statement after it, the results so far are there, and can be opened. Missing folders are made.
"""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from edgepose.errors import InputError, OutputError
from edgepose.media.files import STDOUT
from edgepose.media.frames import Frame, Picture, Source
from edgepose.media.image_sink import ImageSink
from edgepose.media.kinds import PICTURES, POSES, Kind, picture_kind, poses_kind
from edgepose.media.outputs import check_apart, check_file, check_folder, check_no_picture
from edgepose.media.poses_sink import PosesFormat, PosesSink
from edgepose.poses import Poses

if TYPE_CHECKING:
    from edgepose.media.video_sink import VideoSink

__all__ = ["ImageSink", "PosesFormat", "PosesSink", "Sink", "Sinks", "VideoSink", "open_sinks"]


def __getattr__(name: str) -> Any:
    if name == "VideoSink":  # It loads FFmpeg, which runs over pictures do without.
        from edgepose.media.video_sink import VideoSink

        return VideoSink
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Sink(Protocol):
    """Something that the results of a run are written to, one frame after the other.

    A sink may be a context manager, too. It is then left with the error that ends a run, if one does, instead of being closed,
    so that it can keep an older file where there is no frame yet.
    """

    def write(self, frame: Frame, poses: Poses, picture: Picture) -> None:
        """Write the results of one frame.

        Args:
            frame: The frame. Its image may be drawn over as soon as `picture` is called.
            poses: The people in it.
            picture: Gives the annotated frame. It is drawn at the first call, and only then.
        """

    def close(self) -> None:
        """Finish; nothing is written after it."""


class Sinks:
    """The sinks of a run, which are written and closed together.

    Args:
        sinks: Written in this order.

    Attributes:
        written: How many frames all of them have.
    """

    def __init__(self, sinks: Iterable[Sink] = ()) -> None:
        self.sinks = list(sinks)
        self.written = 0

    def write(self, frame: Frame, poses: Poses, picture: Picture) -> None:
        """Write the results of one frame to every sink, see `Sink.write`."""
        for sink in self.sinks:
            sink.write(frame, poses, picture)
        self.written += 1

    def close(self) -> None:
        """Close every sink, whether or not others fail to; closing twice does no harm."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Sinks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        stack = ExitStack()
        for sink in reversed(self.sinks):  # The first of them is closed first.
            stack.push(sink if isinstance(sink, AbstractContextManager) else closing(sink))
        self.sinks = []
        stack.__exit__(kind, error, traceback)


def open_sinks(
    source: Source,
    *,
    save: str | Path | None = None,
    poses: str | Path | None = None,
    format: str | None = None,
    spared: Sequence[Path] = (),
    many: bool = False,
    codec: str | None = None,
    crf: int | None = None,
    audio: bool = True,
) -> Sinks:
    """Open the sinks of a run over `source`.

    Args:
        source: What is read; whether it is pictures or a video decides on numbering and times.
        save: Where annotated frames go: a video file, an image file for a single image, or a folder.
        poses: Where keypoints go, see `PosesSink`; "-" is standard output.
        format: The format of the keypoints; None: as the suffix says, or else json for images, jsonl for videos and cameras.
        spared: Other files that are read, such as the model's: no output may be one of them, or of the source's.
        many: The source is made of several: json is a list, however many frames come. That of a folder, a pattern or a video
            is one anyway.
        codec: The codec of a saved video, see `VideoSink`.
        crf: Its constant quality, see `VideoSink`.
        audio: Keep the sound of a video that is saved as a video.

    Raises:
        InputError: There is no such format or codec, or `codec` or `crf` is given and no video is saved.
        OutputError: A suffix is unknown, or the name is that of a single frame and the source has more; a file cannot be
            written, is one that is read, or both outputs are one.
    """
    chosen: list[tuple[str | Path, str, Kind]] = []
    outputs: list[tuple[Path, Kind]] = []  # Of these, the ones that are files or folders.
    if poses is not None:
        name = poses_kind(Path(poses), is_timed=source.is_timed) if format is None else format
        if name not in POSES:
            raise InputError(f"format is {name!r}; expected one of {', '.join(POSES)}")
        check_no_picture(Path(poses), "keypoints go to a .json or .jsonl, or a folder")
        chosen.append((poses, name, POSES[name]))
        outputs += [] if str(poses) == STDOUT else [(Path(poses), POSES[name])]
    if save is not None:
        name = picture_kind(Path(save))
        chosen.append((save, name, PICTURES[name]))
        outputs.append((Path(save), PICTURES[name]))
    # All outputs are checked before the first is opened: that a named pipe is opened, its reader sees.
    _check(outputs, source, spared)
    options = {"many": many or is_several(source), "codec": codec, "crf": crf, "audio": audio}
    for name in ("codec", "crf"):
        if options[name] is not None and not any(name in kind.options for _, _, kind in chosen):
            raise InputError(f"{name} is {options[name]}, and no video is saved; save one, such as out.mp4, or leave it out")
    sinks = Sinks()
    with ExitStack() as stack:
        stack.push(sinks)
        for path, name, kind in chosen:
            module = importlib.import_module(f"edgepose.media.{kind.module}")
            sinks.sinks.append(module.open_sink(path, source, name, **{option: options[option] for option in kind.options}))
        stack.pop_all()
    return sinks


def is_several(source: Source) -> bool:
    """Whether `source` is one of several frames by its nature, as a folder is, even one that holds a single picture."""
    if source.is_timed:
        return True
    return bool(source.files) and (os.path.isdir(source.name) or not os.path.exists(source.name))


def _check(outputs: Sequence[tuple[Path, Kind]], source: Source, spared: Sequence[Path]) -> None:
    for path, kind in outputs:
        if kind.is_file(path):
            check_file(path, source.files)
            check_file(path, spared, "a file of the model")
        else:
            check_folder(path, source.files, kind.per_frame)
    for (path, kind), (other, _) in itertools.permutations(outputs, 2):
        if kind.is_file(path):
            check_apart(path, other)
    for path, kind in outputs:
        if kind.per_frame and kind.is_file(path) and source.total not in (0, 1):
            drawn = kind in PICTURES.values()
            what, way_out = ("picture", ", or a video such as .mp4") if drawn else ("file for one frame", "")
            raise OutputError(f"{path}: is one {what}, and {source.name} may have more; give a folder{way_out}")
