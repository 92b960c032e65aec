"""The server itself: uvicorn, with bounds on what a connection may cost, and an end that waits for nobody."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import h11
from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from edgepose.errors import EdgePoseError
from edgepose.server.app import Site
from edgepose.server.limits import Limits

# Bytes that wait in the system for a slow viewer. Its own choice is megabytes, which are seconds of old pictures.
SEND_BUFFER_BYTES = 256 << 10
# Seconds that viewers have to leave when the server ends.
GOODBYE_S = 3
BACKLOG = 128


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any that is free.

    Raises:
        EdgePoseError: There is no such host, or the port is taken or not allowed.
    """
    if not 0 <= port < 1 << 16:
        raise EdgePoseError(f"port is {port}; expected 0 to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EdgePoseError(f"cannot listen on {host} port {port}: {reason}; give another --host or --port") from None


def is_loopback(listening: socket.socket) -> bool:
    """Whether only programs of this machine can connect."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


class PatientServer(Server):
    """uvicorn's server, which sends the viewers home before it ends: their streams would never end by themselves.

    Args:
        app: What answers.
        site: What is behind it.
    """

    def __init__(self, app: ASGIApp, site: Site) -> None:
        super().__init__(
            Config(
                app,
                http=_bounded_protocol(site.limits),
                ws=_WebSocket,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                # Whoever asks is who connects: a header that says otherwise would get around the rates.
                proxy_headers=False,
                ws_max_size=site.limits.message_bytes,
                # Not worth its time on a local network: poses are a few kilobytes, and each viewer would cost anew.
                ws_per_message_deflate=False,
                limit_concurrency=site.limits.connections,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=GOODBYE_S,
            )
        )
        self._site = site

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End; called by uvicorn when a signal or `should_exit` says so."""
        if self._site.hub is not None:
            self._site.hub.dismiss()
        await super().shutdown(sockets)


class _WebSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose handshake may be refused with a status, which uvicorn 0.54 logs as an error; and whose end is one.

    It is a `Peer`, which the application finds in the `state` of its scope.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app_state = {**self.app_state, "peer": self}

    @property
    def is_ready(self) -> bool:
        return self.writable.is_set() and self.conn.state is State.OPEN and not self.transport.is_closing()

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def abort(self) -> None:
        self.transport.abort()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self.loop.call_later(self.close_timeout, self.transport.abort)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True


def _bounded_protocol(limits: Limits) -> type[asyncio.Protocol]:
    class BoundedProtocol(H11Protocol):
        """HTTP of one connection. h11 bounds the size of a request's head; this bounds its time, and how many there are.

        It is a `Peer`, too: while an answer is under way, for more of it.
        """

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.app_state = {**self.app_state, "peer": self}

        @property
        def is_ready(self) -> bool:
            return self.conn.our_state is h11.SEND_BODY and not self.flow.write_paused and not self.transport.is_closing()

        def write(self, data: bytes) -> None:
            self.transport.write(self.conn.send(h11.Data(data=data)))

        def abort(self) -> None:
            self.transport.abort()

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            here = (
                sum((getattr(each, "client", None) or ("",))[0] == self.client[0] for each in self.connections)
                if self.client
                else 0
            )
            if here > limits.connections_per_address or len(self.connections) > 2 * limits.connections:
                transport.abort()
                return
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self.loop.call_later(limits.head_s, self._check, self.cycle)

        def _check(self, before: object) -> None:
            """End the connection if there is no request, nor was when this was last looked at."""
            if self.transport.get_protocol() is not self:
                return  # It has become a WebSocket.
            if self.transport.is_closing():
                # Somebody who does not read the rest of an answer would keep it open.
                self.loop.call_later(limits.send_s, self.transport.abort)
                return
            if self.cycle is before and (self.cycle is None or self.cycle.response_complete):
                self.transport.abort()
                return
            self.loop.call_later(limits.head_s, self._check, self.cycle)

    return BoundedProtocol
