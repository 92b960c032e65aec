"""Requests that mean harm: each is refused with its status, none shows a traceback, and the stream goes on."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections.abc import Iterator
from functools import partial

import numpy as np
import pictures
import pytest

import edgepose

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from serving import WAIT_S, Served, serving, until

from edgepose.media.sources import open_source
from edgepose.server.limits import Limits

LIMITS = Limits(
    upload_bytes=200_000, upload_pixels=1_000_000, rate=1e6, burst=100_000, head_s=0.3, body_s=0.3, connections_per_address=20
)
PNG = pictures.encode(".png", np.zeros((48, 64, 3), np.uint8))
BIG_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 60_000, 60_000) + b"\x08\x02\x00\x00\x00" + bytes(100)


@pytest.fixture(scope="module")
def served(tiny_estimator: edgepose.PoseEstimator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    video = pictures.write_video(tmp_path_factory.mktemp("videos") / "clip.avi", 20, fps=50)
    with serving(tiny_estimator, partial(open_source, str(video)), loop=True, limits=LIMITS) as server:
        until(lambda: server.ask("/poses")[0] == 200)
        yield server


@pytest.fixture(autouse=True)
def stream_goes_on(served: Served) -> Iterator[None]:
    """After each test, new frames come, and a stream that was open before is still served."""
    stream = http.client.HTTPConnection("127.0.0.1", served.port, timeout=WAIT_S)
    stream.request("GET", "/stream.mjpg")
    response = stream.getresponse()
    response.read(1000)
    yield
    before = served.site.metrics.frames
    until(lambda: served.site.metrics.frames > before + 2)
    assert len(response.read(5000)) == 5000
    response.close()
    stream.close()


def refused(answer: tuple[int, dict[str, str], bytes]) -> int:
    """The status of an answer that says why, and nothing of what is behind."""
    status, _, body = answer
    assert set(json.loads(body)) == {"error"}
    for secret in (b"Traceback", b".py", b"site-packages", b"/home", b"/work"):
        assert secret not in body
    return status


BODIES = [
    ("oversized", bytes(300_000), 413),
    ("a bomb of pixels", BIG_PNG, 413),
    ("nothing", b"", 400),
    ("text", b"hello", 415),
    ("noise", np.random.default_rng(0).bytes(5000), 415),
    ("half a picture", PNG[: len(PNG) // 2], 400),
    ("a header alone", b"\xff\xd8\xff\xe0", 400),
    ("no pixels", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(40), 400),
    ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', 415),
]


@pytest.mark.parametrize(("body", "status"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_bodies(served, body, status):
    assert refused(served.ask("/estimate", "POST", body)) == status
    assert refused(served.ask("/estimate", "POST", iter([body]), {"Transfer-Encoding": "chunked"})) == status
    form = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + body + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert refused(served.ask("/estimate", "POST", form, headers)) == status


FORMS = [
    ("no boundary", "multipart/form-data", b"x", 400),
    ("no form", "multipart/form-data; boundary=x", b"hello", 400),
    (
        "no file",
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
        400,
    ),
    (
        "many files",
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n1\r\n' * 50 + b"--x--\r\n",
        415,  # The first one, which is no picture.
    ),
    (
        "cut short",
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nab',
        400,
    ),
    ("a name for the field of 100 kB", "multipart/form-data; boundary=x", b"--x\r\nA: " + b"a" * 100_000, 400),
    ("a picture that says it is a form", "multipart/form-data; boundary=x", PNG, 400),
]


@pytest.mark.parametrize(("kind", "body", "status"), [row[1:] for row in FORMS], ids=[row[0] for row in FORMS])
def test_forms(served, kind, body, status):
    assert refused(served.ask("/estimate", "POST", body, {"Content-Type": kind})) == status


def test_a_length_beyond_the_limit_is_refused_before_a_byte_is_read(served):
    head = b"POST /estimate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), WAIT_S) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


PATHS = [
    "/../../etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "/%2e%2e/pyproject.toml",
    "//etc/passwd",
    "/static/../app.js",
    "/app.js/",
    "/app.js%00.css",
    "/page/index.html",
    "/stream.mjpg/..",
    "/clip.avi",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_to_a_file(served, path):
    answer = served.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"root:" not in answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_methods(served, method):
    assert refused(served.ask("/poses", method)) == 405
    assert refused(served.ask("/estimate")) == 405


MALFORMED = [
    b"\x00\x01\x02\x03\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 200_000 + b"\r\n\r\n",
    b"POST /estimate HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /estimate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST /estimate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # TLS
    b"GET /ws/poses HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /ws/poses HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n\r\n",
]


@pytest.mark.parametrize("request_", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_http(served, request_):
    answer = served.raw(request_)
    assert b"Traceback" not in answer
    # Nothing at all where the connection is reset while we still send.
    assert not answer or answer.split()[1][:1] == b"4"


def test_a_body_that_dribbles_in(served):
    head = b"POST /estimate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"
    assert served.raw(head).startswith(b"HTTP/1.1 408")


def test_a_head_that_never_ends(served):
    assert served.raw(b"GET / HTTP/1.1\r\nHost: localh") == b""
    assert served.raw(b"") == b""
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = served.raw(whole + b"GET /healthz HT")  # Nor may the second one.
    assert answer.count(b"HTTP/1.1 200") == 1


def test_connections_of_one_address_are_bounded(served):
    idle = [socket.create_connection(("127.0.0.1", served.port), WAIT_S, source_address=("127.0.0.3", 0)) for _ in range(40)]
    try:
        until(lambda: sum(connection.fileno() >= 0 and is_closed(connection) for connection in idle) >= 20)
        assert served.ask("/healthz")[0] == 200  # Another address.
    finally:
        for connection in idle:
            connection.close()


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_many_at_once(served):
    """A crowd of all kinds, one after the other; all get their status."""
    statuses = []
    for number in range(100):
        body, status = [row[1:] for row in BODIES][number % len(BODIES)]
        statuses.append((refused(served.ask("/estimate", "POST", body)), status))
    assert all(got == expected for got, expected in statuses)


def test_uploads_at_a_time_are_bounded(served):
    head = b"POST /estimate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    slow = [socket.create_connection(("127.0.0.1", served.port), WAIT_S) for _ in range(LIMITS.uploads)]
    try:
        for connection in slow:
            connection.sendall(head)
        until(lambda: served.site._uploads.now.total() == LIMITS.uploads)
        assert refused(served.ask("/estimate", "POST", PNG)) == 503
    finally:
        for connection in slow:
            connection.close()
    until(lambda: served.ask("/estimate", "POST", PNG)[0] == 200)
