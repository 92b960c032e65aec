"""The web application: its addresses, and the answer of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
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
from starlette.websockets import WebSocket

import edgepose
from edgepose.estimator import PoseEstimator
from edgepose.server.broadcast import Broadcast
from edgepose.server.guards import AsciiJSONResponse, Clients, Guard, refusal
from edgepose.server.inference import SourceInference
from edgepose.server.limits import Limits
from edgepose.server.metrics import CONTENT_TYPE, Metrics
from edgepose.server.results import Result
from edgepose.server.streams import MjpegResponse, estimate_frames, mjpeg_parts, pose_messages, send_poses, text_frame
from edgepose.server.uploads import DrainedRefusal, PictureInference, UploadTooLarge, read_picture
from edgepose.skeleton import get_skeleton
from edgepose.tracking import Tracker

# The only files that are ever sent. They are read once, by these names; no address leads to another file.
FILES = {"/": ("index.html", "text/html"), "/app.js": ("app.js", "text/javascript"), "/style.css": ("style.css", "text/css")}


class Site:
    """The answers of the server: a method for each address, and the threads that do the work.

    Args:
        estimator: Finds the people.
        inference: The source and its results; None: there is no source, and only visitors' pictures are looked at.
        track: Give the people in a visitor's webcam identities, too.
        smooth: Smooth their keypoints; this tracks them, too.
        limits: The limits for visitors.
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
        if inference is not None:
            parts, messages = partial(mjpeg_parts, limits.picture_height), partial(pose_messages, inference)
            patience_s = limits.send_s
            self._mjpeg = Broadcast(inference, "mjpeg", parts, bytes, rate=limits.picture_rate, patience_s=patience_s)
            self._poses = Broadcast(inference, "poses", messages, text_frame, rate=limits.poses_rate, patience_s=patience_s)

    @asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """Run the threads for as long as the server runs."""
        if self.inference is not None:
            self.inference.start()
        try:
            yield
        finally:
            self._visitors.close()
            if self.inference is not None:
                await anyio.to_thread.run_sync(self.inference.close)

    async def health(self, _: Request) -> Response:
        """The state of the source; the status is 503 while the source is gone."""
        state = "none" if self.inference is None else self.inference.state
        return AsciiJSONResponse({"status": state}, 503 if state in ("waiting", "failed") else 200)

    async def info(self, _: Request) -> Response:
        """The facts that the page needs: version, model, source and skeleton."""
        skeleton = get_skeleton(self._model.skeleton or "openpose18")
        source = None
        if self.inference is not None:
            source = {"name": self.inference.name, "state": self.inference.state, "reason": self.inference.reason}
        names = {"name": skeleton.name, "keypoints": skeleton.keypoints, "limbs": skeleton.limbs}
        content = {"version": edgepose.__version__, "model": self._model.name, "source": source, "skeleton": names}
        return AsciiJSONResponse(content)

    async def poses(self, _: Request) -> Response:
        """The people of the newest frame, as JSON."""
        return Response(self._latest().people.json(), media_type="application/json")

    async def snapshot(self, _: Request) -> Response:
        """The newest picture, as a JPEG."""
        return Response(await self._latest().picture(), media_type="image/jpeg")

    async def metrics_text(self, _: Request) -> Response:
        """The metrics, for Prometheus."""
        return Response(self.metrics.text(self._clients.now), media_type=CONTENT_TYPE)

    async def estimate(self, request: Request) -> Response:
        """The people in an uploaded picture, as JSON."""
        with self._uploads.enter("upload"):
            data = await read_picture(request, self.limits)
            found = await self._visitors.estimate(data, self.limits.upload_pixels)
        return Response(orjson.dumps(found.entries()), media_type="application/json")

    async def watch_picture(self, _: Request) -> Response:
        """The live picture, as MJPEG."""
        self._source()
        return MjpegResponse(self._mjpeg, self._clients, self.limits)

    async def watch_poses(self, websocket: WebSocket) -> None:
        """The people of each frame, on a WebSocket."""
        inference = self._source()
        with self._clients.enter("poses"):
            await send_poses(websocket, self._poses, inference, self.limits)

    async def estimate_frames(self, websocket: WebSocket) -> None:
        """The people in frames of a visitor's webcam, on a WebSocket."""
        with self._clients.enter("estimate"):
            tracker = Tracker(smooth=self._smooth) if self._track else None
            await estimate_frames(websocket, self._visitors, self.limits, tracker)

    def _source(self) -> SourceInference:
        if self.inference is None:
            raise HTTPException(404, "this server has no source; it looks at pictures of visitors only")
        return self.inference

    def _latest(self) -> Result:
        inference = self._source()
        if inference.latest is None:
            raise HTTPException(503, inference.reason or "no frame has been looked at yet", {"retry-after": "1"})
        return inference.latest


def create_app(site: Site, *, token: str | None = None, names: Iterable[str] = ()) -> ASGIApp:
    """The whole application, for any ASGI server.

    Args:
        site: The answers.
        token: The token that every visitor has to give; None: none is needed.
        names: Names that the server may be called by, besides addresses and the machine's own names.
    """
    page = resources.files(__package__) / "page"
    routes = [
        *(Route(path, _file((page / name).read_bytes(), kind)) for path, (name, kind) in FILES.items()),
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
    handlers = {
        UploadTooLarge: _drained_refusal,
        ClientDisconnect: _no_refusal,
        HTTPException: _refusal,
        Exception: _internal_error,
    }
    app = Starlette(routes=routes, lifespan=site.running, exception_handlers=handlers)
    app.router.redirect_slashes = False
    token_page = (page / "token.html").read_text("utf-8")
    return Guard(app, token=token, names=names, limits=site.limits, metrics=site.metrics, token_page=token_page)


def _file(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def send_file(_: Request) -> Response:
        return Response(content, media_type=kind)

    return send_file


# The responses to errors that a request ends with; a handshake of a WebSocket is refused by the same ones.
async def _refusal(_: HTTPConnection, error: Any) -> Response:
    return refusal(error.status_code, error.detail, dict(error.headers or {}))


async def _drained_refusal(_: HTTPConnection, error: Any) -> Response:
    return DrainedRefusal(error.status_code, error.detail)


async def _no_refusal(_: HTTPConnection, __: Any) -> Response:
    return Response(status_code=400)  # The client has left; nobody reads this.


async def _internal_error(_: HTTPConnection, __: Any) -> Response:
    return refusal(500, "an error in the server; its log says more")
