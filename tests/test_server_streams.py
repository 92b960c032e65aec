from __future__ import annotations

import json
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import numpy as np
import pictures
import pytest

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from serving import WAIT_S, Camera, Served, sample, serving, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from edgepose.errors import InputError
from edgepose.media.sources import open_source
from edgepose.server.limits import Limits

PHOTO = np.random.default_rng(3).integers(0, 256, (96, 128, 3), np.uint8)
JPEG = pictures.encode(".jpg", PHOTO)


def dial(server: Served, path: str, **options) -> ClientConnection:
    return connect(f"ws://{server.host}{path}", open_timeout=WAIT_S, close_timeout=WAIT_S, **options)


def closing(connection: ClientConnection) -> tuple[int, str]:
    """Code and reason that the server ends a connection with, after whatever it still sends."""
    with suppress(ConnectionClosed):
        while True:
            connection.recv(WAIT_S)
    assert connection.close_code is not None
    return connection.close_code, connection.close_reason or ""


def test_each_frame_has_its_message(tiny_estimator):
    camera = Camera()
    with serving(tiny_estimator, camera.open) as server, dial(server, "/ws/poses") as client:
        for index in range(3):
            camera.show(PHOTO)
            result = json.loads(client.recv(WAIT_S))
            assert result["frame"] == index
            assert result["poses"] == tiny_estimator(PHOTO).to_dict()["poses"]
        client.send("whatever a client says is not kept")
        camera.show(PHOTO)
        assert json.loads(client.recv(WAIT_S))["frame"] == 3
        assert sample(server.site.metrics, "stage_seconds_count", stage="encode") == 0  # Nobody asked for pictures.


def test_frames_that_come_fast_have_their_messages_too(tiny_estimator):
    camera = Camera()
    with serving(tiny_estimator, camera.open, limits=Limits(poses_rate=5)) as server, dial(server, "/ws/poses") as client:
        until(lambda: server.site._clients.now["poses"] == 1)
        for number in range(1, 21):
            camera.show(PHOTO)
            until(lambda: server.inference.frames == number)  # noqa: B023
        assert [json.loads(client.recv(WAIT_S))["frame"] for _ in range(20)] == list(range(20))


def test_the_end_of_a_video_closes_with_its_reason(tiny_estimator, tmp_path):
    video = pictures.write_video(tmp_path / "clip.avi", 4, fps=100)
    with serving(tiny_estimator, partial(open_source, str(video))) as server:
        for _ in range(2):  # Also for those who come when it is over.
            with dial(server, "/ws/poses") as client:
                assert closing(client) == (1000, "ended")
        assert server.inference.frames == 4


def test_clients_are_counted_and_forgotten(tiny_estimator):
    camera = Camera()
    with serving(tiny_estimator, camera.open) as server:
        now = server.site._clients.now
        with dial(server, "/ws/poses"), dial(server, "/ws/estimate"):
            until(lambda: (now["poses"], now["estimate"]) == (1, 1))
        until(lambda: now.total() == 0)


def test_the_server_ends_though_clients_watch(tiny_estimator):
    camera = Camera()
    with ExitStack() as stack:
        with serving(tiny_estimator, camera.open) as server:
            paths = ("/ws/poses", "/ws/poses", "/ws/estimate")
            clients = [stack.enter_context(dial(server, path)) for path in paths]
        for client in clients:
            assert closing(client)[0] in (1000, 1012)


def test_webcam_frames_are_answered_in_order(tiny_estimator):
    with serving(tiny_estimator) as server, dial(server, "/ws/estimate") as client:
        for index in range(3):
            client.send(pictures.encode(".png", PHOTO))
            answer = json.loads(client.recv(WAIT_S))
            assert answer["frame"] == index
            assert answer["image"] == {"width": 128, "height": 96}
            assert answer["poses"] == tiny_estimator(PHOTO).to_dict()["poses"]
        for _ in range(4):  # Without waiting for answers: they come all the same, one after the other.
            client.send(JPEG)
        assert [json.loads(client.recv(WAIT_S))["frame"] for _ in range(4)] == [3, 4, 5, 6]


REFUSED = [
    ("text", "hello", 1003, "text came"),
    ("noise", b"\x13\x37" * 50, 1007, "not an image"),
    ("nothing", b"", 1007, "empty"),
    ("cut short", JPEG[:200], 1007, "image"),
    ("too many pixels", pictures.encode(".png", np.zeros((300, 400, 3), np.uint8)), 1009, "400 x 300"),
    ("too many bytes", bytes(200_000), 1009, ""),
]


@pytest.mark.parametrize(("message", "code", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_no_frame_ends_the_connection(tiny_estimator, message, code, reason):
    limits = Limits(message_bytes=100_000, message_pixels=100_000)
    with serving(tiny_estimator, limits=limits) as server, dial(server, "/ws/estimate") as client:
        client.send(message)
        found = closing(client)
        assert found[0] == code
        assert reason in found[1]


def test_no_more_clients_than_there_is_room_for(tiny_estimator):
    camera = Camera()
    with serving(tiny_estimator, camera.open, limits=Limits(clients=2)) as server:
        with dial(server, "/ws/poses"), dial(server, "/ws/estimate"):
            until(lambda: server.site._clients.now.total() == 2)
            for path in ("/ws/poses", "/ws/estimate"):
                with pytest.raises(InvalidStatus) as refused, dial(server, path):
                    pass
                assert refused.value.response.status_code == 503
            status, headers, body = server.ask("/stream.mjpg")
            assert (status, headers["retry-after"]) == (503, "5")
            assert b"2 clients" in body
        until(lambda: server.site._clients.now.total() == 0)
        with dial(server, "/ws/poses"):
            pass


def test_no_source_no_poses(tiny_estimator):
    with serving(tiny_estimator) as server:
        with pytest.raises(InvalidStatus) as refused, dial(server, "/ws/poses"):
            pass
        assert refused.value.response.status_code == 404


def test_visitors_may_be_tracked(tiny_estimator):
    with serving(tiny_estimator, track=True) as server, dial(server, "/ws/estimate") as client:
        for _ in range(2):
            client.send(JPEG)
            people = json.loads(client.recv(WAIT_S))["poses"]
            assert all(isinstance(person["id"], int) for person in people)


def test_who_reads_nothing_keeps_no_place_when_the_source_ends(tiny_estimator):
    camera = Camera()
    with (
        serving(tiny_estimator, camera.open, limits=Limits(send_s=0.2)) as server,
        socket.create_connection(("127.0.0.1", server.port), WAIT_S) as stuck,
    ):
        stuck.sendall(
            b"GET /ws/poses HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        now = server.site._clients.now
        until(lambda: now["poses"] == 1)
        protocol = next(iter(each for each in server.server.server_state.connections if hasattr(each, "writable")))
        protocol.loop.call_soon_threadsafe(protocol.writable.clear)  # As if more had been written than the system has room for.
        camera.show(PHOTO)
        until(lambda: server.inference.busy)
        camera.end()
        until(lambda: now["poses"] == 0)


HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PING, PONG, TEXT, PART = b"\x89", b"\x8a", b"\x81", b"\x00"


@contextmanager
def raw_client(server: Served, path: str) -> Iterator[socket.socket]:
    """A client that reads nothing but the answer to its handshake, and has no room for more."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(WAIT_S)
        client.connect(("127.0.0.1", server.port))
        client.sendall(HANDSHAKE.format(path).encode())
        assert client.recv(1, socket.MSG_WAITALL) == b"H"
        yield client


def masked(kind: bytes, content: bytes) -> bytes:
    """A frame of a client, with a mask of zeros."""
    assert len(content) < 126
    return kind + bytes([0x80 | len(content)]) + bytes(4) + content


def flood(client: socket.socket, data: bytes, seconds: float) -> bool:
    """Send `data` over and over, for so long at most; whether the server ended that."""
    end = time.monotonic() + seconds
    client.settimeout(0.05)
    left = b""
    with suppress(ConnectionError):
        while time.monotonic() < end:
            left = left or data
            with suppress(TimeoutError):
                left = left[client.send(left) :]
        return False
    return True


@pytest.mark.parametrize("path", ["/ws/poses", "/ws/estimate"])
@pytest.mark.parametrize(
    "frame", [masked(PING, b"x" * 125), masked(PING, b""), masked(PONG, b"")], ids=["long", "empty", "pongs"]
)
def test_who_sends_nothing_but_pings_is_let_go(tiny_estimator, path, frame):
    camera = Camera()
    with serving(tiny_estimator, camera.open) as server:
        tracemalloc.start()
        try:
            with raw_client(server, path) as client:
                assert flood(client, frame * 500, 10)
                until(lambda: server.site._clients.now.total() == 0)
            assert tracemalloc.get_traced_memory()[1] < 20e6
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("path", ["/ws/poses", "/ws/estimate"])
def test_who_reads_nothing_is_let_go_whatever_it_sends(tiny_estimator, path):
    """Also where as many pings as it likes are allowed: what is not read is not answered."""
    camera = Camera()
    with serving(tiny_estimator, camera.open, limits=Limits(send_s=0.5, small_frames=10**9)) as server:
        tracemalloc.start()
        try:
            with raw_client(server, path) as client:
                assert flood(client, masked(PING, b"x" * 125) * 500, WAIT_S)
                until(lambda: server.site._clients.now.total() == 0)
            assert tracemalloc.get_traced_memory()[1] < 20e6
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("kind", [TEXT, PART], ids=["messages", "parts of one"])
def test_messages_of_nothing_end_the_connection(tiny_estimator, kind):
    camera = Camera()
    with serving(tiny_estimator, camera.open) as server, raw_client(server, "/ws/poses") as client:
        client.sendall(masked(b"\x01", b"begun") if kind == PART else b"")
        assert flood(client, masked(kind, b"") * 500, 10)
        assert server.ask("/healthz")[0] == 200


def test_a_flood_of_pings_holds_up_nobody(tiny_estimator):
    with serving(tiny_estimator, limits=Limits(small_frames=10**9)) as server, raw_client(server, "/ws/estimate") as client:
        client.sendall(masked(PING, b"") * 100_000)
        began = time.perf_counter()
        assert server.ask("/healthz")[0] == 200
        assert time.perf_counter() - began < 1


def test_who_reads_is_answered_as_often_as_it_pings(tiny_estimator):
    with serving(tiny_estimator) as server, dial(server, "/ws/estimate") as client:
        for _ in range(100):
            assert client.ping().wait(WAIT_S)
        client.send(JPEG)
        assert json.loads(client.recv(WAIT_S))["frame"] == 0


def test_who_takes_no_answers_to_its_frames_is_let_go(tiny_estimator):
    with serving(tiny_estimator, limits=Limits(send_s=0.3)) as server, raw_client(server, "/ws/estimate"):
        until(lambda: server.site._clients.now["estimate"] == 1)
        protocol = next(iter(each for each in server.server.server_state.connections if hasattr(each, "writable")))
        protocol.loop.call_soon_threadsafe(protocol.pause_writing)  # As if more were to be sent than there is room for.
        until(lambda: server.site._clients.now.total() == 0)


def test_who_takes_no_answer_over_http_is_let_go(tiny_estimator):
    """A snapshot is larger than what waits in the system."""
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    camera = Camera()
    with serving(tiny_estimator, camera.open, limits=Limits(send_s=0.3)) as server:
        camera.show(noise)
        until(lambda: server.ask("/poses")[0] == 200)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(WAIT_S)
            client.connect(("127.0.0.1", server.port))
            client.sendall(b"GET /snapshot.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(1) == b"H"
            until(lambda: not server.server.server_state.connections)


def test_a_shape_that_no_network_takes_is_refused_with_the_reason(tiny_estimator, monkeypatch):
    with serving(tiny_estimator) as server:

        def refuse(_: object) -> None:
            raise InputError("an input of 4096 x 99999 pixels; expected at most 4096 x 4096")

        monkeypatch.setattr(server.site._visitors, "_estimator", refuse)
        status, _, body = server.ask("/estimate", "POST", JPEG)
        assert (status, json.loads(body)["error"][:28]) == (400, "an input of 4096 x 99999 pix")
        with dial(server, "/ws/estimate") as client:
            client.send(JPEG)
            assert closing(client) == (1007, "an input of 4096 x 99999 pixels; expected at most 4096 x 4096")
