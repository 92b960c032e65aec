"""Videos: files, and what comes by a pipe or from a web server; frame by frame, or a part of them."""

from __future__ import annotations

import itertools
import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av.error
from av.packet import Packet
from av.video.frame import VideoFrame

from edgepose.errors import SourceError
from edgepose.media.containers import Video, explained, no_frames, open_data, packets, reopening
from edgepose.media.frames import DEFAULT_FPS, Frame, Part, Source
from edgepose.media.pixels import PictureMaker, is_turned

logger = logging.getLogger(__name__)

# Codecs with packets that are no frame of their own, so that packets cannot be counted instead of frames.
_UNCOUNTABLE = ("vp8",)
# A hole in the clock is damage if so many bytes between the packets beside it belong to no packet.
_LOST_BYTES = 1024
# AVI has an empty chunk for a frame that is not there, and at most a few bytes more.
_EMPTY_BYTES = 32


def open_video(path: Path, part: Part) -> Source:
    """The frames of a video file.

    Args:
        path: The file.
        part: Which of them to give.

    Raises:
        SourceError: It is empty, or no video; while iterating: no frame of it can be decoded.
    """
    name = str(path)
    if path.stat().st_size == 0:
        raise SourceError(f"{name}: an empty file; expected a video or an image")
    reopen = reopening(path, name)
    video = reopen()
    pixel_aspect = float(video.stream.sample_aspect_ratio or 1)
    if pixel_aspect != 1 and _is_turned(reopen):
        pixel_aspect = 1 / pixel_aspect
    source = from_video(video, "video", part, reopen)
    source.pixel_aspect, source.sound = pixel_aspect, path if video.has_sound else None
    return source


def open_pipe(file: Any, name: str, part: Part) -> Source:
    """The frames of a video that comes through a pipe, as it comes.

    Raises:
        SourceError: As for files.
    """
    video = open_data(file, name)
    source = from_video(video, "video", part)
    source.pixel_aspect = float(video.stream.sample_aspect_ratio or 1)
    return source


def from_video(video: Video, kind: Literal["video", "stream"], part: Part, reopen: Callable[[], Video] | None = None) -> Source:
    """The frames of an opened video that has an end.

    Args:
        video: Belongs to the source.
        kind: That of the source.
        part: Which frames to give.
        reopen: Opens it once more; the start of a part is then sought. Otherwise all before it is decoded.
    """
    skipped: list[tuple[str, str]] = []
    reader = _Reader(video, part, skipped, reopen)
    total = part.expected(video.total, video.duration_s)
    return Source(video.name, kind, reader.frames(), False, video.fps, total, skipped, reader.close)


class _Decoded(NamedTuple):
    frame: VideoFrame
    timestamp: float
    failed: int  # Frames before it that could not be decoded.


class _Reader:
    """Reads a video once, from its start or the start of a part, to its end."""

    def __init__(self, video: Video, part: Part, skipped: list[tuple[str, str]], reopen: Callable[[], Video] | None) -> None:
        self._video = video
        self._part = part
        self._skipped = skipped
        self._reopen = reopen
        self._step = 1 / (video.fps or DEFAULT_FPS)
        self._holes = 0
        self._end_s = 0.0  # Of the last packet of any kind.

    def close(self) -> None:
        self._video.close()

    def frames(self) -> Iterator[Frame]:
        part, name = self._part, self._video.name
        index, decoded = self._from_start()
        picture = PictureMaker(name)
        failed = given = 0
        for item in decoded:
            if item.timestamp >= part.end:
                return
            failed += item.failed
            if item.timestamp >= part.start:
                if item.failed:
                    reason = f"damaged; frames that could not be decoded: {item.failed}"
                    self._skipped.append((f"{name}, before frame {index}", reason))
                if given % part.every == 0:
                    yield Frame(picture(item.frame), index, item.timestamp, name)
                given += 1
            index += 1
        if index == 0:
            raise no_frames(name)
        if given == 0:
            raise SourceError(f"{name}: ends before {part.start:g} s, where it was to start")
        self._check_whole(index, failed)

    def _from_start(self) -> tuple[int, Iterator[_Decoded]]:
        """The index of the first frame decoded, and the frames from there."""
        if self._part.start > 0 and self._reopen is not None:
            times = self._seek(self._part.start)
            if times:
                decoded = self._decoded()
                first = next(decoded, None)
                index = bisect_left(times, math.inf if first is None else first.timestamp - self._step / 100)
                if first is not None and index < len(times) and first.timestamp <= self._part.start:
                    return index, itertools.chain([first._replace(failed=0)], decoded)
            self._video.close()
            self._video = self._reopen()
        return 0, self._decoded()

    def _seek(self, start: float) -> list[float]:
        """Go to the last key frame before `start`; the times of all frames to there, or none where they cannot be known."""
        video, times, key = self._video, [], None
        if video.stream.codec_context.name in _UNCOUNTABLE:
            return []
        for packet in packets(video):
            if packet.stream_index != video.stream.index:
                continue
            seconds, decoding = video.seconds(packet.pts), video.seconds(packet.dts)
            if seconds is None or decoding is None or packet.pts is None:
                return []
            if not packet.is_discard:
                times.append(seconds)
                if packet.is_keyframe and seconds <= start:
                    key = packet.pts
            if decoding > start:
                break
        if key is None:
            return []
        try:
            video.container.seek(key, stream=video.stream)
        except av.error.FFmpegError:
            return []
        return sorted(times)

    def _decoded(self) -> Iterator[_Decoded]:
        """The frames in order, and their times, which always grow."""
        video, decoder = self._video, self._video.stream.codec_context
        waiting = failed = 0
        timestamp = -self._step
        for packet in itertools.chain(self._packets(), [None]):
            waiting += packet is not None and not packet.is_discard
            try:
                frames = decoder.decode(packet)
            except av.error.FFmpegError:
                frames, failed, waiting = [], failed + 1, waiting - 1
            for frame in frames:
                stated = video.seconds(frame.pts)
                # The video's clock, which knows of variable rates; where it stands still or runs back, the nominal step.
                is_sensible = stated is not None and stated >= 0 and stated > timestamp
                timestamp = stated if is_sensible and stated is not None else timestamp + self._step
                yield _Decoded(frame, timestamp, failed)
                failed = 0
            if packet is None and len(frames) < min(waiting, decoder.thread_count - 1) and self._reopen is not None:
                # Of several threads' last frames PyAV gives none after a damaged one; one thread decodes them all.
                self._video.close()
                self._video = self._reopen()
                self._video.stream.codec_context.thread_count = 1
                last = timestamp
                yield from (item for item in self._decoded() if item.timestamp > last)
                return
            waiting -= len(frames)
        if failed:
            self._skipped.append((f"{video.name}, at its end", f"damaged; frames that could not be decoded: {failed}"))

    def _packets(self) -> Iterator[Packet[Any]]:
        """The packets of the pictures; notes the holes between them, and where all ends."""
        video = self._video
        last_s, last_byte = math.inf, math.inf
        try:
            for packet in packets(video, retries=0 if video.is_network else 100):
                is_picture = packet.stream_index == video.stream.index
                base = packet.time_base
                if packet.dts is not None and base:
                    decoding = float(packet.dts * base - video.origin_s)
                    shown = decoding if packet.pts is None else float(packet.pts * base - video.origin_s)
                    self._end_s = max(self._end_s, shown)
                    if is_picture:
                        missing = (decoding - last_s) / self._step - 1
                        if missing > 0.5 and packet.pos is not None:
                            self._holes += packet.pos - last_byte > _LOST_BYTES + _EMPTY_BYTES * missing
                        last_s = decoding
                if packet.pos is not None:
                    last_byte = packet.pos + packet.size
                if is_picture:
                    yield packet
        except av.error.FFmpegError as error:
            raise SourceError(f"{video.name}: cannot be read on: {explained(error)}") from None

    def _check_whole(self, count: int, failed: int) -> None:
        """Warn if frames are missing that the header promises, and the container is damaged or cut short."""
        total, promised_s = self._video.total, self._video.duration_s
        if total is None or count + failed >= 0.98 * total - 1:
            return
        is_short = promised_s is not None and self._end_s + self._step < 0.98 * promised_s - self._step
        if is_short or self._holes:
            logger.warning(
                "%s: its header promises %d frames, %d were read; it is damaged, cut short, or lies",
                self._video.name,
                total,
                count,
            )


def _is_turned(reopen: Callable[[], Video]) -> bool:
    """Whether the pictures of a video are stored lying on their side."""
    video = reopen()
    try:
        for packet in itertools.islice(packets(video), 1000):
            if packet.stream_index == video.stream.index:
                frames = video.stream.codec_context.decode(packet)
                if frames:
                    return is_turned(frames[0])
    except av.error.FFmpegError:
        pass
    finally:
        video.close()
    return False
