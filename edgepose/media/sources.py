"""Opens sources of frames: an image, a folder, a pattern, a video, a pipe, a camera, a network stream, or arrays."""

from __future__ import annotations

import glob
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from edgepose.addresses import showable
from edgepose.errors import InputError, SourceError
from edgepose.media.animations import is_animation
from edgepose.media.cameras import CameraOptions, is_camera, open_camera
from edgepose.media.frames import Frame, Part, Source
from edgepose.media.heif import heif_kind
from edgepose.media.images import NONE_HINT, READ_SUFFIXES, check_image, missing, read_file, read_image
from edgepose.media.listing import local_name
from edgepose.media.live import read_ahead as read_in_thread
from edgepose.media.pictures import open_pictures, refuse_times
from edgepose.media.pipes import STANDARD_INPUT, is_pipe, open_pipe_at

__all__ = ["CameraOptions", "Frame", "Source", "open_source", "source_files"]

_ARRAYS = "images"  # The name of a source of arrays.


def open_source(
    source: str | int | Path | Iterable[NDArray[np.uint8]],
    *,
    max_frames: int | None = None,
    start: float | None = None,
    end: float | None = None,
    every: int = 1,
    camera: CameraOptions | None = None,
    read_ahead: bool = True,
) -> Source:
    """Open a source of frames.

    Args:
        source: An image file; a folder of images (in natural order, not the folders in it); a pattern such as
            "photos/*.jpg"; a video file or an animated picture; "-" for what comes by standard input; a camera by number (0 or
            "0"), device ("/dev/video0"), as "picamera" (Raspberry Pi's) or as a GStreamer pipeline ("v4l2src ! videoconvert !
            appsink"); a stream, a video or an image by URL (rtsp://, http://); or arrays (H, W, 3) uint8 BGR.
        max_frames: Stop after so many frames; 0 gives none.
        start: Of a video, the time of the first frame to give, seconds on its own clock; earlier ones are passed over.
        end: Likewise, the time to stop before.
        every: Give the first frame and each so-manieth after it. Indices and times stay those of the source.
        camera: The frame size and rate to ask of a camera.
        read_ahead: Read in a thread of its own: files two frames ahead; of cameras and streams only the newest frame is
            kept, and they are opened again when they go away. Otherwise all of them are read in the calling thread, every
            frame, until the first failure. Arrays always are.

    Raises:
        SourceError: It cannot be opened, now, or read, while iterating; or a start or an end is given for what has none. A bad
            image in a folder or a damaged frame in a video is no error, but is noted in `Source.skipped`.
        InputError: An array is not an image (while iterating), or a number is out of range.
    """
    source = local_name(source) if isinstance(source, str) else source
    if max_frames is not None and max_frames < 0:
        raise InputError(f"max_frames is {max_frames}; expected 0 or more, or None for all")
    part = Part(0.0 if start is None else start, math.inf if end is None else end, every)
    open_it = partial(_open, source, camera or CameraOptions(), part)
    opened = open_it()
    opened.files = opened.files or source_files(source)
    if read_ahead and opened.name != _ARRAYS:
        opened = read_in_thread(opened, open_it)
    opened.frames = itertools.islice(opened.frames, max_frames)
    if max_frames is not None:
        opened.total = min(max_frames, max_frames if opened.total is None else opened.total)
    return opened


def source_files(source: object) -> Sequence[Path]:
    """The files or devices that `source` may be read from, by its name alone: nothing is opened, and some may not exist."""
    if isinstance(source, (int, np.integer)):
        return [Path(f"/dev/video{source}")]
    if not isinstance(source, (str, Path)):
        return []
    text = _at_home(str(source))
    if source == STANDARD_INPUT:
        return []
    if is_camera(text):
        in_pipeline = re.findall(r'\blocation\s*=\s*(?:"([^"]*)"|(\S+))', text)
        return [Path(f"/dev/video{text}"), Path(text), *(Path(quoted or plain) for quoted, plain in in_pipeline)]
    scheme, is_url, rest = text.partition("://")
    if isinstance(source, str) and is_url:
        return [Path(rest), _path_of(text)] if scheme.lower() == "file" else []
    with suppress(OSError, ValueError):  # Opening the source raises an error that says what is wrong.
        path = Path(text)
        if path.is_dir():
            return _images_among(path.iterdir())
        if glob.has_magic(text) and not path.exists():
            return _images_among(map(Path, glob.glob(text, recursive=True)))
    return [Path(text)]


def _open(source: str | int | Path | Iterable[NDArray[np.uint8]], camera: CameraOptions, part: Part) -> Source:
    if isinstance(source, (int, np.integer)):
        return _opened_camera(int(source), camera, part)
    if not isinstance(source, (str, Path)):
        if not isinstance(source, Iterable):
            hint = NONE_HINT if source is None else ""  # type: ignore[unreachable]
            raise InputError(f"got {type(source).__name__}; expected a path, a camera number, a URL, or images{hint}")
        refuse_times(part, _ARRAYS)
        images = [source] if isinstance(source, np.ndarray) and source.ndim == 3 else source
        total = part.expected(len(images), None) if isinstance(images, Sized) else None
        return Source(_ARRAYS, "images", _read_arrays(images, part.every), total=total)
    text = _at_home(str(source))
    if source == STANDARD_INPUT:
        return open_pipe_at(None, "standard input", part)
    if is_camera(text):
        return _opened_camera(int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text, camera, part)
    if isinstance(source, str) and "://" in source:
        if source.lower().startswith("file://"):
            return _open_path(_path_of(source), source, part)
        from edgepose.media.streams import open_stream  # Here, because PyAV takes a while to load, and pictures need none.

        return open_stream(source, part)
    try:
        return _open_path(Path(text), text, part)
    except (OSError, ValueError) as error:  # A folder that may not be read, a name too long, a NUL in the name.
        raise SourceError(f"{showable(text)!r}: cannot be opened: {getattr(error, 'strerror', None) or error}") from None


def _opened_camera(name: int | str, options: CameraOptions, part: Part) -> Source:
    if part.has_times:
        raise SourceError(f"camera {name}: live, without a start and an end to choose; stop it after a number of frames")
    return open_camera(name, options, part.every)


def _at_home(text: str) -> str:
    """`text` with the user's home for a "~" at its beginning, as shells have it; they leave it in quoted patterns."""
    if text.startswith("~") and not Path(text).exists():
        with suppress(RuntimeError):  # There is no home.
            return str(Path(text).expanduser())
    return text


def _path_of(url: str) -> Path:
    """The file that a file:// URL names."""
    rest = url.partition("://")[2]
    return Path(rest) if Path(rest).exists() else Path(unquote(urlsplit(url).path))


def _open_path(path: Path, text: str, part: Part) -> Source:
    suffixes = ", ".join(READ_SUFFIXES)
    if not text:
        raise SourceError("the source is empty; expected a file, folder, pattern, camera number or URL")
    if path.is_dir():
        images = _images_among(path.iterdir())
        if not images:
            raise SourceError(f"{text}: no images in this folder; expected files named {suffixes}")
    elif path.exists():
        return open_pipe_at(path, text, part) if is_pipe(path) else _open_file(path, text, part)
    elif glob.has_magic(text):
        found = [Path(name) for name in glob.glob(text, recursive=True)]
        images = _images_among(found)
        if not images:
            what = f"{len(found)} files, none of them an image ({suffixes})" if found else "no files"
            raise SourceError(f"{text}: this pattern matches {what}; expected at least one image")
    else:
        raise missing(path)
    refuse_times(part, text)
    skipped: list[tuple[str, str]] = []
    total = part.expected(len(images), None)
    return Source(text, "images", _read_images(images, skipped, part.every), total=total, skipped=skipped, files=images)


def _open_file(path: Path, text: str, part: Part) -> Source:
    with path.open("rb") as file:
        start = file.read(64)
    is_picture = path.suffix.lower() in READ_SUFFIXES
    if is_picture and is_animation(start):
        return open_pictures(read_file(path), text, part)
    if is_picture or heif_kind(start):
        refuse_times(part, text)
        return Source(text, "images", _read_images([path], None, 1), total=1)
    from edgepose.media.videos import open_video  # Here, because PyAV takes a while to load, and pictures need none.

    return open_video(path, part)


def _images_among(paths: Iterable[Path]) -> list[Path]:
    """The image files of `paths` that are not hidden, in natural order: 2.jpg before 10.jpg."""

    def order(path: Path) -> list[tuple[str, int]]:
        pieces = re.findall(r"([^0-9]*)([0-9]*)", str(path.with_suffix("")))
        return [(text.casefold(), int(number or 0)) for text, number in pieces]

    images = [p for p in paths if p.suffix.lower() in READ_SUFFIXES and not p.name.startswith(".") and p.is_file()]
    return sorted(sorted(images), key=order)


def _read_images(paths: list[Path], skipped: list[tuple[str, str]] | None, every: int) -> Iterator[Frame]:
    """Frames of each `every`-th image file; bad ones are noted in `skipped`, or raised where that is None."""
    bad = 0
    for number in range(0, len(paths), every):
        path = paths[number]
        try:
            image = read_image(path)
        except SourceError as error:
            if skipped is None:
                raise
            skipped.append((str(path), str(error).removeprefix(f"{path}: ")))
            bad += 1
            continue
        yield Frame(image, number - bad, 0.0, str(path))


def _read_arrays(images: Iterable[NDArray[np.uint8]], every: int) -> Iterator[Frame]:
    for index, image in enumerate(images):
        if index % every == 0:
            check_image(image)
            yield Frame(image, index, 0.0, _ARRAYS)
