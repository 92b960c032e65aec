"""Network addresses: live streams, and videos and pictures on web servers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import av.error
from av.container import InputContainer
from av.packet import Packet

from edgepose.addresses import showable
from edgepose.errors import SourceError
from edgepose.media.containers import Video, choose_pictures, explained, is_hang_up, no_frames, open_address, packets
from edgepose.media.frames import Frame, Part, Source
from edgepose.media.images import MAX_FILE_BYTES
from edgepose.media.pictures import open_pictures
from edgepose.media.pixels import PictureMaker
from edgepose.media.videos import from_video
from edgepose.prefetch import interruptible

logger = logging.getLogger(__name__)

# FFmpeg waits for ever for a server that does not answer, or answers no more.
STREAM_TIMEOUT_S = 5.0
# Warnings about damaged frames of a live stream, at most one in so many seconds.
_WARNINGS_S = 10.0
# What an address may lead to, by its scheme: redirections and the parts of an HLS playlist stay within it.
_WEB = "http,https,tcp,tls,httpproxy,crypto"
_PROTOCOLS = {
    "http": _WEB,
    "https": _WEB,
    "rtsp": "rtsp,rtp,rtcp,tcp,udp",
    "rtsps": "rtsp,rtsps,rtp,rtcp,srtp,tcp,tls,udp",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmp,rtmps,tcp,tls",
    "rtp": "rtp,rtcp,udp",
    "udp": "udp",
    "tcp": "tcp",
    "srt": "srt",
    "ftp": "ftp,tcp",
}
# RTP over TCP loses no packets; a camera that has only UDP gets that.
_RTSP_OPTIONS = {"rtsp_flags": "prefer_tcp"}
# Demuxers of what has no end, and of lists, whose own length says nothing about that of what they list.
_ENDLESS = ("mpjpeg",)
_LISTS = ("hls", "dash")
# The brands of HEIF and AVIF, which come in the container of MP4.
_PICTURE_BRANDS = ("heic", "heix", "heim", "heis", "mif1", "avif", "miaf")


def open_stream(url: str, part: Part) -> Source:
    """The frames of a network stream, or of a video or a picture on a web server.

    It ends if the server says how long it is, in bytes or seconds, or it is a picture or an animation; otherwise it is live.

    Args:
        url: The address.
        part: Which frames to give; of a live stream, times cannot be chosen.

    Raises:
        SourceError: The server does not answer, or not with a video or a picture.
    """
    name, scheme = showable(url), _scheme(url)
    try:
        options = _RTSP_OPTIONS if scheme.startswith("rtsp") else {}
        container = interruptible(lambda: open_address(url, _PROTOCOLS[scheme], STREAM_TIMEOUT_S, options))
    except av.error.FFmpegError as error:
        advice = "check the address, user name and password, and that it can be reached"
        raise SourceError(f"{name} cannot be opened; {advice}: {explained(error)}") from None
    if _is_picture(container):
        container.close()
        data = interruptible(partial(_fetch, url, scheme, name))
        return open_pictures(data, name, part)
    is_live = _is_live(container)
    video = choose_pictures(container, name, is_network=True, is_live=is_live)
    if not is_live:
        return from_video(video, "stream", part)
    if part.has_times:
        video.close()
        raise SourceError(f"{name}: a live stream, which has no start and end to choose; stop it after a number of frames")
    return Source(name, "stream", _live_frames(video, part.every), True, video.fps, release=video.close)


def _scheme(url: str) -> str:
    expected = "expected rtsp://HOST/PATH or http://HOST/PATH"
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError as error:
        reason = "" if "'" in str(error) else f": {error}"  # The error may quote a password.
        raise SourceError(f"{showable(url)}: not an address that can be opened{reason}; {expected}") from None
    if scheme not in _PROTOCOLS:
        raise SourceError(f"{showable(url)}: addresses of this kind are not opened; {expected}, or {', '.join(_PROTOCOLS)}")
    return scheme


def _is_live(container: InputContainer) -> bool:
    kind = container.format.name
    if kind in _ENDLESS:
        return True
    if container.duration:
        return False
    return kind in _LISTS or (container.size <= 0 and kind not in ("gif", "apng"))


def _is_picture(container: InputContainer) -> bool:
    kind = container.format.name
    brand = container.metadata.get("major_brand")
    return kind.endswith("_pipe") or kind in ("image2", "webp") or brand in _PICTURE_BRANDS


def _fetch(url: str, scheme: str, name: str) -> bytes:
    """All bytes at an address."""
    data = bytearray()
    length = 0
    try:
        with open_address(url, _PROTOCOLS[scheme], STREAM_TIMEOUT_S, {}, "data") as container:
            length = container.size
            for packet in container.demux():
                data += bytes(packet)
                if len(data) > MAX_FILE_BYTES:
                    raise SourceError(f"{name}: more than {MAX_FILE_BYTES:,} bytes; expected an image of at most that")
    except av.error.FFmpegError as error:
        if not (is_hang_up(error) and data and length <= 0):
            raise SourceError(f"{name}: cannot be read: {explained(error)}") from None
    return bytes(data)


def _live_frames(video: Video, every: int) -> Iterator[Frame]:
    """Frames as they come, timed by our clock, to the end of the stream, or of patience with it.

    Raises:
        SourceError: It breaks off, or nothing comes for too long.
    """
    picture, decoder = PictureMaker(video.name), video.stream.codec_context
    index = failed = 0
    started = warned = -_WARNINGS_S
    for packet in _in_time(video):
        came, received = time.monotonic(), time.time()
        try:
            frames = decoder.decode(packet)
        except av.error.FFmpegError:
            failed += 1
            continue
        if failed and came - warned > _WARNINGS_S:
            message = "%s, before frame %d: damaged; frames that could not be decoded: %d"
            logger.warning(message, video.name, index, failed)
            failed, warned = 0, came
        for frame in frames:
            started = came if index == 0 else started
            if index % every == 0:
                yield Frame(picture(frame), index, came - started, video.name, received=received)
            index += 1
    if index == 0:
        raise no_frames(video.name)


def _in_time(video: Video) -> Iterator[Packet[Any]]:
    """The packets of the pictures, for as long as each comes in time.

    A wait that is too long ends in an error or in half a packet; and what comes after it is as old as the wait was long.
    """
    coming = packets(video, retries=0)
    while True:
        asked = time.monotonic()
        try:
            packet = next(coming, None)
        except av.error.FFmpegError as error:
            raise SourceError(f"{video.name}: {explained(error)}") from None
        if packet is None:
            return
        if time.monotonic() - asked > STREAM_TIMEOUT_S:
            raise SourceError(f"{video.name}: nothing came for {STREAM_TIMEOUT_S:g} s")
        if packet.stream_index == video.stream.index:
            yield packet
