"""Opens videos with PyAV: data that Python reads, or an address; never anything else that these name in turn.

FFmpeg follows playlists, concatenations and session descriptions wherever they lead. So what is opened here may use the
protocols of its own address alone, and a file none at all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from edgepose.errors import SourceError
from edgepose.media.images import MAX_PIXELS
from edgepose.media.pixels import check_size

# FFmpeg would decode with a thread for each core, and each holds frames: 16 of them 44 MB more than 2 (H.264, 720p). The
# network has more to do for a frame, and wants the cores; and four decode one in less time than one takes to convert it.
DECODING_THREADS = min(4, max(1, (os.cpu_count() or 1) // 2))
# Bytes asked of a file at once. Each piece waits for the interpreter, which other threads may have.
_PIECE = 1 << 18
# Decoders round the size of their buffers up before they compare it with their bound; `check_size` is exact.
_DECODERS_BOUND = MAX_PIXELS + MAX_PIXELS // 16
# Failures in a row after which a damaged container is at its end; each lets its demuxer look for the next intact part.
_MAX_FAILURES = 100
# No protocol has this name.
_NOTHING = "none"
_NO_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
# How lists of other files begin: HLS, FFmpeg's concatenation, DASH, a session description.
_LISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0")


class Video(NamedTuple):
    """An opened container, and the stream of pictures in it.

    Attributes:
        container: To be closed.
        stream: The pictures.
        name: The source, as it may be shown.
        fps: Frames per second, or None where it does not say.
        total: The frames that it promises, or None.
        origin_s: Where its clock begins, in seconds.
        is_network: Whether it is read from a server.
        file: What it is read from, to be closed with it.
    """

    container: InputContainer
    stream: VideoStream
    name: str
    fps: float | None
    total: int | None
    origin_s: Fraction
    is_network: bool = False
    file: Any = None

    @property
    def has_sound(self) -> bool:
        """Whether there is sound beside the pictures."""
        return bool(self.container.streams.audio)

    @property
    def duration_s(self) -> float | None:
        """How long it promises to be, in seconds."""
        if self.stream.duration and self.stream.time_base:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / av.time_base if self.container.duration else None

    def close(self) -> None:
        """Let go of the file or connection."""
        self.container.close()
        if self.file is not None:
            self.file.close()

    def seconds(self, pts: int | None) -> float | None:
        """A time of the stream on the video's own clock, which begins at 0."""
        return None if pts is None or self.stream.time_base is None else float(pts * self.stream.time_base - self.origin_s)


def open_data(file: Any, name: str) -> Video:
    """The video in an opened file, or anything else with `read`, `seekable` and `close`; it is closed with the video.

    Raises:
        SourceError: It is no video.
    """
    given = {what: getattr(file, what) for what in ("read", "seek", "tell", "seekable") if hasattr(file, what)}
    if not file.seekable():
        given = {"read": file.read}
    # Without the file's name, which FFmpeg takes for a pattern of names where it has a "%" in it.
    source = SimpleNamespace(**given)
    try:
        container = av.open(source, "r", options=_options(_NOTHING), buffer_size=_PIECE, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, RuntimeError):
        raise SourceError(f"{name}: {_what_it_is(file)}") from None
    return choose_pictures(container, name)._replace(file=file)


def open_address(
    url: str, protocols: str, timeout_s: float, options: dict[str, str], container_format: str | None = None
) -> InputContainer:
    """A container at an address, with errors of PyAV's.

    Args:
        url: The address.
        protocols: Those that may be used for it, with commas between.
        timeout_s: The longest wait for the server, to open and for each packet.
        options: More of FFmpeg's.
        container_format: FFmpeg's name of it, where it is known.
    """
    options = _options(protocols) | options
    return av.open(url, "r", container_format, options, timeout=timeout_s, metadata_errors="replace")


def choose_pictures(container: InputContainer, name: str, *, is_network: bool = False, is_live: bool = False) -> Video:
    """The stream of pictures in a container, with its decoder made ready; the container is closed if there is none.

    Raises:
        SourceError: It has none, or none that can be decoded, or they are too large.
    """
    try:
        return _choose_pictures(container, name, is_network, is_live)
    except SourceError:
        container.close()
        raise


def _choose_pictures(container: InputContainer, name: str, is_network: bool, is_live: bool) -> Video:
    videos = [stream for stream in container.streams.video if not stream.disposition & _NO_PICTURES]
    best = container.streams.best("video")
    stream = best if isinstance(best, VideoStream) and best in videos else next(iter(videos), None)
    if stream is None:
        kinds = ", ".join(sorted({str(stream.type) for stream in container.streams})) or "nothing"
        raise SourceError(f"{name}: no pictures in it, but {kinds} ({container.format.name}); expected a video or an image")
    decoder = stream.codec_context
    if decoder is None:
        raise SourceError(f"{name}: its video is in a format that the installed FFmpeg cannot decode; convert it to H.264")
    check_size(decoder.width, decoder.height, name)
    decoder.options = {"max_pixels": str(_DECODERS_BOUND)}
    # A thread for each of several frames holds these back, which makes a live picture older.
    kind: Literal["SLICE", "AUTO"] = "SLICE" if is_live else "AUTO"
    decoder.thread_type, decoder.thread_count = kind, DECODING_THREADS
    if is_network:
        for other in container.streams:
            if other is not stream and hasattr(other, "discard"):  # PyAV 17 has none.
                other.discard = type(other.discard).all  # Of a playlist with several sizes of a video, only one is fetched.
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate and 0 < rate <= 1000 else None
    return Video(container, stream, name, fps, _promised(container, stream, fps), _origin(container, stream), is_network)


def packets(video: Video, *, retries: int = _MAX_FAILURES) -> Iterator[Packet[Any]]:
    """All packets of a container, those of sound included.

    Raises:
        av.error.FFmpegError: It cannot be read on, and there are no `retries`; otherwise that is its end.
    """
    failures = 0
    while failures <= retries:
        try:
            for packet in video.container.demux():
                if packet.size or packet.dts is not None:  # Those that flush the decoders at the end have neither.
                    failures = 0
                    yield packet
        except av.error.FFmpegError as error:  # noqa: PERF203 (an error is the end, or nearly)
            failures += 1
            if not retries:
                if is_hang_up(error) and video.container.size <= 0:
                    return
                raise
        else:
            return


def is_hang_up(error: av.error.FFmpegError) -> bool:
    """Whether a server has ended a connection without having said how long its answer is."""
    return error.errno == errno.EIO


def reopening(path: Path, name: str) -> Callable[[], Video]:
    """A function that opens the file `path`, as often as it is called."""

    def reopen() -> Video:
        file = path.open("rb", buffering=0)
        try:
            return open_data(file, name)
        except BaseException:
            file.close()
            raise

    return reopen


def _options(protocols: str) -> dict[str, str]:
    return {"protocol_whitelist": protocols, "max_pixels": str(_DECODERS_BOUND)}


def _promised(container: InputContainer, stream: VideoStream, fps: float | None) -> int | None:
    if stream.frames > 0:
        return stream.frames
    duration = container.duration
    return (round(duration / av.time_base * fps) or None) if duration and fps else None


def _origin(container: InputContainer, stream: VideoStream) -> Fraction:
    start: int | None = container.start_time  # PyAV's types promise a number.
    if start is not None:
        return Fraction(start, av.time_base)
    return stream.start_time * stream.time_base if stream.start_time and stream.time_base else Fraction(0)


def _what_it_is(file: Any) -> str:
    start = b""
    if file.seekable():
        file.seek(0)
        start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(_LISTS):
        return "a list of other files or streams, which is not followed; give the video itself, or its address"
    return "neither a video that FFmpeg can open nor an image; it may be damaged or cut short"


def explained(error: Exception) -> str:
    """Why an address could not be opened or read, in FFmpeg's few words, without the address."""
    if isinstance(error, av.error.ExitError) or getattr(error, "errno", None) == errno.ETIMEDOUT:
        return "the server does not answer"
    return str(getattr(error, "strerror", None) or type(error).__name__)


def no_frames(name: str) -> SourceError:
    """The error to raise where none of the frames of a source could be decoded."""
    reasons = f"it may be damaged, of an unknown format, or of more than {MAX_PIXELS:,} pixels a frame"
    return SourceError(f"{name}: no frame of it can be decoded; {reasons}")
