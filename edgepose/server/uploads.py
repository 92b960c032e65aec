"""Pictures that visitors send: read, checked, bounded, decoded and looked at."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from edgepose.errors import InputError, SourceError
from edgepose.estimator import PoseEstimator
from edgepose.media.headers import read_header
from edgepose.media.images import read_image
from edgepose.poses import Poses
from edgepose.server.guards import Full
from edgepose.server.limits import Limits
from edgepose.server.metrics import Metrics
from edgepose.server.results import poses_entries

# What is left of a body that is too large is read and thrown away, within these bounds: most programs look for an answer only
# when they have sent all of it, and a connection that is closed before takes the answer with it.
DRAINED_BYTES, DRAINED_S = 128 << 20, 5.0
# Of a form. Twenty megabytes of empty ones would take ten seconds.
MAX_PARTS = 100


class UploadTooLarge(Exception):
    """More bytes than an upload may have."""


class DrainedRefusal(JSONResponse):
    """A refusal, after which the rest of the request is read and thrown away.

    Args:
        status: Of HTTP.
        message: For the visitor.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__({"error": message}, status, {"connection": "close"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        left = DRAINED_BYTES
        with anyio.move_on_after(DRAINED_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def read_picture(request: Request, limits: Limits) -> bytes:
    """The image file that a request brings.

    Raises:
        HTTPException: 400 the form is damaged, or has no file in it; 408 it takes too long.
        UploadTooLarge: It has more bytes than it may.
        ClientDisconnect: The visitor is gone.
    """
    with suppress(ValueError):  # Where it is no number, what comes is counted all the same.
        if int(request.headers.get("content-length", "0")) > limits.upload_bytes:
            raise UploadTooLarge(_too_large(limits))
    body = bytearray()  # Not a list of pieces: of one byte each, they would take fifty times the memory.
    with anyio.move_on_after(limits.body_s) as patience:
        async for piece in request.stream():
            body += piece
            if len(body) > limits.upload_bytes:
                raise UploadTooLarge(_too_large(limits))
    if patience.cancelled_caught:
        raise HTTPException(408, f"the picture was not here after {limits.body_s:g} s", {"connection": "close"})
    kind = request.headers.get("content-type", "")
    data = bytes(body)
    # In a thread, because a form of twenty megabytes takes its time.
    return await anyio.to_thread.run_sync(first_file, data, kind) if kind.startswith("multipart/form-data") else data


def first_file(form: bytes, content_type: str) -> bytes:
    """The first file of a form (multipart/form-data, RFC 7578). All in memory: nothing from outside gets near the file system.

    Raises:
        HTTPException: 400 the form is damaged or cut short, has no file in it, or more than `MAX_PARTS`.
    """
    _, options = parse_options_header(content_type)
    files: list[bytearray] = []
    field, value = bytearray(), bytearray()
    is_file = is_whole = False  # Whether this part is the file, and whether all of it has come.
    parts = 0

    def begin_part() -> None:
        nonlocal parts
        parts += 1
        if parts > MAX_PARTS:
            raise HTTPException(400, f"a form of more than {MAX_PARTS} parts; expected one file in it")

    def begin_header(data: bytes, start: int, end: int) -> None:
        field.extend(data[start:end])

    def go_on_header(data: bytes, start: int, end: int) -> None:
        value.extend(data[start:end])

    def end_header() -> None:
        nonlocal is_file
        if field.lower() == b"content-disposition" and b"filename" in parse_options_header(bytes(value))[1] and not files:
            is_file = True
            files.append(bytearray())
        field.clear()
        value.clear()

    def take(data: bytes, start: int, end: int) -> None:
        if is_file:
            files[0].extend(data[start:end])

    def end_part() -> None:
        nonlocal is_file, is_whole
        is_file, is_whole = False, is_whole or is_file

    try:
        parser = MultipartParser(
            options.get(b"boundary", b""),
            {
                "on_part_begin": begin_part,
                "on_header_field": begin_header,
                "on_header_value": go_on_header,
                "on_header_end": end_header,
                "on_part_data": take,
                "on_part_end": end_part,
            },
        )
        parser.write(form)
        parser.finalize()
    except FormParserError as error:
        raise HTTPException(400, f"a damaged form: {error}; expected one file in it") from None
    if not is_whole:
        raise HTTPException(400, "no file in the form, or half of one; expected one picture")
    return bytes(files[0])


def _too_large(limits: Limits) -> str:
    return f"too large; expected at most {limits.upload_bytes:,} bytes"


class BadPicture(Exception):
    """What came is no picture that can be looked at.

    Args:
        status: What HTTP calls it: 400 damaged, 413 too large, 415 no picture.
        message: For the visitor.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class EstimatedPicture:
    """The people in a visitor's picture, and its size in pixels."""

    poses: Poses
    width: int
    height: int

    def entries(self) -> dict[str, Any]:
        """The entries of a JSON object, as `edgepose run --json` writes them, for orjson."""
        return {"image": {"width": self.width, "height": self.height}, **poses_entries(self.poses)}


class PictureInference:
    """Finds people in pictures of visitors, beside the source.

    Args:
        estimator: The one that looks at the source, too.
        waiting: Pictures that may wait at a time.
        metrics: Is told how long each took.
    """

    def __init__(self, estimator: PoseEstimator, waiting: int, metrics: Metrics) -> None:
        self._estimator = estimator
        self._most = waiting
        self._metrics = metrics
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "edgepose-visitors")

    async def estimate(self, data: bytes, max_pixels: int) -> EstimatedPicture:
        """The people in the image file `data`.

        Raises:
            BadPicture: It is none, damaged, of a shape that no network takes, or has more than `max_pixels`.
            Full: Too many are waiting.
        """
        if self._waiting >= self._most:
            raise Full(f"{self._most} pictures are waiting already; try again later")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._look_at, data, max_pixels)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread, after the picture that it is looking at."""
        self._thread.shutdown(cancel_futures=True)

    def _look_at(self, data: bytes, max_pixels: int) -> EstimatedPicture:
        with self._metrics.timed("visitor"):
            check_picture(data, max_pixels)
            try:
                image = read_image(data)
                return EstimatedPicture(self._estimator(image), image.shape[1], image.shape[0])
            except (SourceError, InputError) as error:
                raise BadPicture(400, str(error)) from None


def check_picture(data: bytes, max_pixels: int) -> None:
    """Look at the header of an image file, before anything is decoded.

    Raises:
        BadPicture: It is none, its header is damaged, or it has more than `max_pixels`.
    """
    try:
        header = read_header(data)
    except ValueError as error:
        raise BadPicture(400, f"damaged image: {error}") from None
    if header is None:
        status, found = (415, "not an image that can be read") if data else (400, "empty")
        raise BadPicture(status, f"{found}; expected a JPEG, PNG, WebP, BMP or TIFF image")
    if header.width * header.height > max_pixels:
        raise BadPicture(413, f"{header.width} x {header.height} pixels; expected at most {max_pixels:,} in all")
