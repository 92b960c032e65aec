"""The live picture: `multipart/x-mixed-replace`, which every browser shows in an <img>."""

from __future__ import annotations

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgepose.server.audience import Audience
from edgepose.server.guards import refusal
from edgepose.server.limits import Clients, Full
from edgepose.server.results import Result

BOUNDARY = b"--edgepose-frame\r\n"
HEADERS = [
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
        audience: That gets `parts`.
        clients: Counts the viewer; where there is no more room, the answer is 503.
        goodbye_s: Seconds that the viewer may take for the end.
    """

    def __init__(self, audience: Audience, clients: Clients, goodbye_s: float) -> None:
        super().__init__()
        self._audience = audience
        self._clients = clients
        self._goodbye_s = goodbye_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._clients.enter("mjpeg"):
                await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
                    if scope["method"] != "HEAD":
                        await send({"type": "http.response.body", "body": BOUNDARY, "more_body": True})
                        await self._audience.watch(scope["state"]["peer"])
                    with anyio.move_on_after(self._goodbye_s):
                        await send({"type": "http.response.body", "body": b"", "more_body": False})
                    tasks.cancel_scope.cancel()
        except Full as error:
            await refusal(503, str(error), {"retry-after": "5"})(scope, receive, send)


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
