"""WebSockets: the poses of every frame, and frames of a visitor's own webcam against poses."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.frames import Frame, Opcode

from edgepose.server.audience import Audience
from edgepose.server.hub import Hub
from edgepose.server.limits import Full, Limits
from edgepose.server.results import Result
from edgepose.server.visitors import BadPicture, Seen, Visitors
from edgepose.tracking import Tracker

# RFC 6455, section 7.4.1.
NORMAL, UNSUPPORTED, INVALID, TOO_LARGE, TRY_LATER = 1000, 1003, 1007, 1009, 1013


async def messages(hub: Hub, result: Result, since: int) -> list[bytes]:
    """The people of each result after number `since`, to `result`, as WebSocket messages of text (RFC 6455, section 5.2)."""
    people = [*hub.between(since, result.number), result.people]
    return [Frame(Opcode.TEXT, each.text().encode()).serialize(mask=False) for each in people]


async def send_poses(websocket: WebSocket, audience: Audience, hub: Hub, limits: Limits) -> None:
    """Let a client watch, with the `audience` that gets `messages`, until the source ends or the client goes.

    The close reason is the state of the source.
    """
    await websocket.accept()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_until_gone, websocket, tasks.cancel_scope)
        await audience.watch(websocket.state.peer)
        await _close(websocket, NORMAL, hub.state, limits)
        tasks.cancel_scope.cancel()


async def estimate_frames(websocket: WebSocket, visitors: Visitors, limits: Limits, tracker: Tracker | None) -> None:
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
            seen = await visitors.look_at(data, limits.message_pixels)
        except BadPicture as error:
            await _close(websocket, TOO_LARGE if error.status == 413 else INVALID, str(error), limits)
            return
        except Full as error:
            await _close(websocket, TRY_LATER, str(error), limits)
            return
        if tracker is not None:
            seen = Seen(tracker.update(seen.poses, started), seen.width, seen.height)
        took = {"frame": frame, "milliseconds": round((time.perf_counter() - started) * 1000, 1)}
        frame += 1
        if not await _send(websocket, json.dumps({**took, **as_object(seen)}, separators=(",", ":")), limits):
            return


def as_object(seen: Seen) -> dict[str, object]:
    """The people in a visitor's picture, as `edgepose run --json` writes them."""
    return {"image": {"width": seen.width, "height": seen.height}, **seen.poses.to_dict()}


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


async def _until_gone(websocket: WebSocket, scope: anyio.CancelScope) -> None:
    # What clients say here is of no interest, and is not kept.
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
    scope.cancel()
