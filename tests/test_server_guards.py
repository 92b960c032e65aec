from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pictures
import pytest

import edgepose

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from serving import WAIT_S, Camera, Served, serving, until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from edgepose.server.guards import cookie_name, cookie_of
from edgepose.server.limits import Limits

TOKEN = "correct-horse"
PHOTO = np.zeros((48, 64, 3), np.uint8)
INFO = b"GET /info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
MANY = {"rate": 1000.0, "burst": 10_000}


@pytest.fixture(scope="module")
def guarded(tiny_estimator: edgepose.PoseEstimator) -> Iterator[Served]:
    """A server that asks for a token, and has a frame."""
    camera = Camera()
    limits = Limits(**MANY, wrong_tokens=1000)
    with serving(tiny_estimator, camera.open, token=TOKEN, names=("pose.example",), limits=limits) as server:
        camera.show(PHOTO)
        until(lambda: server.site.metrics.frames)
        yield server


def dial(server: Served, path: str = "/ws/poses", **headers: str) -> int:
    """The status that a WebSocket handshake is answered with; 101 if it is let in."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with connect(f"ws://{server.host}{path}", additional_headers=given, open_timeout=WAIT_S):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


ADDRESSES = ["/app.js", "/info", "/poses", "/snapshot.jpg", "/stream.mjpg", "/metrics"]


@pytest.mark.parametrize("path", ADDRESSES)
def test_nothing_without_the_token(guarded, path):
    status, headers, body = guarded.ask(path)
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert "token" in json.loads(body)["error"]
    assert guarded.ask(path, headers={"Authorization": "Bearer wrong"})[0] == 401
    assert guarded.ask(f"{path}?token={TOKEN}")[0] == 401  # Only the page takes it from the address.


def test_uploads_and_sockets_need_it_too(guarded):
    assert guarded.ask("/estimate", "POST", b"x")[0] == 401
    assert dial(guarded) == 401
    assert dial(guarded, "/ws/estimate") == 401
    assert dial(guarded, Authorization=f"Bearer {TOKEN}") == 101
    name = cookie_name(guarded.host)
    assert dial(guarded, Cookie=f"{name}={cookie_of(TOKEN)}") == 101
    assert dial(guarded, Cookie=f"{name}={TOKEN}") == 401


def test_the_page_asks_for_it_and_trades_it_for_a_cookie(guarded):
    status, headers, body = guarded.ask("/")
    assert (status, headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert b'name="token"' in body
    assert guarded.ask("/style.css")[0] == 200
    assert guarded.ask("/?token=wrong")[0] == 401
    status, headers, _ = guarded.ask(f"/?token={TOKEN}")
    assert (status, headers["location"]) == (303, "/")
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(attributes)
    assert TOKEN not in cookie
    assert guarded.ask("/", headers={"Cookie": cookie})[0] == 200
    assert guarded.ask("/poses", headers={"Cookie": f"other=1; {cookie}"})[0] == 200


def test_two_servers_on_one_machine_keep_their_cookies_apart(guarded, tiny_estimator):
    """Browsers send a host's cookies to all its ports; the other server's is no wrong guess."""
    with serving(tiny_estimator, token="another", limits=Limits(**MANY, wrong_tokens=1)) as other:
        jar = "; ".join(
            server.ask(f"/?token={token}")[1]["set-cookie"].split(";")[0]
            for server, token in ((guarded, TOKEN), (other, "another"))
        )
        for server in (guarded, other):
            assert [server.ask("/info", headers={"Cookie": jar})[0] for _ in range(3)] == [200] * 3


def test_the_cookie_has_the_port_in_its_name():
    assert cookie_name("localhost") == cookie_name("[::1]") == "edgepose"
    assert cookie_name("pi.local:8000") == cookie_name("[::1]:8000") == "edgepose-8000"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xff\xfe"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Cookie": "edgepose=\xff"},
        {"Cookie": "edgepose"},
        {"Host": "localhost", "Cookie": f"edgepose={TOKEN}"},
        {"Cookie": "=;;==\x01"},
    ],
    ids=str,
)
def test_wrong_credentials(guarded, headers):
    assert guarded.ask("/poses", headers=headers)[0] == 401


def test_the_right_header_comes_in(guarded):
    assert guarded.ask("/poses", headers={"Authorization": f"bearer {TOKEN}"})[0] == 200
    assert guarded.ask("/healthz")[0] == 200  # Open, for those who watch over services.


def test_guessing_is_slow(tiny_estimator):
    right = {"Authorization": f"Bearer {TOKEN}"}
    with serving(tiny_estimator, token=TOKEN, limits=Limits(wrong_tokens=3)) as server:
        statuses = [server.ask("/info", headers={"Authorization": f"Bearer {n}"})[0] for n in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert server.ask("/info", headers=right)[0] == 429  # Nor is the right one told from the wrong ones.
        assert server.raw(INFO, "127.0.0.9").startswith(b"HTTP/1.1 401")  # Others are not locked out


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("192.168.1.5:8000", 200),
        ("pose.example:8000", 200),
        ("POSE.example.", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.nip.io", 421),
        ("evil.example@localhost", 200),  # The host is what stands behind.
        ("[::1", 421),
        ("", 421),
    ],
)
def test_names_that_lead_here_by_rebinding(guarded, host, status):
    answer = guarded.raw(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert int(answer.split()[1]) == status


def test_pages_of_other_sites(guarded):
    right = {"Authorization": f"Bearer {TOKEN}"}
    own = f"http://{guarded.host}"
    data = pictures.encode(".png", PHOTO)
    for origin, status in [
        (own, 200),
        ("http://evil.example", 403),
        ("null", 403),
        (f"{own}.evil.example", 403),
        ("http://[", 403),
    ]:
        assert guarded.ask("/estimate", "POST", data, {**right, "Origin": origin})[0] == status
        assert dial(guarded, **right, Origin=origin) == (101 if status == 200 else 403)
    for site, mode, status in [("cross-site", "no-cors", 403), ("cross-site", "navigate", 200), ("same-origin", "cors", 200)]:
        assert guarded.ask("/snapshot.jpg", headers={**right, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode})[0] == status


def test_headers_on_every_answer(guarded):
    right = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/", "/poses", "/nowhere", "/snapshot.jpg"):
        for given in ({}, right):
            headers = guarded.ask(path, headers=given)[1]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers


def test_too_many_requests(tiny_estimator):
    with serving(tiny_estimator, limits=Limits(rate=0.01, burst=5)) as server:
        answers = [server.ask("/healthz") for _ in range(8)]
        assert [answer[0] for answer in answers] == [200] * 5 + [429] * 3
        assert answers[-1][1]["retry-after"] == "1"
        elsewhere = server.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "127.0.0.2")
        assert elsewhere.startswith(b"HTTP/1.1 200")
        forwarded = server.ask("/healthz", headers={"X-Forwarded-For": "192.0.2.1"})
        assert forwarded[0] == 429  # What a header says does not count.
