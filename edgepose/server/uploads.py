"""Pictures that visitors send: the request is read, the picture is checked and decoded, and the people in it are found.

All that is done with the bytes of a picture is done in a thread, not in the event loop: even the header of a hostile picture
takes time.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import anyio.to_thread
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from edgepose.errors import InputError, SourceError
from edgepose.estimator import PoseEstimator
from edgepose.media.headers import read_header
from edgepose.media.images import read_image
from edgepose.poses import Poses
from edgepose.server.guards import Clients, Full, refusal
from edgepose.server.limits import Limits
from edgepose.server.metrics import Metrics
from edgepose.tracking import Tracker

# The rest of a body that is too large is read and thrown away, up to these limits: most programs read the answer only after
# they have sent everything, and lose it if the connection is closed before.
DRAINED_BYTES, DRAINED_S = 128 << 20, 5.0
# Parts of a form, and bytes of the headers of each.
MAX_PARTS, MAX_HEAD_BYTES = 100, 8 << 10


class UploadTooLarge(HTTPException):
    """The upload has more bytes than it may: status 413."""


class BadPicture(HTTPException):
    """The bytes are not a picture in which people can be looked for: status 400 damaged, 413 too large, 415 not a picture."""


async def drained_refusal(_: HTTPConnection, error: Any) -> ASGIApp:
    """A response to `UploadTooLarge`, after which the rest of the request is read and thrown away."""
    response = refusal(error.status_code, error.detail)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        left = DRAINED_BYTES
        with anyio.move_on_after(DRAINED_S):
            while left > 0 and (message := await receive()).get("more_body", False):
                left -= len(message["body"])
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return answer


async def read_picture(request: Request, limits: Limits) -> bytes:
    """The image file in a request: its body, or the first file of a form.

    Raises:
        HTTPException: 400 the form is damaged, or has no file in it; 408 the body did not come in time.
        UploadTooLarge: The body has more than `limits.upload_bytes`.
        ClientDisconnect: The visitor has left.
    """
    too_large = UploadTooLarge(413, f"too large; expected at most {limits.upload_bytes:,} bytes")
    with suppress(ValueError):  # Without a number, the bytes that come are counted all the same.
        if int(request.headers.get("content-length", "0")) > limits.upload_bytes:
            raise too_large
    body = bytearray()  # Not a list of chunks: as chunks of one byte, a body would take fifty times its size.
    with anyio.move_on_after(limits.body_s) as patience:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limits.upload_bytes:
                raise too_large
    if patience.cancelled_caught:
        raise HTTPException(408, f"the picture was not here after {limits.body_s:g} s", {"connection": "close"})
    kind = request.headers.get("content-type", "")
    data = bytes(body)
    return await anyio.to_thread.run_sync(first_file, data, kind) if kind.startswith("multipart/form-data") else data


def first_file(form: bytes, content_type: str) -> bytes:
    """The first file of a form (multipart/form-data, RFC 7578), in memory: nothing is written to the file system.

    One that is damaged or cut short, has no file in it, or more than `MAX_PARTS`, is refused with status 400.
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


class PictureInference:
    """Finds people in visitors' pictures, of which so many may wait, one at a time, in a thread of its own."""

    def __init__(self, estimator: PoseEstimator, waiting: int, metrics: Metrics) -> None:
        self._estimator = estimator
        self._metrics = metrics
        self._places = Clients(waiting, "pictures", retry_s=2)
        self._is_closed = False
        self._thread = ThreadPoolExecutor(1, "edgepose-pictures")

    async def estimate(self, data: bytes, max_pixels: int, tracker: Tracker | None = None) -> dict[str, Any]:
        """The people in the image file `data`, as the entries of a JSON object; a tracker gives them identities.

        Raises:
            BadPicture: `data` is not an image, is damaged, of a shape that no network takes, or has more than `max_pixels`.
            Full: Too many pictures are waiting, or the server ends.
        """
        came = time.monotonic()
        with self._places.enter("picture"):
            try:
                loop = asyncio.get_running_loop()
                poses, width, height = await loop.run_in_executor(self._thread, self._estimate, data, max_pixels)
            except (asyncio.CancelledError, RuntimeError):
                if self._is_closed:
                    raise Full("the server ends", 2) from None
                raise
        poses = poses if tracker is None else tracker.update(poses, came)
        return {"image": {"width": width, "height": height}, **poses.to_dict()}

    def close(self) -> None:
        """Refuse the pictures that wait; the thread ends after its own."""
        self._is_closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _estimate(self, data: bytes, max_pixels: int) -> tuple[Poses, int, int]:
        """The people in an image file, and its width and height. Its header is checked before anything is decoded."""
        with self._metrics.timed("visitor"):
            try:
                header = read_header(data)
            except ValueError as error:
                raise BadPicture(400, f"damaged image: {error}") from None
            if header is None:
                status, found = (415, "not an image that can be read") if data else (400, "empty")
                raise BadPicture(status, f"{found}; expected a JPEG, PNG, WebP, BMP or TIFF image")
            if header.width * header.height > max_pixels:
                raise BadPicture(413, f"{header.width} x {header.height} pixels; expected at most {max_pixels:,} in all")
            try:
                image = read_image(data)
                return self._estimator(image), image.shape[1], image.shape[0]
            except (SourceError, InputError) as error:
                raise BadPicture(400, str(error)) from None
