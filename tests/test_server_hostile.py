"""Requests that mean harm: each is refused with its status, none shows a traceback, and the stream goes on."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pictures
import pytest

import edgepose

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from serving import WAIT_S, Served, serving, until
from websockets.sync.client import connect

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
    assert served.inference is not None
    before = served.inference.frames

    def is_going_on() -> bool:
        assert served.inference is not None
        served.inference.ask()  # The stream, which nobody reads now, does not count as somebody who watches for long.
        return served.inference.frames > before + 2

    until(is_going_on)
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
    ("a TIFF of two widths", pictures.grey_tiff(100, 100, (256, 3, 1, 13_000), (257, 3, 1, 13_000)), 413),
    ("a TIFF of wide samples", pictures.encode(".tiff", np.zeros((9, 9, 3))), 400),
    ("a PNG of two headers", PNG[:33] + PNG[8:], 400),
    ("fillings", b"\xff\xd8" + b"\xff" * 150_000, 400),
    ("GIF", b"GIF89a" + bytes(100), 415),
    ("AVIF", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(100), 415),
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
    ("more parts than any form", "multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n" * 5000 + b"--x--\r\n", 400),
    ("a name for the field of 100 kB", "multipart/form-data; boundary=x", b"--x\r\nA: " + b"a" * 100_000, 400),
    ("a picture that says it is a form", "multipart/form-data; boundary=x", PNG, 400),
]


@pytest.mark.parametrize(("kind", "body", "status"), [row[1:] for row in FORMS], ids=[row[0] for row in FORMS])
def test_forms(served, kind, body, status):
    assert refused(served.ask("/estimate", "POST", body, {"Content-Type": kind})) == status


def longest_wait(served: Served, done: Callable[[], bool]) -> float:
    """Seconds that somebody else waits for an answer at most, until it is `done`."""
    longest = 0.0
    while True:
        began = time.perf_counter()
        assert served.ask("/healthz")[0] == 200
        longest = max(longest, time.perf_counter() - began)
        if done():
            return longest


def is_quick(longest: Callable[[], float]) -> bool:
    """Whether nobody waits for a second."""
    return longest() < 1


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\x01", b"\xff\xd0", b"\xff\xe1\0\2"])
def test_a_picture_of_fillings_holds_up_nobody(tiny_estimator, filling):
    data = b"\xff\xd8\xff" + filling * ((15 << 20) // len(filling))

    def longest() -> float:
        upload = other.submit(server.ask, "/estimate", "POST", data)
        waited = longest_wait(server, upload.done)
        assert refused(upload.result()) == 400
        return waited

    with serving(tiny_estimator, limits=Limits(rate=1e6, burst=100_000)) as server, ThreadPoolExecutor(1) as other:
        assert is_quick(longest)  # Byte by byte it is five seconds.


@pytest.mark.slow
def test_a_body_of_tiny_chunks_holds_up_nobody(tiny_estimator):
    """A read of a quarter of a megabyte brings forty thousand of them."""
    head = b"POST /estimate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    limits = Limits(rate=1e6, burst=100_000, body_s=5)

    def longest() -> float:
        upload = other.submit(server.raw, head + b"1\r\na\r\n" * 300_000 + b"0\r\n\r\n")
        waited = longest_wait(server, upload.done)
        assert upload.result()[9:12] in (b"415", b"408")
        return waited

    with serving(tiny_estimator, limits=limits) as server, ThreadPoolExecutor(1) as other:
        assert is_quick(longest)  # Without turns it is as long as all of it takes: two seconds and more.


def test_nobody_else_waits_for_checks_of_frames_either(tiny_estimator):
    def longest() -> float:
        with connect(f"ws://{server.host}/ws/estimate", close_timeout=WAIT_S) as client:
            client.send(b"\xff\xd8" + b"\xff" * (4_000_000))
            waited = longest_wait(server, lambda: server.site._clients.now["estimate"] == 0)
        assert client.close_code == 1007
        return waited

    with serving(tiny_estimator, limits=Limits(rate=1e6, burst=100_000)) as server:
        assert is_quick(longest)  # Byte by byte it is more than that.


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
