"""What is said of a source that is gone, how old results are, and what is done while nobody watches."""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pictures
import pytest

import edgepose

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from serving import WAIT_S, Camera, Served, sample, serving, until
from websockets.sync.client import connect

from edgepose.media.frames import Pulse
from edgepose.media.sources import open_source
from edgepose.server.limits import Limits

MANY = Limits(rate=1e6, burst=100_000)
PHOTO = np.random.default_rng(3).integers(0, 256, (96, 128, 3), np.uint8)


@contextmanager
def feeding(camera: Camera, fps: float = 25.0) -> Iterator[threading.Event]:
    """Show frames at a rate, until the `with` statement is left; while the event is set, none come."""
    ended, stalled = threading.Event(), threading.Event()

    def feed() -> None:
        while not ended.wait(1 / fps):
            if not stalled.is_set():
                camera.show(PHOTO)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield stalled
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow
def test_a_source_that_is_gone_is_said_to_be_gone_and_comes_back(tiny_estimator):
    camera = Camera()
    camera.pulse = Pulse()
    with serving(tiny_estimator, camera.open, limits=MANY) as server, feeding(camera) as stalled:
        until(lambda: server.ask("/healthz")[::2] == (200, b'{"status":"running"}') and server.inference.frames > 20)
        assert sample(server.site.metrics, "fps") > 0
        assert sample(server.site.metrics, "up") == 1
        assert json.loads(server.ask("/poses")[2])["age"] < 1
        stalled.set()
        last, began = time.time(), time.monotonic()
        until(lambda: server.ask("/healthz")[0] == 503)
        assert time.monotonic() - began < 3
        assert server.ask("/healthz")[2] == b'{"status":"waiting"}'
        assert (sample(server.site.metrics, "fps"), sample(server.site.metrics, "up")) == (0, 0)
        assert sample(server.site.metrics, "age_seconds") > 1.5
        assert "no frame has come since" in json.loads(server.ask("/info")[2])["source"]["reason"]
        result = json.loads(server.ask("/poses")[2])
        assert (result["fps"], result["time"]) == (0, pytest.approx(last, abs=0.5))
        assert result["age"] == pytest.approx(time.time() - last, abs=0.5)
        headers = server.ask("/snapshot.jpg")[1]
        assert float(headers["x-time"]) == pytest.approx(last, abs=0.5)
        assert float(headers["x-age"]) > 1.5
        with connect(f"ws://{server.host}/ws/poses") as client:
            assert json.loads(client.recv(WAIT_S))["age"] > 1.5  # Who comes now is told that it is old, too.
        stalled.clear()
        until(lambda: server.ask("/healthz")[0] == 200 and json.loads(server.ask("/poses")[2])["age"] < 1)
        assert server.ask("/info")[2].count(b"running") == 1


def test_a_source_whose_connection_breaks_is_gone_at_once(tiny_estimator):
    camera = Camera()
    camera.pulse = Pulse()
    with serving(tiny_estimator, camera.open, limits=MANY) as server:
        camera.show(PHOTO)
        until(lambda: server.ask("/poses")[0] == 200)
        camera.pulse.lost()
        assert server.ask("/healthz")[0] == 503
        camera.show(PHOTO)
        until(lambda: server.ask("/healthz")[0] == 200)


def stands_still(server: Served) -> int:
    """The number of frames, once no more of them are looked at."""
    inference = server.inference
    assert inference is not None
    before = until(lambda: inference.frames)
    until(lambda: inference._is_paused)
    assert inference.frames - before <= 1
    return inference.frames


@pytest.fixture
def soon_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody counts as watching but for the next result."""
    monkeypatch.setattr("edgepose.server.inference.WATCHING_S", 0.0)


@pytest.mark.parametrize("paced", [True, False])
def test_a_looped_video_stands_still_while_nobody_watches(tiny_estimator, tmp_path, soon_alone, paced):
    video = pictures.write_video(tmp_path / "clip.avi", 10, fps=50)
    with serving(tiny_estimator, partial(open_source, str(video)), loop=True, paced=paced) as server:
        frames = stands_still(server)
        for _ in range(3):
            assert server.ask("/healthz")[::2] == (200, b'{"status":"running"}')
        assert server.inference.frames == frames
        # Whoever asks gets a new result, and whoever watches all of them.
        result = json.loads(server.ask("/poses")[2])
        assert server.inference.frames > frames
        assert result["age"] < 1
        with connect(f"ws://{server.host}/ws/poses") as client:
            assert len({json.loads(client.recv(WAIT_S))["frame"] for _ in range(8)}) > 4
        until(lambda: server.inference._is_paused)
        before = server.inference.frames
        server.ask("/metrics")
        until(lambda: server.inference.frames > before)


def test_a_video_that_is_not_looped_goes_on_to_its_end(tiny_estimator, tmp_path, soon_alone):
    video = pictures.write_video(tmp_path / "clip.avi", 10)
    with serving(tiny_estimator, partial(open_source, str(video)), paced=False) as server:
        until(lambda: server.inference.state == "ended")
        assert server.inference.frames == 10


def test_a_camera_goes_on_while_nobody_watches(tiny_estimator, soon_alone):
    camera = Camera()
    with serving(tiny_estimator, camera.open) as server:
        for number in range(1, 5):
            camera.show(PHOTO)
            until(lambda: server.inference.frames == number)  # noqa: B023


def test_a_looped_still_is_looked_at_once(tiny_estimator, tmp_path, monkeypatch):
    monkeypatch.setattr("edgepose.server.inference.PICTURES_PER_S", 50.0)
    photo = tmp_path / "photo.png"
    photo.write_bytes(pictures.encode(".png", PHOTO))
    opened = []

    def open_frames():
        opened.append(1)
        return open_source(str(photo))

    with serving(tiny_estimator, open_frames, loop=True) as server:
        with connect(f"ws://{server.host}/ws/poses") as client:
            results = [json.loads(client.recv(WAIT_S)) for _ in range(5)]
        assert [result["poses"] for result in results] == [tiny_estimator(PHOTO).to_dict()["poses"]] * 5
        assert sample(server.site.metrics, "stage_seconds_count", stage="estimate") == len(opened) == 1


def test_a_looped_folder_keeps_its_rate_when_it_begins_again(tiny_estimator, tmp_path, monkeypatch):
    monkeypatch.setattr("edgepose.server.inference.PICTURES_PER_S", 20.0)
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(pictures.encode(".png", PHOTO))
    with (
        serving(tiny_estimator, partial(open_source, str(tmp_path)), loop=True) as server,
        connect(f"ws://{server.host}/ws/poses") as client,
    ):
        client.recv(WAIT_S)
        began = time.monotonic()
        for _ in range(6):
            client.recv(WAIT_S)
        assert time.monotonic() - began > 0.2  # No measure of speed, for nothing makes it faster.


# ---- Slow viewers.

SIZE = 640, 360
BITS = 20


def marked(base: np.ndarray, milliseconds: int) -> np.ndarray:
    """A picture with a number in it, as stripes along its upper edge."""
    image = base.copy()
    for bit in range(BITS):
        image[:40, 32 * bit : 32 * bit + 32] = 255 if milliseconds >> bit & 1 else 0
    return image


def read_mark(image: np.ndarray) -> int:
    image = np.asarray(cv2.resize(image, SIZE, interpolation=cv2.INTER_NEAREST), np.uint8)
    return sum(1 << bit for bit in range(BITS) if image[10:30, 32 * bit + 8 : 32 * bit + 24].mean() > 128)


def ages(server: Served, began: float, rate: float, seconds: float, buffer: int | None) -> list[float]:
    """How old pictures are when a viewer has them who reads so many bytes a second, and has a `buffer` (None: as usual)."""
    found = []
    with socket.socket() as client:
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(WAIT_S)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data, got, started = b"", 0, time.monotonic()
        while time.monotonic() - started < seconds:
            piece = client.recv(4096)
            data, got = data + piece, got + len(piece)
            while (end := data.find(b"--edgepose-frame", start := max(0, data.find(b"\xff\xd8")))) > start:
                image = cv2.imdecode(np.frombuffer(data[start:end], np.uint8), cv2.IMREAD_COLOR)
                if image is not None:
                    found.append(time.monotonic() - began - read_mark(image) / 1000)
                data = data[end + 16 :]
            time.sleep(max(0.0, started + got / rate - time.monotonic()))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("kilobytes_a_second", "buffer"), [(80, 8192), (80, None), (100, 8192), (400, 8192)])
def test_what_a_slow_viewer_sees_is_not_old(
    tiny_estimator: edgepose.PoseEstimator, kilobytes_a_second: int, buffer: int | None
) -> None:
    camera = Camera()
    base = np.asarray(cv2.resize(np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8), SIZE), np.uint8)
    began, ended = time.monotonic(), threading.Event()

    def feed() -> None:
        while not ended.wait(0.04):
            camera.show(marked(base, int(1000 * (time.monotonic() - began))))

    thread = threading.Thread(target=feed)
    with serving(tiny_estimator, camera.open) as server:
        thread.start()
        try:
            found = ages(server, began, 1000 * kilobytes_a_second, 8, buffer)
        finally:
            ended.set()
            thread.join()
    assert len(found) > 5
    assert statistics.median(found[3:]) < 1  # The first ones are large: it is not yet known that the viewer is slow.


def test_the_server_keeps_little_for_a_viewer(tiny_estimator, tmp_path: Path) -> None:
    with serving(tiny_estimator) as server, socket.create_connection(("127.0.0.1", server.port), WAIT_S) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1) == b"H"
        (protocol,) = server.server.server_state.connections
        held = protocol.transport.get_extra_info("socket")
        assert held.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 128 << 10
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            assert held.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) <= 16 << 10
        assert protocol.transport.get_write_buffer_limits() == (0, 0)
