"""The live picture: `multipart/x-mixed-replace`, which every browser shows in an <img>, and single pictures."""

from __future__ import annotations

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgepose.server.guards import refusal
from edgepose.server.hub import Hub
from edgepose.server.limits import Clients, Full

BOUNDARY = b"edgepose-frame"
HEADERS = [
    (b"content-type", b"multipart/x-mixed-replace; boundary=" + BOUNDARY),
    # Asked of nginx, which would otherwise collect frames before it passes them on.
    (b"x-accel-buffering", b"no"),
]


class LivePicture(Response):
    """A response that never ends before the source does. A viewer always gets the newest frame that there is.

    Args:
        hub: Where the pictures come from.
        clients: Counts the viewer; where there is no more room, the answer is 503.
        send_s: Seconds that the viewer may take for one.
    """

    def __init__(self, hub: Hub, clients: Clients, send_s: float) -> None:
        super().__init__()
        self._hub = hub
        self._clients = clients
        self._send_s = send_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._clients.enter("mjpeg"):
                await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
                    if scope["method"] == "HEAD" or await self._send_pictures(send):
                        await send({"type": "http.response.body", "body": b"", "more_body": False})
                    tasks.cancel_scope.cancel()
        except Full as error:
            await refusal(503, str(error), {"retry-after": "5"})(scope, receive, send)

    async def _send_pictures(self, send: Send) -> bool:
        """Send all that comes; False if the viewer takes too long, so that nothing more can be said to it."""
        number = 0
        opening = b"--" + BOUNDARY + b"\r\n"
        while (result := await self._hub.next_picture(number)) is not None:
            picture = await result.picture()
            head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
            # The next boundary goes with the picture: browsers show a picture when they see the end of it.
            body = opening + head + picture + b"\r\n--" + BOUNDARY + b"\r\n"
            opening = b""
            with anyio.move_on_after(self._send_s) as patience:
                await send({"type": "http.response.body", "body": body, "more_body": True})
            if patience.cancelled_caught:
                return False
            if number:
                self._hub.metrics.skipped["mjpeg"] += result.number - number - 1
            number = result.number
        return True


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
