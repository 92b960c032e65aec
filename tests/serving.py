"""The real server on a free port, in a thread of its own, for tests."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.estimator import PoseEstimator
from edgepose.media.frames import Frame, Pulse, Source
from edgepose.prefetch import Prefetch
from edgepose.server.app import Site, create_app
from edgepose.server.inference import SourceInference
from edgepose.server.limits import Limits
from edgepose.server.metrics import Metrics
from edgepose.server.uvicorn_server import BoundedServer, listen

WAIT_S = 20  # For anything that is to happen at once.


def until(condition: Callable[[], Any]) -> Any:
    """What `condition` says, once it is true."""
    end = time.monotonic() + WAIT_S
    while not (value := condition()):
        assert time.monotonic() < end, "it never came"
        threading.Event().wait(0.002)
    return value


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    """The value of one of the metrics, "edgepose_" left off its name; 0 if it has none yet."""
    return metrics.registry.get_sample_value(f"edgepose_{name}", labels) or 0.0


@dataclass
class Served:
    """A server that runs."""

    port: int
    inference: SourceInference | None
    site: Site
    server: BoundedServer

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(
        self, path: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            chunked = "Transfer-Encoding" in (headers or {})
            connection.request(method, path, body, headers or {}, encode_chunked=chunked)
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def raw(self, data: bytes, address: str = "127.0.0.1") -> bytes:
        """All that comes back for `data`, until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), WAIT_S, source_address=(address, 0)) as connection:
            connection.sendall(data)
            pieces = []
            try:
                while piece := connection.recv(1 << 16):
                    pieces.append(piece)
            except ConnectionResetError:
                pass
            return b"".join(pieces)


@contextmanager
def serving(
    estimator: PoseEstimator,
    open_frames: Callable[[], Source] | None = None,
    *,
    port: int = 0,
    token: str | None = None,
    names: tuple[str, ...] = (),
    limits: Limits | None = None,
    track: bool = False,
    proxy: dict[str, Any] | None = None,
    **inference_options: Any,
) -> Iterator[Served]:
    """A server of `open_frames`, or of visitors' pictures alone; all of it has ended when the `with` statement is left."""
    with listen("127.0.0.1", port) as listening:
        inference = None if open_frames is None else SourceInference(estimator, open_frames, track=track, **inference_options)
        site = Site(estimator, inference, track=track, limits=limits)
        server = BoundedServer(create_app(site, token=token, names=names, **(proxy or {})), site)
        began = threading.Event()
        startup = server.startup

        async def start(sockets: list[socket.socket] | None = None) -> None:
            await startup(sockets)
            began.set()

        server.startup = start  # type: ignore[method-assign]
        thread = threading.Thread(target=server.run, args=([listening],), name="test-server")
        thread.start()
        try:
            assert began.wait(WAIT_S)
            yield Served(listening.getsockname()[1], inference, site, server)
        finally:
            server.should_exit = True
            thread.join(WAIT_S)
            assert not thread.is_alive()


class Camera:
    """A live source that the test gives frames to, one by one; `end` makes it go away, and `pulse` tells that it has."""

    def __init__(self, name: str = "camera 0") -> None:
        self._name = name
        self._frames: list[NDArray[np.uint8]] = []
        self._changed = threading.Condition()
        self._ended = False
        self._index = 0
        self.pulse: Pulse | None = None

    def show(self, image: NDArray[np.uint8]) -> None:
        with self._changed:
            self._frames.append(image.copy())  # As a camera does: people are drawn onto frames.
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def open(self) -> Source:
        """The camera as a source."""
        prefetch: Prefetch[Frame] = Prefetch(self._read(), newest=True)

        def close() -> None:
            self.end()
            prefetch.close()

        return Source(self._name, "camera", prefetch, is_live=True, release=close, prefetch=prefetch, pulse=self.pulse)

    def _read(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames or self._ended)
                if self._ended:
                    return
                image = self._frames.pop(0)
            if self.pulse is not None:
                self.pulse.came()
            yield Frame(image, self._index, float(self._index), self._name, received=time.time())
            self._index += 1
