"""The web application: its addresses, and the answer of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import anyio.to_thread
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

import edgepose
from edgepose.estimator import PoseEstimator
from edgepose.server.guards import LOOPBACK, Clients, Guard, Network, answer, refusal
from edgepose.server.inference import SourceInference
from edgepose.server.limits import Limits
from edgepose.server.metrics import CONTENT_TYPE, Metrics
from edgepose.server.results import Result
from edgepose.server.streams import MJPEG_HEADERS, MjpegResponse, estimate_frames, send_poses
from edgepose.server.uploads import PictureInference, UploadTooLarge, drained_refusal, read_picture
from edgepose.skeleton import get_skeleton
from edgepose.tracking import Tracker

# The only files that are ever sent. They are read once, by these names; no address leads to another file.
FILES = (
    ("/", "index.html", "text/html"),
    ("/app.js", "app.js", "text/javascript"),
    ("/token.js", "token.js", "text/javascript"),
    ("/style.css", "style.css", "text/css"),
)


class Site:
    """The answers of the server: a method for each address, and the threads that do the work.

    Without an inference there is no source, and only visitors' pictures are looked at. `track` and `smooth` are for these.
    """

    def __init__(
        self,
        estimator: PoseEstimator,
        inference: SourceInference | None,
        *,
        track: bool = False,
        smooth: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.inference = inference
        self.limits = limits = limits or Limits()
        self.metrics = Metrics() if inference is None else inference.metrics
        self._model = estimator.model
        self._visitors = PictureInference(estimator, limits.waiting, self.metrics)
        self._clients = Clients(limits.clients)
        self._uploads = Clients(limits.uploads, "uploads", retry_s=2)
        self._track, self._smooth = track or smooth, smooth

    @asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """Run the threads for as long as the server runs."""
        if self.inference is not None:
            self.inference.start()
        try:
            yield
        finally:
            self.end()
            if self.inference is not None:
                await anyio.to_thread.run_sync(self.inference.close)

    def end(self) -> None:
        """Let go of viewers, who would stay for ever, and of pictures that wait. To be called in the event loop."""
        self._visitors.close()
        if self.inference is not None:
            self.inference.release_viewers()

    async def health(self, _: Request) -> Response:
        """The state of the source; the status is 503 while the source is gone."""
        state = "none" if self.inference is None else self.inference.state
        return answer({"status": state}, 503 if state in ("waiting", "failed") else 200)

    async def info(self, _: Request) -> Response:
        """The facts that the page needs: version, model, source and skeleton."""
        skeleton = get_skeleton(self._model.skeleton or "openpose18")
        source = None
        if self.inference is not None:
            source = {"name": self.inference.name, "state": self.inference.state, "reason": self.inference.reason}
        names = {"name": skeleton.name, "keypoints": skeleton.keypoints, "limbs": skeleton.limbs}
        return answer({"version": edgepose.__version__, "model": self._model.name, "source": source, "skeleton": names})

    async def poses(self, _: Request) -> Response:
        """The people of the newest frame, as JSON."""
        inference = self._source()
        people = (await self._latest(inference)).people
        return Response(people.json(round(inference.fps, 2)), media_type="application/json")

    async def snapshot(self, _: Request) -> Response:
        """The newest picture, as a JPEG."""
        latest = await self._latest(self._source())
        picture = await latest.picture()
        headers = {"x-time": f"{latest.people.time:.3f}", "x-age": f"{latest.people.age:.3f}"}
        return Response(picture, media_type="image/jpeg", headers=headers)

    async def metrics_text(self, _: Request) -> Response:
        """The metrics, for Prometheus."""
        if self.inference is not None:
            self.inference.ask()
        return Response(self.metrics.text(self._clients.now), media_type=CONTENT_TYPE)

    async def estimate(self, request: Request) -> Response:
        """The people in an uploaded picture, as JSON."""
        with self._uploads.enter("upload"):
            data = await read_picture(request, self.limits)
            entries = await self._visitors.estimate(data, self.limits.upload_pixels)
        return Response(orjson.dumps(entries), media_type="application/json")

    async def watch_picture(self, request: Request) -> Response:
        """The live picture, as MJPEG."""
        inference = self._source()
        if request.method == "HEAD":
            return Response(headers=MJPEG_HEADERS)
        return MjpegResponse(inference, self._clients, self.limits)

    async def watch_poses(self, websocket: WebSocket) -> None:
        """The people of each frame, on a WebSocket."""
        inference = self._source()
        with self._clients.enter("poses"):
            await send_poses(websocket, inference, self.limits)

    async def estimate_frames(self, websocket: WebSocket) -> None:
        """The people in frames of a visitor's webcam, on a WebSocket."""
        with self._clients.enter("estimate"):
            tracker = Tracker(smooth=self._smooth) if self._track else None
            await estimate_frames(websocket, self._visitors, self.limits, tracker)

    def _source(self) -> SourceInference:
        if self.inference is None:
            raise HTTPException(404, "this server has no source; it looks at pictures of visitors only")
        return self.inference

    async def _latest(self, inference: SourceInference) -> Result:
        latest = await inference.current()
        if latest is None:
            raise HTTPException(503, inference.reason or "no frame has been looked at yet", {"retry-after": "1"})
        return latest


def create_app(
    site: Site,
    *,
    token: str | None = None,
    names: Iterable[str] = (),
    root_path: str = "",
    trusted: Sequence[Network] = LOOPBACK,
) -> ASGIApp:
    """The whole application, for any ASGI server.

    Args:
        site: The answers.
        token: The token that every visitor has to give; None: none is needed.
        names: Names that the server may be called by, besides addresses and the machine's own names.
        root_path: The path under which a proxy shows it, such as /camera; the proxy may cut it off or not.
        trusted: The networks of proxies that may say whether a visitor came by HTTPS.
    """
    page = resources.files(__package__) / "page"
    routes = [
        *(Route(path, Response((page / name).read_bytes(), media_type=kind), methods=["GET"]) for path, name, kind in FILES),
        Route("/healthz", site.health),
        Route("/info", site.info),
        Route("/poses", site.poses),
        Route("/snapshot.jpg", site.snapshot),
        Route("/stream.mjpg", site.watch_picture),
        Route("/metrics", site.metrics_text),
        Route("/estimate", site.estimate, methods=["POST"]),
        WebSocketRoute("/ws/poses", site.watch_poses),
        WebSocketRoute("/ws/estimate", site.estimate_frames),
    ]
    gone = dict.fromkeys([ClientDisconnect, WebSocketDisconnect], _no_answer)
    handlers: dict[Any, Any] = {UploadTooLarge: drained_refusal, HTTPException: _refusal, Exception: _refusal, **gone}
    app = Starlette(routes=routes, lifespan=site.running, exception_handlers=handlers)
    app.router.redirect_slashes = False
    refused = (page / "token.html").read_text("utf-8")
    return Guard(app, site.limits, site.metrics, token=token, names=names, page=refused, root_path=root_path, trusted=trusted)


# The responses to errors that a request ends with; a handshake of a WebSocket is refused by the same ones.
async def _refusal(_: HTTPConnection, error: Any) -> Response:
    if not isinstance(error, HTTPException):
        return refusal(500, "an error in the server; its log says more")
    return refusal(error.status_code, error.detail, dict(error.headers or {}))


async def _no_answer(_: HTTPConnection, __: Any) -> None:
    """The client has left."""
