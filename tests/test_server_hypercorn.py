"""The application under an ASGI server that it knows nothing of: all of it works, by the means of ASGI alone."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pictures
import pytest

import edgepose

pytest.importorskip("starlette", reason="the extra `serve` is not installed")
pytest.importorskip("hypercorn", reason="the extra `test` is not installed")

import hypercorn.asyncio
from serving import WAIT_S, Camera, Served, sample, until
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

from edgepose.media.sources import Source, open_source
from edgepose.server.app import Site, create_app
from edgepose.server.inference import SourceInference
from edgepose.server.limits import Limits

PHOTO = np.random.default_rng(3).integers(0, 256, (96, 128, 3), np.uint8)
PNG = pictures.encode(".png", PHOTO)


class Records(logging.Handler):
    """Keeps errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(self.format(record))


@contextmanager
def serving_by_hypercorn(
    estimator: edgepose.PoseEstimator,
    open_frames: Callable[[], Source],
    *,
    token: str | None = None,
    limits: Limits | None = None,
) -> Iterator[Served]:
    """A server of `open_frames`; all of it has ended, without an error, when the `with` statement is left."""
    inference = SourceInference(estimator, open_frames)
    site = Site(estimator, inference, limits=limits)
    config = hypercorn.Config()
    config.graceful_timeout = WAIT_S
    config.errorlog = log = logging.Logger("test-hypercorn")
    log.addHandler(handler := Records())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        config.bind = [f"fd://{os.dup(listening.fileno())}"]
    ending: list[Callable[[], object]] = []

    async def run() -> None:
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        ending.append(partial(loop.call_soon_threadsafe, end.set))
        await hypercorn.asyncio.serve(create_app(site, token=token), config, shutdown_trigger=end.wait)  # type: ignore[arg-type]

    errors: list[BaseException] = []

    def run_and_note() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run_and_note, name="test-hypercorn")
    thread.start()
    try:
        yield Served(port, inference, site, None)  # type: ignore[arg-type]
    finally:
        until(lambda: ending)[0]()
        thread.join(WAIT_S)
        assert not thread.is_alive()
        assert not inference._thread.is_alive()
        assert (errors, handler.errors) == ([], [])


def pictures_of(server: Served, count: int) -> list[bytes]:
    """The first pictures of the stream."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    connection.request("GET", "/stream.mjpg")
    response = connection.getresponse()
    assert (response.status, response.getheader("content-type")) == (
        200,
        "multipart/x-mixed-replace; boundary=edgepose-frame",
    )
    assert response.readline() == b"--edgepose-frame\r\n"
    parts = []
    for _ in range(count):
        assert response.readline() == b"Content-Type: image/jpeg\r\n"
        length = int(response.readline().partition(b": ")[2])
        assert response.readline() == b"\r\n"
        parts.append(response.read(length))
        assert response.readline() + response.readline() == b"\r\n--edgepose-frame\r\n"
    response.close()
    connection.close()
    return parts


def test_pictures_streams_and_sockets(tiny_estimator, tmp_path):
    video = pictures.write_video(tmp_path / "clip.avi", 20, fps=50)
    expected = tiny_estimator(PHOTO).to_dict()
    camera = Camera()
    with serving_by_hypercorn(tiny_estimator, camera.open) as server:
        assert server.ask("/healthz")[0] == 200
        assert json.loads(server.ask("/estimate", "POST", PNG)[2])["poses"] == expected["poses"]
        address = f"ws://{server.host}/ws"
        with connect(f"{address}/poses") as client:
            for index in range(3):
                camera.show(PHOTO)
                result = json.loads(client.recv(WAIT_S))
                assert (result["frame"], result["poses"]) == (index, expected["poses"])
        with connect(f"{address}/estimate") as client:
            client.send(PNG)
            assert json.loads(client.recv(WAIT_S))["poses"] == expected["poses"]
            client.send(bytes(5 << 20))
            with pytest.raises(ConnectionClosedError, match="1009"):
                client.recv(WAIT_S)
        assert pictures_of(server, 1)[0] == server.ask("/snapshot.jpg")[2]
        until(lambda: server.site._clients.now.total() == 0)
        assert sample(server.site.metrics, "frames_total") == 3
        assert b"edgepose_up 1" in server.ask("/metrics")[2]
    with serving_by_hypercorn(tiny_estimator, partial(open_source, str(video))) as server:
        assert len(pictures_of(server, 3)) == 3


def test_the_end_of_a_source_ends_its_streams(tiny_estimator, tmp_path):
    video = pictures.write_video(tmp_path / "clip.avi", 4, fps=100)
    with serving_by_hypercorn(tiny_estimator, partial(open_source, str(video))) as server:
        with connect(f"ws://{server.host}/ws/poses") as client:
            with suppress(ConnectionClosedOK):
                while client.recv(WAIT_S):
                    pass
            assert (client.close_code, client.close_reason) == (1000, "ended")
        assert server.ask("/stream.mjpg")[2].endswith(b"--edgepose-frame\r\n")


def test_a_viewer_that_never_reads_is_let_go(tiny_estimator):
    camera = Camera()
    big = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    limits = Limits(send_s=0.2, rate=1e6, picture_rate=1000)
    with (
        serving_by_hypercorn(tiny_estimator, camera.open, limits=limits) as server,
        socket.create_connection(("127.0.0.1", server.port), WAIT_S) as stuck,
    ):
        stuck.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        now = server.site._clients.now
        until(lambda: now["mjpeg"] == 1)

        def is_let_go() -> bool:
            camera.show(big)
            return now["mjpeg"] == 0

        until(is_let_go)
        assert sample(server.site.metrics, "frames_skipped_total", kind="mjpeg") > 0
        stuck.close()


def test_the_guards_stand_there_too(tiny_estimator):
    right = {"Authorization": "Bearer correct-horse"}
    limits = Limits(upload_bytes=1000)
    with serving_by_hypercorn(tiny_estimator, Camera().open, token="correct-horse", limits=limits) as server:
        assert server.ask("/info")[0] == 401
        assert server.ask("/info", headers=right)[0] == 200
        assert server.ask("/info", headers={**right, "Host": "evil.example"})[0] == 421
        assert server.ask("/info", headers={**right, "Origin": "http://evil.example"})[0] == 403
        assert server.ask("/estimate", "POST", bytes(2000), right)[0] == 413
        chunked = {**right, "Transfer-Encoding": "chunked"}
        assert server.ask("/estimate", "POST", iter([bytes(2000)]), chunked)[0] == 413
        for path in ("poses", "estimate"):
            with pytest.raises(InvalidStatus) as refused, connect(f"ws://{server.host}/ws/{path}"):
                pass
            assert refused.value.response.status_code == 401


def test_the_application_imports_no_server():
    """The application does not import the one file that needs uvicorn."""
    script = "import sys, edgepose.server.app; print('uvicorn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    files = (Path(edgepose.__file__).parent / "server").glob("*.py")
    assert [path.name for path in files if "uvicorn import" in path.read_text("utf-8")] == ["uvicorn_server.py"]
