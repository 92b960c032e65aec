"""The checks before every answer: rates, the server's name, the page that asks, the token; and headers for browsers.

A page of another site in the visitor's browser is kept out by the check of the Host header (against DNS rebinding), by those of
Origin and Sec-Fetch-Site, and by headers that keep answers out of foreign pages. Everybody else on the network is kept out by
the token, without which the server listens only to its own machine. A proxy's word counts if it is trusted.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import math
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgepose.server.limits import Limits
from edgepose.server.metrics import Metrics

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Answered without a token: the state of health, and what belongs to the page that asks for the token.
OPEN = frozenset({"/healthz", "/style.css", "/token.js"})
# The proxies that may say whether a visitor came by HTTPS, unless others are named: those on this machine.
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))
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
    """ASGI middleware that refuses requests which fail a check, and adds `HEADERS` to every answer.

    The arguments are those of `app.create_app`, and the `page` that says why a visitor is refused, and asks for the token.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        metrics: Metrics,
        *,
        token: str | None,
        names: Iterable[str],
        page: str,
        root_path: str = "",
        trusted: Sequence[Network] = LOOPBACK,
    ) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._cookie = None if token is None else cookie_of(token).encode()
        own = socket.gethostname().lower()
        short = own.partition(".")[0]
        self._names = {"localhost", own, short, f"{short}.local", *(name.lower() for name in names)}
        self._requests = Buckets(limits.rate, limits.burst)
        self._wrong = Buckets(0.1, limits.wrong_tokens)
        self._limits = limits
        self._metrics = metrics
        self._page = page
        self._root_path = root_path.rstrip("/")
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        since = math.inf  # When the message that is being sent was begun.
        timer: asyncio.TimerHandle

        async def send_guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if message["status"] >= 400:
                    self._metrics.refused.labels(message["status"]).inc()
            nonlocal since
            since = time.monotonic()
            await send(message)
            since = math.inf

        def check() -> None:
            # Now and then for all messages of a client: a time-out for each message would take longer than the message.
            nonlocal timer
            if time.monotonic() - since > self._limits.send_s:
                answering.cancel()
            timer = asyncio.get_running_loop().call_later(self._limits.send_s / 4, check)

        if f"{scope['path']}/".startswith(f"{self._root_path}/"):
            scope = {**scope, "path": scope["path"][len(self._root_path) :]}
        app = await self._refuse(scope, Headers(scope=scope)) or self._app
        with anyio.CancelScope() as answering:
            check()
            try:
                await app(scope, receive, send_guarded)
            finally:
                timer.cancel()

    async def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer in place of the application's; None if the request may pass."""
        address = address_of(scope.get("client"))
        host = headers.get("host", "")
        is_known = self._is_known(host)
        given = _credentials(scope, headers) if is_known and self._token is not None else []
        right = [kind for kind, value in given if self._is_right(kind, value)]
        # Requests with the token are counted apart: behind a proxy, all visitors have one address.
        if not self._requests.take(f"{address} with the token" if right else address):
            return self._refusal(scope, 429, "too many requests; wait a moment", {"retry-after": "1"})
        if not is_known:
            return self._refusal(scope, 421, "this server is not called that; use its address, localhost, or --allow-host NAME")
        if not is_own_page(headers, host):
            return self._refusal(scope, 403, "asked by a page of another site")
        if not scope["path"]:  # The prefix alone, in which the page's own addresses would lead elsewhere.
            return RedirectResponse(f"{self._root_path}/", 308)
        if self._token is None or scope["path"] in OPEN:
            return None
        if right:
            return self._set_cookie(scope, headers) if "query" in right else None
        if given and not self._wrong.take(address):
            # The right token is let in at any time, so that nobody can keep its owner out; to guess takes time instead.
            await anyio.sleep(self._limits.wrong_s)
            return self._refusal(scope, 429, "too many wrong tokens; wait a minute", {"retry-after": "60"})
        if _is_visit(scope):
            return self._refusal(scope, 401, "wrong token" if given and given[0][0] == "query" else "")
        return refusal(401, "a token is needed: in the address /?token=..., or as a header", {"www-authenticate": "Bearer"})

    def _refusal(self, scope: Scope, status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
        """A refusal with its reason: to whoever opens the page it is a page, too, on which the token can be given."""
        if not _is_visit(scope):
            return refusal(status, reason, headers)
        form = "<form" if self._token is not None and status in (401, 429) else "<form hidden"
        return HTMLResponse(self._page.replace("REASON", reason).replace("<form", form), status, headers)

    def _set_cookie(self, scope: Scope, headers: Headers) -> Response:
        """A redirection to the page without the token in its address, with a cookie in its place."""
        proxy = _ip(scope.get("client"))
        is_trusted = any(proxy in network for network in self._trusted if proxy is not None)
        forwarded = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower() if is_trusted else ""
        response = RedirectResponse(f"{self._root_path}/", 303)
        options: dict[str, Any] = {"path": self._root_path or "/", "httponly": True, "samesite": "strict"}
        options["secure"] = "https" in (scope["scheme"], forwarded)
        response.set_cookie(cookie_name(headers.get("host", "")), (self._cookie or b"").decode(), **options)
        return response

    def _is_right(self, kind: str, given: bytes) -> bool:
        expected = self._cookie if kind == "cookie" else self._token
        return expected is not None and hmac.compare_digest(given, expected)

    def _is_known(self, host: str) -> bool:
        """Whether a Host header names this server. A page that rebinds its name to our address still sends its own name."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            return False
        return name in self._names or _ip((name, 0)) is not None


def cookie_name(host: str) -> str:
    """The name of the cookie, with the port of a Host header: browsers send the cookies of a host to all its ports."""
    port = urlsplit(f"//{host}").port
    return "edgepose" if port is None else f"edgepose-{port}"


def cookie_of(token: str) -> str:
    """The value of the cookie: it lets in, and does not tell the token."""
    return hmac.new(token.encode("utf-8", "surrogateescape"), b"edgepose cookie", hashlib.sha256).hexdigest()


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response. Names of files in it need not be UTF-8, on which Starlette's own fails."""
    return Response(json.dumps(content, separators=(",", ":")), status, headers, "application/json")


def refusal(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    """A response with the reason of a refusal, after which the connection ends."""
    return answer({"error": reason}, status, {**(headers or {}), "connection": "close"})


def is_own_page(headers: Headers, host: str) -> bool:
    """Whether a request comes from a page of this server, or from no page at all."""
    origin = headers.get("origin")
    if origin is not None:
        with suppress(ValueError):
            return urlsplit(origin).netloc.lower() == host.lower()
        return False
    # A link of another site may lead here; pictures and scripts for pages of other sites may not come from here.
    return headers.get("sec-fetch-site") not in ("cross-site", "same-site") or headers.get("sec-fetch-mode") == "navigate"


def address_of(client: tuple[str, int] | None) -> str:
    """The address that a client is counted by: its IPv4 address, or its IPv6 network of 64 bits, in which it can choose any."""
    address = _ip(client)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address) if address else client[0] if client else ""


def _ip(client: tuple[str, int] | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address of a client, an IPv4 address as such; None if it has none."""
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0] if client else "")
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Full(HTTPException):
    """There is no room for one more: status 503, and the seconds after which to try again."""

    def __init__(self, reason: str, retry_s: int) -> None:
        super().__init__(503, reason, {"retry-after": str(retry_s)})


class Clients:
    """Counts clients while they are connected, by kind, and lets in no more than a number of all kinds together."""

    def __init__(self, most: int, what: str = "clients", retry_s: int = 5) -> None:
        self.now: Counter[str] = Counter()
        self._most, self._what, self._retry_s = most, what, retry_s

    @contextmanager
    def enter(self, kind: str) -> Iterator[None]:
        """Count one more client of a kind, until the `with` statement is left; raises `Full`."""
        if self.now.total() >= self._most:
            raise Full(f"{self._most} {self._what} at a time is all there is room for; try again later", self._retry_s)
        self.now[kind] += 1
        try:
            yield
        finally:
            self.now[kind] -= 1


class Buckets:
    """A token bucket for each address: it allows a burst, and a rate of tokens a second in the long run."""

    # Addresses that are remembered; the longest unseen are forgotten first, so that they do not fill the memory.
    MOST = 4096

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> (level, when)

    def take(self, address: str) -> bool:
        """Take a token from the bucket of `address`; False if there is none."""
        left = self.left(address)
        if left >= 1:
            self._levels[address] = (left - 1, self._clock())
            self._levels.move_to_end(address)
            if len(self._levels) > self.MOST:
                self._levels.popitem(last=False)
        return left >= 1

    def left(self, address: str) -> float:
        """The tokens in the bucket of `address`, with fractions."""
        level, when = self._levels.get(address, (float(self._burst), 0.0))
        return min(float(self._burst), level + (self._clock() - when) * self._rate)


def _is_visit(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["path"] == "/" and scope["method"] in ("GET", "HEAD")


def _credentials(scope: Scope, headers: Headers) -> list[tuple[str, bytes]]:
    """All tokens and cookies in a request, with the place of each. One right one is enough, whatever the others are."""
    query = parse_qs(scope["query_string"].decode("latin-1")).get("token", []) if _is_visit(scope) else []
    bearers = []
    for each in headers.getlist("authorization"):
        scheme, _, value = each.partition(" ")
        bearers.append(value.strip() if scheme.lower() == "bearer" else "")
    name = cookie_name(headers.get("host", ""))
    # Each cookie by itself: other applications on this host may have set one of the same name, or something that is no cookie.
    pieces = [piece for header in headers.getlist("cookie") for piece in header.split(";") if name in piece]
    return [
        *(("query", value.encode("utf-8", "surrogatepass")) for value in query),
        *(("bearer", value.encode("latin-1")) for value in bearers),
        *(("cookie", cookie.encode("latin-1", "replace")) for piece in pieces if (cookie := cookie_parser(piece).get(name))),
    ]
