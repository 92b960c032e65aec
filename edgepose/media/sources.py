"""Opens sources of frames: an image, a folder, a pattern, a video, a camera, a network stream, or arrays."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from edgepose.addresses import showable
from edgepose.errors import InputError, SourceError
from edgepose.media.cameras import CameraOptions, is_camera, open_camera
from edgepose.media.captures import open_stream, open_video
from edgepose.media.frames import Frame, Source
from edgepose.media.images import IMAGE_SUFFIXES, check_image, missing, read_image
from edgepose.media.live import read_ahead as read_in_thread

__all__ = ["CameraOptions", "Frame", "Source", "open_source", "source_files"]

_ARRAYS = "images"  # The name of a source of arrays.


def open_source(
    source: str | int | Path | Iterable[NDArray[np.uint8]],
    *,
    max_frames: int | None = None,
    camera: CameraOptions | None = None,
    read_ahead: bool = True,
) -> Source:
    """Open a source of frames.

    Args:
        source: An image file; a folder of images (in natural order, not the folders in it); a pattern such as
            "photos/*.jpg"; a video file; a camera by number (0 or "0"), device ("/dev/video0"), as "picamera" (Raspberry
            Pi's) or as a GStreamer pipeline ("v4l2src ! videoconvert ! appsink"); a stream by URL (rtsp://, http://); or
            arrays (H, W, 3) uint8 BGR.
        max_frames: Stop after so many frames; 0 gives none.
        camera: The frame size and rate to ask of a camera.
        read_ahead: Read in a thread of its own: files two frames ahead; of cameras and streams only the newest frame is
            kept, and they are opened again when they go away. Otherwise all of them are read in the calling thread, every
            frame, until the first failure. Arrays always are.

    Raises:
        SourceError: It cannot be opened, now, or read, while iterating. A bad image in a folder or a damaged frame in a
            video is no error, but is noted in `Source.skipped`.
        InputError: An array is not an image (while iterating), or `max_frames` is negative.
    """
    if max_frames is not None and max_frames < 0:
        raise InputError(f"max_frames is {max_frames}; expected 0 or more, or None for all")
    open_it = partial(_open, source, camera or CameraOptions())
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
    text = str(source)
    if is_camera(text):
        in_pipeline = re.findall(r'\blocation\s*=\s*(?:"([^"]*)"|(\S+))', text)
        return [Path(f"/dev/video{text}"), Path(text), *(Path(quoted or plain) for quoted, plain in in_pipeline)]
    scheme, is_url, rest = text.partition("://")
    if isinstance(source, str) and is_url:
        return [Path(rest), Path(unquote(rest))] if scheme.lower() == "file" else []
    with suppress(OSError, ValueError):  # Opening the source raises an error that says what is wrong.
        path = Path(text)
        if path.is_dir():
            return _images_among(path.iterdir())
        if glob.has_magic(text) and not path.exists():
            return _images_among(map(Path, glob.glob(text, recursive=True)))
    return [Path(text)]


def _open(source: str | int | Path | Iterable[NDArray[np.uint8]], camera: CameraOptions) -> Source:
    if isinstance(source, (int, np.integer)):
        return open_camera(int(source), camera)
    if not isinstance(source, (str, Path)):
        if not isinstance(source, Iterable):
            raise InputError(f"got {type(source).__name__}; expected a path, a camera number, a URL, or images")
        images = [source] if isinstance(source, np.ndarray) and source.ndim == 3 else source
        return Source(_ARRAYS, "images", _read_arrays(images), total=len(images) if isinstance(images, Sized) else None)
    text = str(source)
    if is_camera(text):
        return open_camera(int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text, camera)
    if isinstance(source, str) and "://" in source:
        return open_stream(source)
    try:
        return _open_path(Path(text), text)
    except (OSError, ValueError) as error:  # A folder that may not be read, a name too long, a NUL in the name.
        raise SourceError(f"{showable(text)!r}: cannot be opened: {getattr(error, 'strerror', None) or error}") from None


def _open_path(path: Path, text: str) -> Source:
    suffixes = ", ".join(IMAGE_SUFFIXES)
    if not text:
        raise SourceError("the source is empty; expected a file, folder, pattern, camera number or URL")
    if path.is_dir():
        images = _images_among(path.iterdir())
        if not images:
            raise SourceError(f"{text}: no images in this folder; expected files named {suffixes}")
    elif path.exists():
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return open_video(path)
        return Source(text, "images", _read_images([path], None), total=1)
    elif glob.has_magic(text):
        found = [Path(name) for name in glob.glob(text, recursive=True)]
        images = _images_among(found)
        if not images:
            what = f"{len(found)} files, none of them an image ({suffixes})" if found else "no files"
            raise SourceError(f"{text}: this pattern matches {what}; expected at least one image")
    else:
        raise missing(path)
    skipped: list[tuple[str, str]] = []
    return Source(text, "images", _read_images(images, skipped), total=len(images), skipped=skipped, files=images)


def _images_among(paths: Iterable[Path]) -> list[Path]:
    """The image files of `paths` that are not hidden, in natural order: 2.jpg before 10.jpg."""

    def order(path: Path) -> list[tuple[str, int]]:
        pieces = re.findall(r"([^0-9]*)([0-9]*)", str(path.with_suffix("")))
        return [(text.casefold(), int(number or 0)) for text, number in pieces]

    images = [p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()]
    return sorted(sorted(images), key=order)


def _read_images(paths: list[Path], skipped: list[tuple[str, str]] | None) -> Iterator[Frame]:
    """Frames of image files; bad ones are noted in `skipped`, or raised where that is None."""
    index = 0
    for path in paths:
        try:
            image = read_image(path)
        except SourceError as error:
            if skipped is None:
                raise
            skipped.append((str(path), str(error).removeprefix(f"{path}: ")))
            continue
        yield Frame(image, index, 0.0, str(path))
        index += 1


def _read_arrays(images: Iterable[NDArray[np.uint8]]) -> Iterator[Frame]:
    for index, image in enumerate(images):
        check_image(image)
        yield Frame(image, index, 0.0, _ARRAYS)
