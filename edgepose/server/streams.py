"""The live picture (MJPEG), the poses of each frame (WebSocket), and frames of a visitor's own webcam (WebSocket)."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

import anyio
import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.frames import Frame, Opcode

from edgepose.server.broadcast import Broadcast, open_peer
from edgepose.server.guards import Clients, Full
from edgepose.server.inference import SourceInference
from edgepose.server.limits import Limits
from edgepose.server.results import Result
from edgepose.server.uploads import BadPicture, PictureInference
from edgepose.tracking import Tracker

BOUNDARY = b"--edgepose-frame\r\n"
MJPEG_HEADERS = [
    # Every browser shows it in an <img>.
    (b"content-type", b"multipart/x-mixed-replace; boundary=edgepose-frame"),
    # For nginx, which would otherwise collect frames before it passes them on.
    (b"x-accel-buffering", b"no"),
]
# Codes that a WebSocket is closed with (RFC 6455, section 7.4.1).
NORMAL, UNSUPPORTED, INVALID, TOO_LARGE, TRY_LATER = 1000, 1003, 1007, 1009, 1013


async def mjpeg_parts(height: int, result: Result, _: int) -> list[bytes]:
    """The picture of a result, at most `height` pixels high, as a part of the stream. Older pictures are not sent."""
    picture = await result.picture(height)
    # The next boundary goes with the picture: browsers show a picture when they see the end of it.
    return [b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n%b" % (len(picture), picture, BOUNDARY)]


async def pose_messages(inference: SourceInference, result: Result, since: int) -> list[bytes]:
    """The people of each result after number `since`, up to `result`, as JSON."""
    return [people.json() for people in [*inference.between(since, result.number), result.people]]


def text_frame(message: bytes) -> bytes:
    """A WebSocket message of text as bytes of the connection (RFC 6455, section 5.2)."""
    return Frame(Opcode.TEXT, message).serialize(mask=False)


class MjpegResponse(Response):
    """A response that sends pictures until the source ends or the viewer leaves.

    Args:
        broadcast: The broadcast of `mjpeg_parts`.
        clients: Counts the viewer, or raises `Full`.
        limits: The limits of the server.
    """

    def __init__(self, broadcast: Broadcast, clients: Clients, limits: Limits) -> None:
        super().__init__()
        self._broadcast = broadcast
        self._clients = clients
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_body(data: bytes, is_more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": is_more})

        with self._clients.enter("mjpeg"):
            await send({"type": "http.response.start", "status": 200, "headers": MJPEG_HEADERS})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_when_request_ends, receive, tasks.cancel_scope)
                if scope["method"] != "HEAD":
                    await send_body(BOUNDARY)
                    async with open_peer(scope, send_body, self._limits.send_s) as peer:
                        await self._broadcast.watch(peer)
                with anyio.move_on_after(self._limits.send_s):
                    await send_body(b"", False)
                tasks.cancel_scope.cancel()


async def send_poses(websocket: WebSocket, broadcast: Broadcast, inference: SourceInference, limits: Limits) -> None:
    """Send the messages of the `broadcast` of `pose_messages`, until the source ends or the client leaves.

    The reason in the close frame is the state of the source.
    """

    async def send(message: bytes) -> None:
        # A client that has left ends the task below.
        with suppress(WebSocketDisconnect):
            await websocket.send_text(message.decode())

    await websocket.accept()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_when_socket_ends, websocket, tasks.cancel_scope)
        async with open_peer(websocket.scope, send, limits.send_s) as peer:
            await broadcast.watch(peer)
        await _close(websocket, NORMAL, inference.state, limits)
        tasks.cancel_scope.cancel()


async def estimate_frames(websocket: WebSocket, pictures: PictureInference, limits: Limits, tracker: Tracker | None) -> None:
    """Answer each frame (an image file, in practice a JPEG) with the people in it, in order.

    The next frame is read when the one before is answered, so that nobody has more than one in progress. A message that is
    not a picture ends the connection, with a code and a reason.

    Args:
        websocket: The client.
        pictures: Finds the people.
        limits: Limits of the frames.
        tracker: Gives the people of this client identities; None: they get none.
    """
    await websocket.accept()
    frame = 0
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes")
        if data is None:
            await _close(websocket, UNSUPPORTED, "text came; expected a picture as a binary message", limits)
            return
        if len(data) > limits.message_bytes:  # Of servers that do not refuse it themselves.
            await _close(websocket, TOO_LARGE, f"{len(data):,} bytes; expected at most {limits.message_bytes:,}", limits)
            return
        started = time.perf_counter()
        try:
            found = await pictures.estimate(data, limits.message_pixels)
        except BadPicture as error:
            await _close(websocket, TOO_LARGE if error.status_code == 413 else INVALID, error.detail, limits)
            return
        except Full as error:
            await _close(websocket, TRY_LATER, error.detail, limits)
            return
        if tracker is not None:
            found = replace(found, poses=tracker.update(found.poses, started))
        milliseconds = round((time.perf_counter() - started) * 1000, 1)
        text = orjson.dumps({"frame": frame, "milliseconds": milliseconds, **found.entries()}).decode()
        frame += 1
        if not await _send(websocket, text, limits):
            return


async def _send(websocket: WebSocket, text: str, limits: Limits) -> bool:
    """Send `text`; False if the client has gone, or takes too long."""
    try:
        with anyio.move_on_after(limits.send_s) as patience:
            await websocket.send_text(text)
    except (WebSocketDisconnect, OSError):
        return False
    return not patience.cancelled_caught


async def _close(websocket: WebSocket, code: int, reason: str, limits: Limits) -> None:
    # The client may have gone, or may never read what was sent before.
    with suppress(WebSocketDisconnect, OSError, RuntimeError), anyio.move_on_after(limits.send_s):
        # A close frame has room for 123 bytes.
        await websocket.close(code, reason.encode()[:123].decode(errors="ignore"))


async def _cancel_when_request_ends(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _cancel_when_socket_ends(websocket: WebSocket, scope: anyio.CancelScope) -> None:
    # Messages of the client are read and ignored.
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
    scope.cancel()
