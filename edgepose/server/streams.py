"""What viewers watch: the live picture as MJPEG, and the poses on WebSockets; and frames of webcams on WebSockets."""

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

from edgepose.server.broadcast import Broadcast
from edgepose.server.guards import Clients, Full, refusal
from edgepose.server.inference import SourceInference
from edgepose.server.limits import Limits
from edgepose.server.results import Result
from edgepose.server.uploads import BadPicture, PictureInference
from edgepose.tracking import Tracker

BOUNDARY = b"--edgepose-frame\r\n"
MJPEG_HEADERS = [
    (b"content-type", b"multipart/x-mixed-replace; boundary=edgepose-frame"),
    # Asked of nginx, which would otherwise collect frames before it passes them on.
    (b"x-accel-buffering", b"no"),
]


async def parts(height: int, result: Result, _: int) -> list[bytes]:
    """The picture of a result, at most so high, as a part of the stream: those before it are old."""
    picture = await result.picture(height)
    # The next boundary goes with the picture: browsers show a picture when they see the end of it.
    return [b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n%b" % (len(picture), picture, BOUNDARY)]


class LivePicture(Response):
    """A response that never ends before the source does.

    Args:
        broadcast: That gets `parts`.
        clients: Counts the viewer; where there is no more room, the answer is 503.
        goodbye_s: Seconds that the viewer may take for the end.
    """

    def __init__(self, broadcast: Broadcast, clients: Clients, goodbye_s: float) -> None:
        super().__init__()
        self._broadcast = broadcast
        self._clients = clients
        self._goodbye_s = goodbye_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._clients.enter("mjpeg"):
                await send({"type": "http.response.start", "status": 200, "headers": MJPEG_HEADERS})
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_until_request_ends, receive, tasks.cancel_scope)
                    if scope["method"] != "HEAD":
                        await send({"type": "http.response.body", "body": BOUNDARY, "more_body": True})
                        await self._broadcast.watch(scope["state"]["peer"])
                    with anyio.move_on_after(self._goodbye_s):
                        await send({"type": "http.response.body", "body": b"", "more_body": False})
                    tasks.cancel_scope.cancel()
        except Full as error:
            await refusal(503, str(error), {"retry-after": "5"})(scope, receive, send)


async def _until_request_ends(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


# RFC 6455, section 7.4.1.
NORMAL, UNSUPPORTED, INVALID, TOO_LARGE, TRY_LATER = 1000, 1003, 1007, 1009, 1013


async def messages(inference: SourceInference, result: Result, since: int) -> list[bytes]:
    """The people of each result after number `since`, to `result`, as WebSocket messages of text (RFC 6455, section 5.2)."""
    people = [*inference.between(since, result.number), result.people]
    return [Frame(Opcode.TEXT, each.json()).serialize(mask=False) for each in people]


async def send_poses(websocket: WebSocket, broadcast: Broadcast, inference: SourceInference, limits: Limits) -> None:
    """Let a client watch, with the `broadcast` that gets `messages`, until the source ends or the client goes.

    The close reason is the state of the source.
    """
    await websocket.accept()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_until_socket_ends, websocket, tasks.cancel_scope)
        await broadcast.watch(websocket.state.peer)
        await _close(websocket, NORMAL, inference.state, limits)
        tasks.cancel_scope.cancel()


async def estimate_frames(websocket: WebSocket, visitors: PictureInference, limits: Limits, tracker: Tracker | None) -> None:
    """Answer each frame (an image file, in practice a JPEG) with the people in it, in order.

    The next frame is read when the one before is answered, so that nobody has more than one under way. A message that is no
    picture ends the connection, with a code and a reason.

    Args:
        websocket: The client.
        visitors: Who looks at the frames.
        limits: Of the frames.
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
        started = time.perf_counter()
        try:
            seen = await visitors.estimate(data, limits.message_pixels)
        except BadPicture as error:
            await _close(websocket, TOO_LARGE if error.status == 413 else INVALID, str(error), limits)
            return
        except Full as error:
            await _close(websocket, TRY_LATER, str(error), limits)
            return
        if tracker is not None:
            seen = replace(seen, poses=tracker.update(seen.poses, started))
        took = {"frame": frame, "milliseconds": round((time.perf_counter() - started) * 1000, 1)}
        frame += 1
        if not await _send(websocket, orjson.dumps({**took, **seen.entries()}).decode(), limits):
            return


async def _send(websocket: WebSocket, text: str, limits: Limits) -> bool:
    """Send `text`; False if the client is gone, or takes too long."""
    try:
        with anyio.move_on_after(limits.send_s) as patience:
            await websocket.send_text(text)
    except (WebSocketDisconnect, OSError):
        return False
    return not patience.cancelled_caught


async def _close(websocket: WebSocket, code: int, reason: str, limits: Limits) -> None:
    # It may be gone already, or never read what was sent before.
    with suppress(WebSocketDisconnect, OSError, RuntimeError), anyio.move_on_after(limits.send_s):
        # A close frame has room for 123 bytes.
        await websocket.close(code, reason.encode()[:123].decode(errors="ignore"))


async def _until_socket_ends(websocket: WebSocket, scope: anyio.CancelScope) -> None:
    # What clients say here is of no interest, and is not kept.
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
    scope.cancel()
