from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pictures
import pytest

import edgepose

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from serving import WAIT_S, Camera, Served, serving, until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from edgepose.server.guards import Buckets, Clients, Full, address_of, cookie_name, cookie_of
from edgepose.server.limits import Limits

TOKEN = "correct-horse"
PHOTO = np.zeros((48, 64, 3), np.uint8)
INFO = b"GET /info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
MANY: dict[str, Any] = {"rate": 1000.0, "burst": 10_000}


@pytest.fixture(scope="module")
def guarded(tiny_estimator: edgepose.PoseEstimator) -> Iterator[Served]:
    """A server that asks for a token, and has a frame."""
    camera = Camera()
    limits = Limits(**MANY, wrong_tokens=1000)
    with serving(tiny_estimator, camera.open, token=TOKEN, names=("pose.example",), limits=limits) as server:
        camera.show(PHOTO)
        until(lambda: server.inference is not None and server.inference.frames)
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


def test_the_page_says_that_a_token_is_wrong_and_takes_it_out_of_the_address(guarded):
    status, headers, body = guarded.ask("/?token=wrong-horse")
    assert (status, headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert b"wrong token" in body
    assert b"wrong-horse" not in body
    assert b'src="token.js"' in body
    assert b"wrong token" not in guarded.ask("/")[2]
    status, headers, body = guarded.ask("/token.js")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/javascript")
    assert b"replaceState" in body


def test_who_opens_the_page_gets_a_page_whatever_the_answer(tiny_estimator):
    limits = Limits(rate=0.01, burst=6, wrong_tokens=1, wrong_s=0)
    with serving(tiny_estimator, token=TOKEN, limits=limits) as server:
        pages = [server.ask(f"/?token=wrong{number}") for number in range(3)]
        pages += [server.ask("/", headers={"Host": "evil.example"}), server.ask("/"), server.ask("/"), server.ask("/")]
        assert [page[0] for page in pages] == [401, 429, 429, 421, 401, 401, 429]
        assert {page[1]["content-type"] for page in pages} == {"text/html; charset=utf-8"}
        reasons = [
            b"wrong token",
            b"too many wrong tokens; wait",
            b"too many wrong",
            b"not called that",
            b"",
            b"",
            b"too many requests",
        ]
        assert all(reason in page[2] for reason, page in zip(reasons, pages, strict=True))
        assert pages[1][1]["retry-after"] == "60"
        assert pages[3][2].count(b"<form hidden") == 1
        assert "error" in json.loads(server.ask("/info")[2])  # Programs get what they can read.


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


def test_guessing_is_slow_and_keeps_nobody_out(tiny_estimator):
    right = {"Authorization": f"Bearer {TOKEN}"}
    with serving(tiny_estimator, token=TOKEN, limits=Limits(**MANY, wrong_tokens=3, wrong_s=0.2)) as server:
        began = time.monotonic()
        statuses = [server.ask("/info", headers={"Authorization": f"Bearer {n}"})[0] for n in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert time.monotonic() - began > 0.4
        # The same address, as of everybody behind a proxy.
        for _ in range(5):
            assert dial(server, "/ws/estimate", Authorization="Bearer wrong") == 429
            assert server.ask("/info", headers={"Cookie": f"{cookie_name(server.host)}=stale"})[0] == 429
            assert server.ask("/info", headers=right)[0] == 200
            assert dial(server, "/ws/estimate", **right) == 101
            assert server.ask("/info", headers={"Cookie": f"{cookie_name(server.host)}={cookie_of(TOKEN)}"})[0] == 200
            assert server.ask(f"/?token={TOKEN}")[0] == 303
        assert server.ask("/")[0] == 401  # The page that asks for it.
        assert server.ask("/style.css")[0] == 200


def test_requests_without_the_token_use_up_nothing_of_those_with_it(tiny_estimator):
    right = {"Authorization": f"Bearer {TOKEN}"}
    with serving(tiny_estimator, token=TOKEN, limits=Limits(rate=0.01, burst=5)) as server:
        assert [server.ask("/info")[0] for _ in range(7)] == [401] * 5 + [429] * 2
        assert [server.ask("/info", headers=right)[0] for _ in range(7)] == [200] * 5 + [429] * 2


JARS = [
    "a b=1; {}",
    "{}; a b=1",
    "flag; {}",
    "list=[1,2]; {}",
    'json={{"a": 1, "b": [2]}}; {}',
    "a@b=c; {}",
    'quoted="a; {}',
    "=; ;; {};",
    "größe=1; {}",
    "a=\x01; {}",
    "{};a=b=c",
    "  {}  ",
    "NAME=stale; {}",  # Of another path, or another application on this host.
    "{}; NAME=stale",
    '{}; NAME="',
    "x" * 20_000 + "; {}",
]


@pytest.mark.parametrize("jar", JARS, ids=range(len(JARS)))
def test_cookies_of_other_applications_keep_nobody_out(guarded, jar):
    name = cookie_name(guarded.host)
    cookies = jar.replace("NAME", name).format(f"{name}={cookie_of(TOKEN)}")
    request = f"GET /info HTTP/1.1\r\nHost: {guarded.host}\r\nConnection: close\r\nCookie: {cookies}\r\n\r\n"
    assert guarded.raw(request.encode()).split()[1] in (b"200", b"400" if "\x01" in jar else b"200")


def test_cookies_may_come_in_several_headers(guarded):
    name = cookie_name(guarded.host)
    head = f"GET /info HTTP/1.1\r\nHost: {guarded.host}\r\nConnection: close\r\nCookie: a b\r\n"
    assert guarded.raw(f"{head}Cookie: {name}={cookie_of(TOKEN)}\r\n\r\n".encode()).split()[1] == b"200"
    assert guarded.raw(f"{head}Cookie: {name}={cookie_of('other')}\r\n\r\n".encode()).split()[1] == b"401"


def test_the_right_credentials_are_enough_whatever_stands_beside_them(guarded):
    cookie = f"{cookie_name(guarded.host)}={cookie_of(TOKEN)}"
    wrong = f"{cookie_name(guarded.host)}=stale"
    right = f"Bearer {TOKEN}"
    assert guarded.ask("/info", headers={"Authorization": "Basic dTpw", "Cookie": cookie})[0] == 200  # A proxy's own.
    assert guarded.ask("/info", headers={"Authorization": "Bearer stale", "Cookie": cookie})[0] == 200
    assert guarded.ask("/info", headers={"Authorization": right, "Cookie": wrong})[0] == 200
    assert guarded.ask(f"/?token={TOKEN}", headers={"Authorization": "Bearer stale", "Cookie": wrong})[0] == 303
    assert guarded.ask(f"/?token=stale&token={TOKEN}")[0] == 303
    assert guarded.ask("/?token=stale", headers={"Cookie": cookie})[0] == 200
    assert dial(guarded, Authorization="Bearer stale", Cookie=cookie) == 101


@pytest.mark.parametrize("token", ["p\u00e4ssw\u00f6rter", "\U0001f600" * 8])
def test_tokens_beyond_ascii(tiny_estimator, token):
    with serving(tiny_estimator, token=token, limits=Limits(**MANY, wrong_s=0)) as server:
        for given, status in [(token, b"200"), (token[:-1], b"401"), ("\udcff".encode("utf-8", "surrogateescape"), b"401")]:
            data = given if isinstance(given, bytes) else given.encode()
            answer = server.raw(INFO.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer " + data + b"\r\n\r\n"))
            assert answer.split()[1] == status
            assert server.ask(f"/?token={quote(data)}")[0] == (303 if status == b"200" else 401)
        assert server.ask("/?token=%ff%ed%a0%80")[0] == 401


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


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_and_then_its_rate():
    clock = Clock()
    buckets = Buckets(2.0, 3, clock)
    assert [buckets.take("a") for _ in range(5)] == [True, True, True, False, False]
    assert buckets.take("b")
    clock.now = 1.0
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    clock.now = 100.0
    assert buckets.left("a") == 3


def test_a_crowd_of_addresses_does_not_fill_the_memory():
    buckets = Buckets(0.0, 1, Clock())
    for number in range(Buckets.MOST + 10):
        buckets.take(str(number))
    assert len(buckets._levels) == Buckets.MOST
    assert not buckets.take(str(Buckets.MOST))


def test_clients_are_counted_by_kind_and_bounded_together():
    clients = Clients(2)
    with clients.enter("mjpeg"):
        with clients.enter("poses"):
            assert (clients.now["mjpeg"], clients.now["poses"]) == (1, 1)
            with pytest.raises(Full, match="2 clients"), clients.enter("poses"):
                pass
        with clients.enter("estimate"):
            pass
    assert clients.now.total() == 0


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 5), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5), "192.0.2.7"),
        (("2001:db8:1:2:3::4", 5), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5), "fe80::/64"),
        (None, ""),
    ],
)
def test_who_counts_as_one(client, address):
    assert address_of(client) == address
