"""The live picture (MJPEG), the poses of each frame (WebSocket), and frames of a visitor's own webcam (WebSocket)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import orjson
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from edgepose.server.guards import Clients
from edgepose.server.inference import SourceInference
from edgepose.server.limits import Limits
from edgepose.server.results import Result
from edgepose.server.uploads import BadPicture, PictureInference
from edgepose.tracking import Tracker

BOUNDARY = b"--edgepose-frame\r\n"
MJPEG_HEADERS = {
    # Every browser shows it in an <img>.
    "content-type": "multipart/x-mixed-replace; boundary=edgepose-frame",
    # For nginx, which would otherwise collect frames before it passes them on.
    "x-accel-buffering": "no",
}
# A viewer who takes longer than so many seconds for a picture gets smaller ones, down to this part of the height, until so many
# in a row were no effort: at 80 kB/s, a picture of 70 kB is a second old when it is there, and one of 10 kB 0.2 s.
SLOW_S, MOST_SMALLER, QUICK_PICTURES = 0.25, 4, 30
# Codes that a WebSocket is closed with (RFC 6455, section 7.4.1).
NORMAL, UNSUPPORTED, INVALID, TOO_LARGE, TRY_LATER = 1000, 1003, 1007, 1009, 1013


async def newest(inference: SourceInference, rate: float, kind: str) -> AsyncIterator[tuple[Result, int]]:
    """The newest result over and over, at most `rate` a second, each with the number of the one before.

    Whoever takes long for one misses those that come meanwhile; they are counted as skipped by viewers of this `kind`.
    """
    skipped = inference.metrics.skipped.labels(kind)
    interval_s = 1 / rate
    number, due, viewer = 0, 0.0, object()
    try:
        while (result := await inference.newer(number)) is not None:
            # Frames that come at just this rate come somewhat early at times; to wait for the tick would miss every other one.
            if time.monotonic() < due - interval_s / 4:
                await inference.tick(interval_s)
                result = inference.latest or result
            began = time.monotonic()
            due = max(due, began) + interval_s
            inference.busy[viewer] = skipped, began + interval_s
            yield result, number or result.number - 1
            del inference.busy[viewer]
            number = max(result.number, inference.frames - 1) if time.monotonic() > began + interval_s else result.number
    finally:
        inference.busy.pop(viewer, None)


class MjpegResponse(StreamingResponse):
    """A response that sends pictures until the source ends or the viewer leaves, who counts as one of `clients`."""

    def __init__(self, inference: SourceInference, clients: Clients, limits: Limits) -> None:
        super().__init__(self._parts(inference, limits), headers=MJPEG_HEADERS)
        self._clients = clients

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._clients.enter("mjpeg"), suppress(OSError):  # The viewer has gone, or takes too long.
            await super().__call__(scope, receive, send)

    @staticmethod
    async def _parts(inference: SourceInference, limits: Limits) -> AsyncIterator[bytes]:
        yield BOUNDARY
        smaller, quick = 1, 0
        async for result, _ in newest(inference, limits.picture_rate, "mjpeg"):
            picture = await result.picture(limits.picture_height // smaller)
            began = time.monotonic()
            # The next boundary goes with the picture: browsers show a picture when they see the end of it.
            yield b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n%b" % (len(picture), picture, BOUNDARY)
            # Servers wait before they write, until what they wrote before has left. So this returns when the picture has.
            yield b""
            taken_s = time.monotonic() - began
            if taken_s > SLOW_S / 8:  # What waits at the viewer's own end is old, too: it gets time to read that.
                await asyncio.sleep(taken_s)
            # Half as high, it is a quarter of the bytes. It becomes larger again after a while, lest it change all the time.
            quick = quick + 1 if taken_s < SLOW_S / 8 else 0
            if taken_s > SLOW_S:
                smaller = min(2 * smaller, MOST_SMALLER)
            elif quick >= QUICK_PICTURES and smaller > 1:
                smaller, quick = smaller // 2, 0


async def send_poses(websocket: WebSocket, inference: SourceInference, limits: Limits) -> None:
    """Send the people of each frame as JSON, until the source ends or the client leaves.

    The reason in the close frame is the state of the source.
    """

    async def read() -> None:  # What the client says is ignored.
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass
        tasks.cancel_scope.cancel()

    await websocket.accept()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        with suppress(WebSocketDisconnect):
            async for result, since in newest(inference, limits.poses_rate, "poses"):
                for people in [*inference.between(since, result.number), result.people]:
                    await websocket.send_text(people.json().decode())
        await _close(websocket, NORMAL, inference.state)
        tasks.cancel_scope.cancel()


async def estimate_frames(websocket: WebSocket, pictures: PictureInference, limits: Limits, tracker: Tracker | None) -> None:
    """Answer each frame (an image file, in practice a JPEG) with the people in it, in order.

    The next frame is read when the one before is answered, so that nobody has more than one in progress. A message that is
    not a picture ends the connection, with a code and a reason. A tracker gives the people identities.
    """
    await websocket.accept()
    frame = 0
    while (message := await websocket.receive())["type"] != "websocket.disconnect":
        data = message.get("bytes")
        if data is None:
            await _close(websocket, UNSUPPORTED, "text came; expected a picture as a binary message")
            return
        started = time.perf_counter()
        try:
            if len(data) > limits.message_bytes:  # Of servers that do not refuse it themselves.
                raise BadPicture(413, f"{len(data):,} bytes; expected at most {limits.message_bytes:,}")
            entries = await pictures.estimate(data, limits.message_pixels, tracker)
        except HTTPException as error:
            await _close(websocket, {413: TOO_LARGE, 503: TRY_LATER}.get(error.status_code, INVALID), error.detail)
            return
        milliseconds = round((time.perf_counter() - started) * 1000, 1)
        await websocket.send_text(orjson.dumps({"frame": frame, "milliseconds": milliseconds, **entries}).decode())
        frame += 1


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    # The client may have gone, or the server may have closed it already. A close frame has room for 123 bytes.
    with suppress(WebSocketDisconnect, RuntimeError):
        await websocket.close(code, reason.encode()[:123].decode(errors="ignore"))
