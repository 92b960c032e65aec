"""Pictures that visitors send: the request is read, the picture is checked and decoded, and the people in it are found.

All that is done with the bytes of a picture is done in a thread, not in the event loop: even the header of a hostile picture
takes time.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from python_multipart.multipart import parse_options_header
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

# The rest of a body that is too large is read and thrown away, up to these limits: most programs read the answer only after
# they have sent everything, and lose it if the connection is closed before.
DRAINED_BYTES, DRAINED_S = 128 << 20, 5.0
# Parts of a form, and bytes of the headers of each.
MAX_PARTS, MAX_HEAD_BYTES = 100, 8 << 10


class UploadTooLarge(HTTPException):
    """The upload has more bytes than it may: status 413."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(413, f"too large; expected at most {limits.upload_bytes:,} bytes")


class BadPicture(HTTPException):
    """The bytes are not a picture in which people can be looked for: status 400 damaged, 413 too large, 415 not a picture."""


class DrainedRefusal(JSONResponse):
    """A refusal, after which the rest of the request is read and thrown away.

    Args:
        status: The HTTP status.
        message: The reason, for the visitor.
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
    """The image file in a request: its body, or the first file of a form.

    Raises:
        HTTPException: 400 the form is damaged, or has no file in it; 408 the body did not come in time.
        UploadTooLarge: The body has more than `limits.upload_bytes`.
        ClientDisconnect: The visitor has left.
    """
    with suppress(ValueError):  # Without a number, the bytes that come are counted all the same.
        if int(request.headers.get("content-length", "0")) > limits.upload_bytes:
            raise UploadTooLarge(limits)
    body = bytearray()  # Not a list of chunks: as chunks of one byte, a body would take fifty times its size.
    with anyio.move_on_after(limits.body_s) as patience:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limits.upload_bytes:
                raise UploadTooLarge(limits)
    if patience.cancelled_caught:
        raise HTTPException(408, f"the picture was not here after {limits.body_s:g} s", {"connection": "close"})
    kind = request.headers.get("content-type", "")
    data = bytes(body)
    return await anyio.to_thread.run_sync(first_file, data, kind) if kind.startswith("multipart/form-data") else data


def first_file(form: bytes, content_type: str) -> bytes:
    """The first file of a form (multipart/form-data, RFC 7578), in memory: nothing is written to the file system.

    Raises:
        HTTPException: 400 the form is damaged or cut short, has no file in it, or more than `MAX_PARTS`.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise HTTPException(400, "a form without a boundary; expected one file in a form")
    # RFC 2046, section 5.1.1: a delimiter begins a line, and whatever follows it on that line does not count.
    _, *parts = (b"\r\n" + form).split(b"\r\n--" + boundary, MAX_PARTS + 2)
    if len(parts) > MAX_PARTS + 1:
        raise HTTPException(400, f"a form of more than {MAX_PARTS} parts; expected one file in it")
    for part in parts[:-1]:  # After the last delimiter comes the end of the form, or a part that is cut short.
        head, _, content = part.partition(b"\r\n\r\n")
        for line in head[:MAX_HEAD_BYTES].split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-disposition" and b"filename" in parse_options_header(value)[1]:
                return content
    raise HTTPException(400, "no whole file in the form; expected one picture")


def check_picture(data: bytes, max_pixels: int) -> None:
    """Check the header of an image file, before anything is decoded.

    Raises:
        BadPicture: `data` is not an image, its header is damaged, or it has more than `max_pixels`.
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
    """Finds people in visitors' pictures, one picture at a time, in a thread of its own.

    Args:
        estimator: The estimator that is used for the source, too.
        waiting: How many pictures may wait at a time.
        metrics: Gets the time that each picture took.
    """

    def __init__(self, estimator: PoseEstimator, waiting: int, metrics: Metrics) -> None:
        self._estimator = estimator
        self._max_waiting = waiting
        self._metrics = metrics
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "edgepose-pictures")

    async def estimate(self, data: bytes, max_pixels: int) -> EstimatedPicture:
        """The people in the image file `data`.

        Raises:
            BadPicture: `data` is not an image, is damaged, of a shape that no network takes, or has more than `max_pixels`.
            Full: Too many pictures are waiting.
        """
        if self._waiting >= self._max_waiting:
            raise Full(f"{self._max_waiting} pictures are waiting already; try again later", 2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._estimate, data, max_pixels)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread, after the picture that is being looked at."""
        self._thread.shutdown(cancel_futures=True)

    def _estimate(self, data: bytes, max_pixels: int) -> EstimatedPicture:
        with self._metrics.timed("visitor"):
            check_picture(data, max_pixels)
            try:
                image = read_image(data)
                return EstimatedPicture(self._estimator(image), image.shape[1], image.shape[0])
            except (SourceError, InputError) as error:
                raise BadPicture(400, str(error)) from None
