"""Many files watched one after the other, each with its own results or all in one file; a broken one costs the rest nothing.

Pictures that follow each other are one source, so that the network runs on the next while the one before is drawn and written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Literal

from edgepose.errors import InputError, OutputError, SourceError
from edgepose.estimator import EstimatedFrame, PoseEstimator
from edgepose.media.cameras import CameraOptions
from edgepose.media.files import STDOUT
from edgepose.media.frames import Frame, Picture, Source
from edgepose.media.kinds import IMAGE_SUFFIXES, PICTURES, poses_kind
from edgepose.media.listing import Input, result_paths
from edgepose.media.live import read_ahead
from edgepose.media.outputs import SOURCE, check_folder
from edgepose.media.sinks import Sink, Sinks, open_sinks
from edgepose.media.sources import open_source
from edgepose.media.window import Window
from edgepose.poses import Poses
from edgepose.watch import Watched, watch


@dataclass(frozen=True)
class Reading:
    """How each source is read; see `open_source`."""

    max_frames: int | None = None
    camera: CameraOptions | None = None
    start: float | None = None
    end: float | None = None
    every: int = 1


@dataclass(frozen=True)
class VideoOptions:
    """How annotated videos are written; see `open_sinks`."""

    codec: str | None = None
    crf: int | None = None
    audio: bool = True


@dataclass
class Counts:
    """The counts of a run over many files.

    Attributes:
        files: Those of which something was read.
        frames: The frames in which people were looked for.
        people: The people found in all of these together.
        seconds: In which that was done.
        skipped: Files, or places in them, that could not be read, each with the reason.
    """

    files: int = 0
    frames: int = 0
    people: int = 0
    seconds: float = 0.0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def fps(self) -> float | None:
        """Frames a second, once running; None for fewer than two frames."""
        return self.frames / self.seconds if self.frames > 1 and self.seconds > 0 else None


class Outputs:
    """Where the results of many inputs go. All places are checked before anything is written.

    Args:
        inputs: What is read.
        save: The folder for annotated pictures and videos, or None.
        poses: A folder for files of keypoints, one file for those of all inputs, or "-" for standard output.
        format: The format of the keypoints; None: json for pictures, jsonl for videos and cameras; in one file, as its suffix
            says.
        spared: Other files that are read, such as the model's.
        video: How annotated videos are written.

    Raises:
        OutputError: An output is a single picture or video, is one of the files that are read, or cannot be written.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        *,
        save: Path | None = None,
        poses: str | None = None,
        format: str | None = None,
        spared: Sequence[Path] = (),
        video: VideoOptions | None = None,
    ) -> None:
        self._format = format
        self._video = video or VideoOptions()
        self._save: dict[str, Path] = {}
        self._poses: dict[str, Path] = {}
        self._shared = Sinks()
        files = [Path(each.source) for each in inputs]
        if not save or all(each.is_picture for each in inputs):
            for name, value in (("codec", self._video.codec), ("crf", self._video.crf)):
                if value is not None:
                    raise InputError(f"{name} is {value}, and no video is saved; save videos, or leave it out")
        if save is not None:
            if save.suffix.lower() in PICTURES and save.suffix and not save.is_dir():
                raise OutputError(f"{save}: is one file, and there may be several sources; give a folder")
            self._save = result_paths(inputs, save, _picture_suffix)
            check_folder(save)
        if poses is not None and _is_folder(poses, format):
            self._poses = result_paths(inputs, Path(poses), self._poses_suffix)
            check_folder(Path(poses))
        _check_none_of([*self._save.values(), *self._poses.values()], files, SOURCE)
        _check_none_of([*self._save.values(), *self._poses.values()], spared, "a file of the model")
        if poses is not None and not self._poses:
            kind: Literal["images", "video"] = "images" if all(each.is_picture for each in inputs) else "video"
            name = format or poses_kind(Path(poses), is_timed=False)
            together = Source(f"{len(inputs)} files", kind, iter(()), files=files)
            self._shared = open_sinks(together, poses=poses, format=name, spared=spared, many=True)

    def of(self, source: Source, name: str) -> Sinks:
        """The sinks for one input, by its name in the listing."""
        save, poses = self._save.get(name), self._poses.get(name)
        sinks = open_sinks(source, save=save, poses=poses, format=self._format, **vars(self._video))
        sinks.sinks += self._kept()
        return sinks

    def of_pictures(self, source: Source) -> Sinks:
        """The sinks for pictures, each of which has its own results."""
        return Sinks([*([_EachPicture(self)] if self._save or self._poses else []), *self._kept()])

    def of_picture(self, name: str) -> Sinks:
        """The sinks for one picture's own results."""
        one = Source(name, "images", iter(()), total=1, files=[Path(name)])
        return open_sinks(one, save=self._save.get(name), poses=self._poses.get(name), format=self._format)

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._shared.__exit__(kind, error, traceback)

    def _kept(self) -> list[Sink]:
        return [_Kept(sink) for sink in self._shared.sinks]

    def _poses_suffix(self, one: Input) -> str:
        if self._format == "openpose":
            return "_keypoints.json" if one.is_picture else ""
        if self._format is None:
            return ".json" if one.is_picture else ".jsonl"
        return ".jsonl" if self._format == "jsonl" else ".json"


def watch_many(
    estimator: PoseEstimator,
    inputs: Sequence[Input],
    outputs: Outputs,
    *,
    reading: Reading,
    window: Window | None = None,
    figures: bool = True,
    track: bool = False,
    smooth: bool = False,
    progress: Callable[[int], object] = lambda _: None,
) -> Counts:
    """Find people in each of `inputs`; draw, show and write what is found.

    Args:
        estimator: Finds the people.
        inputs: From `list_inputs`.
        outputs: Where results go.
        reading: How each source is read.
        window: Where frames are shown, or None. The run ends when the user ends it.
        figures: Write frames a second, people and dropped frames onto what is shown.
        track: Give people identities that last from frame to frame of a video.
        smooth: Smooth the keypoints over time; tracks, too.
        progress: Is told how many more inputs are done.

    Raises:
        SourceError: Nothing of any of them can be read.
        OutputError: A file cannot be written.
    """
    counts = Counts()
    for some in _groups(inputs):
        name = some[0].source
        are_pictures = some[0].is_picture
        skipped: list[tuple[str, str]] = []
        watched: Watched | None = None
        done = _Done(progress) if are_pictures else None
        with ExitStack() as stack:
            try:
                source = stack.enter_context(_open_pictures(some) if are_pictures else _open(some[0], reading))
                skipped = source.skipped
                sinks = stack.enter_context(outputs.of_pictures(source) if are_pictures else outputs.of(source, name))
                watched = watch(
                    estimator,
                    source,
                    sinks=sinks,
                    window=window,
                    figures=figures,
                    track=track,
                    smooth=smooth,
                    progress=iter if done is None else done,
                )
            except SourceError as error:
                if not skipped:
                    skipped = [(name, _reason(error, name))]
        counts.skipped += skipped
        progress(len(some) - (0 if done is None else done.count))
        if watched is not None:
            counts.files += len(some) - len(skipped) if are_pictures else 1
            counts.frames += watched.frames
            counts.people += watched.people
            counts.seconds += watched.seconds
            if watched.ended:
                return counts
    if not counts.files and counts.skipped:
        place, reason = counts.skipped[0]
        raise SourceError(f"nothing can be read of {len(inputs)} files, such as {place}: {reason}")
    return counts


def _groups(inputs: Sequence[Input]) -> Iterator[list[Input]]:
    """Pictures that follow each other together, and everything else by itself."""
    for are_pictures, group in groupby(inputs, lambda each: each.is_picture):
        members = list(group)
        yield from [members] if are_pictures else ([one] for one in members)


class _Done:
    """Tells for each frame of pictures that one more input is done."""

    def __init__(self, progress: Callable[[int], object]) -> None:
        self._progress = progress
        self.count = 0

    def __call__(self, frames: Iterator[EstimatedFrame]) -> Iterator[EstimatedFrame]:
        for frame in frames:
            yield frame
            self.count += 1
            self._progress(1)


class _Kept:
    """A sink that is written with those of each input, and closed after the last."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, frame: Frame, poses: Poses, picture: Picture) -> None:
        self._sink.write(frame, poses, picture)

    def close(self) -> None:
        """Nothing: more inputs follow."""


class _EachPicture:
    """A sink for pictures, each of which has results of its own."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def write(self, frame: Frame, poses: Poses, picture: Picture) -> None:
        with self._outputs.of_picture(frame.path) as sinks:
            sinks.write(frame, poses, picture)

    def close(self) -> None:
        """Nothing: each picture's results were whole when `write` returned."""


def _check_none_of(paths: Iterable[Path], files: Iterable[Path], what: str) -> None:
    """Make sure that no output is one of `files`, by device and inode. Each is looked at once, as there may be thousands."""
    known = {identity for identity in map(_identity, files) if identity is not None}
    for path in paths:
        if _identity(path) in known:
            raise OutputError(f"{path}: is {what}; give another folder, so that it is not overwritten")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _open(one: Input, reading: Reading) -> Source:
    return open_source(one.source, **vars(reading))


def _open_pictures(inputs: Sequence[Input]) -> Source:
    """The pictures as one source, read ahead."""
    skipped: list[tuple[str, str]] = []

    def frames() -> Iterator[Frame]:
        index = 0
        for one in inputs:
            try:
                with open_source(one.source, read_ahead=False) as source:
                    for frame in source:
                        yield replace(frame, index=index, path=one.source)
                        index += 1
            except SourceError as error:  # noqa: PERF203 (one turn takes milliseconds)
                skipped.append((one.source, _reason(error, one.source)))

    name = inputs[0].source if len(inputs) == 1 else f"{len(inputs)} pictures"
    source = Source(name, "images", frames(), total=len(inputs), skipped=skipped, files=[Path(one.source) for one in inputs])
    return read_ahead(source, lambda: source)


def _reason(error: SourceError, name: str) -> str:
    return str(error).removeprefix(f"{name}: ")


def _is_folder(poses: str, format: str | None) -> bool:
    if poses == STDOUT:
        return False
    return format == "openpose" or poses.endswith(("/", "\\")) or Path(poses).is_dir() or not Path(poses).suffix


def _picture_suffix(one: Input) -> str:
    suffix = Path(one.source).suffix
    if not one.is_picture:
        return ".mp4"
    return suffix if suffix.lower() in IMAGE_SUFFIXES else ".jpg"
