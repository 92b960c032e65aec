"""Who may ask: the token, the name the server was called by, the page that asks, how often; and what browsers are told.

Against a page of somebody else's in the visitor's browser stand the check of the Host header (DNS rebinding), of Origin and
Sec-Fetch-Site, and headers that keep what is answered out of foreign pages. Against everybody else on the network stands the
token, without which only addresses of this machine are listened on.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgepose.server.limits import Limits
from edgepose.server.metrics import Metrics

# Answered without a token: that it lives, and what the page that asks for the token needs.
OPEN = frozenset({"/healthz", "/style.css"})
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; media-src 'self' blob: mediastream:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware: refuses what is not to be answered, and adds `HEADERS` to what is.

    Args:
        app: What answers.
        token: Asked of everybody, or None.
        names: Names that the server may be called by, besides addresses and this machine's own names.
        limits: Rates.
        metrics: Counts refusals.
        ask: The page that asks for the token.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, names: Iterable[str], limits: Limits, metrics: Metrics, ask: str
    ) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._cookie = None if token is None else cookie_of(token).encode()
        own = socket.gethostname().lower()
        short = own.partition(".")[0]
        self._names = {"localhost", own, short, f"{short}.local", *(name.lower() for name in names)}
        self._requests = Buckets(limits.rate, limits.burst)
        self._wrong = Buckets(0.1, limits.wrong_tokens)
        self._wrong_s = limits.wrong_s
        self._metrics = metrics
        self._ask = ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if message["status"] >= 400:
                    self._metrics.refused.labels(message["status"]).inc()
            await send(message)

        answer = self._answer(scope, Headers(scope=scope)) or self._app
        await answer(scope, receive, send_guarded)

    def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """What is said instead of an answer; None if the request may pass."""
        address = address_of(scope.get("client"))
        host = headers.get("host", "")
        is_known = self._is_known(host)
        given = _credentials(scope, headers) if is_known and self._token is not None else {}
        is_let_in = any(self._is_right(kind, value) for kind, values in given.items() for value in values)
        # Whoever has the token is counted apart: behind a proxy, everybody comes from one address.
        if not self._requests.take(f"{address} with the token" if is_let_in else address):
            return refusal(429, "too many requests; wait a moment", {"retry-after": "1"})
        if not is_known:
            return refusal(421, "this server is not called that; use its address, localhost, or --allow-host NAME")
        if not is_own_page(headers, host):
            return refusal(403, "asked by a page of another site")
        if self._token is None or scope["path"] in OPEN:
            return None
        if is_let_in:
            right = [value for value in given["query"] if self._is_right("query", value)]
            return self._trade(right[0], scope, host) if right else None
        if any(given.values()) and not self._wrong.take(address):
            return SlowRefusal(self._wrong_s, 429, "too many wrong tokens; wait a minute", {"retry-after": "60"})
        if _is_visit(scope):
            return HTMLResponse(self._ask, 401)
        return refusal(401, "a token is needed: in the address /?token=..., or as a header", {"www-authenticate": "Bearer"})

    def _trade(self, token: bytes, scope: Scope, host: str) -> Response:
        """The page, and a cookie for the token in its address."""
        done = RedirectResponse("/", 303)
        cookie = cookie_of(token.decode())
        done.set_cookie(cookie_name(host), cookie, httponly=True, samesite="strict", secure=scope["scheme"] == "https")
        return done

    def _is_right(self, kind: str, given: bytes) -> bool:
        expected = self._cookie if kind == "cookie" else self._token
        return expected is not None and hmac.compare_digest(given, expected)

    def _is_known(self, host: str) -> bool:
        """Whether a Host header is of this server. A page that rebinds its name to our address still sends its name."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            return False
        return name in self._names or is_address(name)


def cookie_name(host: str) -> str:
    """The cookie's name for a Host header: browsers send a host's cookies to all its ports, and each may have a server."""
    port = urlsplit(f"//{host}").port
    return "edgepose" if port is None else f"edgepose-{port}"


def cookie_of(token: str) -> str:
    """What the cookie holds: enough to come in with, and not the token itself."""
    return hmac.new(token.encode("utf-8", "surrogateescape"), b"edgepose cookie", hashlib.sha256).hexdigest()


class SlowRefusal(JSONResponse):
    """A refusal that takes its time. The right token is let in at any time, so that nobody can keep its owner out; whoever
    guesses has to wait.

    Args:
        seconds: How long it takes.
        status: Of HTTP.
        message: For the visitor.
        headers: Of the answer.
    """

    def __init__(self, seconds: float, status: int, message: str, headers: dict[str, str]) -> None:
        super().__init__({"error": message}, status, {**headers, "connection": "close"})
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(self._seconds)
        await super().__call__(scope, receive, send)


class AsciiJSONResponse(JSONResponse):
    """A JSON response that can hold names of files that are not UTF-8: `JSONResponse` fails on them."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


def refusal(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that says why not, after which the connection ends."""
    return AsciiJSONResponse({"error": message}, status, {**(headers or {}), "connection": "close"})


def is_own_page(headers: Headers, host: str) -> bool:
    """Whether a request comes from a page of this server, or from no page at all."""
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit_host(origin) == host.lower()
    # A link from elsewhere may lead here; pictures and scripts of foreign pages may not come from here.
    return headers.get("sec-fetch-site") not in ("cross-site", "same-site") or headers.get("sec-fetch-mode") == "navigate"


def urlsplit_host(origin: str) -> str:
    """HOST or HOST:PORT of an Origin header; nothing if it has none, as "null"."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def is_address(name: str) -> bool:
    """Whether `name` is an IP address."""
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_visit(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["path"] == "/" and scope["method"] in ("GET", "HEAD")


def _credentials(scope: Scope, headers: Headers) -> dict[str, list[bytes]]:
    """All that a request brings to come in with: one that is right is enough, whatever stands beside it."""
    query = parse_qs(scope["query_string"].decode("latin-1")).get("token", []) if _is_visit(scope) else []
    bearers = []
    for each in headers.getlist("authorization"):
        scheme, _, value = each.partition(" ")
        bearers.append(value.strip() if scheme.lower() == "bearer" else "")
    name = cookie_name(headers.get("host", ""))
    # Each by itself: other applications on this host may have set what is no cookie, or one of the same name.
    pieces = [piece for header in headers.getlist("cookie") for piece in header.split(";") if name in piece]
    cookies = [cookie for piece in pieces if (cookie := cookie_parser(piece).get(name))]
    return {
        "query": [value.encode("utf-8", "surrogatepass") for value in query],
        "bearer": [value.encode("latin-1") for value in bearers],
        "cookie": [value.encode("latin-1", "replace") for value in cookies],
    }


class Full(Exception):
    """No more clients than these."""


class Clients:
    """Counts those who watch, and lets no more in than there is room for.

    Args:
        most: Of all kinds together.
        what: They are called.
    """

    def __init__(self, most: int, what: str = "clients") -> None:
        self.now: Counter[str] = Counter()
        self._most = most
        self._what = what

    @contextmanager
    def enter(self, kind: str) -> Iterator[None]:
        """One more client of a kind, until the `with` statement is left.

        Raises:
            Full: There is no room.
        """
        if self.now.total() >= self._most:
            raise Full(f"{self._most} {self._what} at a time is all there is room for; try again later")
        self.now[kind] += 1
        try:
            yield
        finally:
            self.now[kind] -= 1


class Buckets:
    """A token bucket an address: so many at once, and so many a second in the long run.

    Args:
        rate: A second.
        burst: At once.
        clock: Seconds, always growing.
    """

    # Addresses that are remembered; the longest unseen are forgotten first, so that no crowd fills the memory.
    MOST = 4096

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> (level, when)

    def take(self, address: str) -> bool:
        """Take one from the bucket of `address`; False if there is none."""
        left = self.left(address)
        if left >= 1:
            self._levels[address] = (left - 1, self._clock())
            self._levels.move_to_end(address)
            if len(self._levels) > self.MOST:
                self._levels.popitem(last=False)
        return left >= 1

    def left(self, address: str) -> float:
        """How much is in the bucket of `address`."""
        level, when = self._levels.get(address, (float(self._burst), 0.0))
        return min(float(self._burst), level + (self._clock() - when) * self._rate)


def address_of(client: tuple[str, int] | None) -> str:
    """Who counts as one: an IPv4 address, or an IPv6 network of 64 bits, of which a host has as many addresses as it likes."""
    if client is None:
        return ""
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0]
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return str(address)
