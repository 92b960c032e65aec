"""The application on uvicorn, with limits for each connection. Only this file knows uvicorn, and what is inside of it.

The limits lie below the application: the time of a request's head, connections and small WebSocket frames, how much is read at
a time and how much waits to be sent, and clients that do not read. Another ASGI server has to bring such limits of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
import time
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from edgepose.errors import EdgePoseError
from edgepose.server.app import Site
from edgepose.server.limits import Limits

# What the system keeps for a slow viewer is old when it gets there. By default that is megabytes, which are seconds; now it is
# 64 KB, twice what is asked for, of which next to nothing may be unsent.
BUFFERS = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 << 10)]
if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux and macOS.
    BUFFERS.append((socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 4 << 10))
# Seconds that clients have to leave when the server ends.
GOODBYE_S = 0.6
# Bytes that are read from a client before others have their turn. asyncio's own 256 KiB may bring forty thousand messages or
# chunks of one byte, which would keep all other clients waiting for a second.
READ_BYTES = 4 << 10
# A WebSocket frame with fewer bytes is no picture; all control frames have fewer. See `Limits.small_frames`.
SMALL_BYTES = 126
SMALL_A_SECOND = 50.0


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at `host` and `port`; port 0 stands for any free one.

    Raises:
        EdgePoseError: The host is unknown, or the port is in use or not allowed.
    """
    if not 0 <= port < 1 << 16:
        raise EdgePoseError(f"port is {port}; expected 0 to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EdgePoseError(f"cannot listen on {host} port {port}: {reason}; give another --host or --port") from None


def is_loopback(listening: socket.socket) -> bool:
    """Whether only programs of this machine can connect."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


class BoundedServer(Server):
    """uvicorn's server with the limits of `site`. It ends viewers' streams at its end, which never end by themselves."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        super().__init__(
            Config(
                app,
                http=type("Http", (_Http,), {"limits": site.limits}),  # uvicorn makes the instances.
                ws=type("WebSocket", (_WebSocket,), {"limits": site.limits}),
                lifespan="on",
                loop="asyncio",  # Of which `READ_BYTES` can be asked.
                log_config=None,
                access_log=False,
                server_header=False,
                # Clients are counted by the address that they connect from: a header that names another would evade the rates.
                proxy_headers=False,
                ws_max_size=site.limits.message_bytes,
                # Not worth its time on a local network: poses are a few kilobytes, and would be compressed for each viewer.
                ws_per_message_deflate=False,
                limit_concurrency=site.limits.connections,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=math.ceil(2 * GOODBYE_S),
            )
        )
        self._site = site

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the server; uvicorn calls this after a signal, or when `should_exit` is set."""
        self._site.end()
        asyncio.get_running_loop().call_later(GOODBYE_S, self._abort_all)
        await super().shutdown(sockets)

    def _abort_all(self) -> None:
        for connection in [*self.server_state.connections]:
            connection.transport.abort()


class _BoundedProtocol(asyncio.Protocol):
    """The limits that both of uvicorn's protocols need, so that no client can hold up the others or fill the memory.

    Little is read at a time. A client that does not read what was written to it is disconnected after `Limits.send_s`.
    """

    limits: Limits
    transport: Any
    loop: asyncio.AbstractEventLoop
    _aborting: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._aborting = self.loop.call_later(self.limits.send_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._aborting is not None:
            self._aborting.cancel()


class _WebSocket(_BoundedProtocol, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket with the limits. A refused handshake is not logged as an error, and the end closes the connection."""

    _small = _counted_at = 0.0  # Small frames, less those that the rate allows until they were counted.

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.resume_reading()  # The HTTP protocol may have paused it.

    def handle_events(self) -> None:
        now = time.monotonic()
        self._small = max(0.0, self._small - SMALL_A_SECOND * (now - self._counted_at))
        self._small += sum(isinstance(event, Frame) and len(event.data) < SMALL_BYTES for event in self.conn.events)
        self._counted_at = now
        if self._small > self.limits.small_frames:
            self.transport.abort()
            return
        super().handle_events()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self.loop.call_later(self.close_timeout, self.transport.abort)

    async def send(self, message: Any) -> None:
        await super().send(message)
        await self.writable.wait()  # So that a viewer gets the newest message when it is ready for one, and no older one.
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True


class _Http(_BoundedProtocol, H11Protocol):
    """uvicorn's HTTP with the limits. h11 limits the size of a request's head; this limits its time, and the connections."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        host = self.client[0] if self.client else None
        count = sum(host is not None and (getattr(each, "client", None) or [""])[0] == host for each in self.connections)
        if count > self.limits.connections_per_address or len(self.connections) > 2 * self.limits.connections:
            transport.abort()
            return
        for level, option, value in BUFFERS:
            transport.get_extra_info("socket").setsockopt(level, option, value)
        transport.set_write_buffer_limits(0)
        transport.max_size = READ_BYTES
        self.loop.call_later(self.limits.head_s, self._check_head, self.cycle)

    def _check_head(self, before: Any) -> None:
        """End the connection if no request has come since the last check, when `before` was the newest."""
        if self not in self.connections:  # It has ended, or become a WebSocket, which has a protocol of its own.
            return
        if self.transport.is_closing():  # A client that does not read the rest of an answer would keep it open.
            self.loop.call_later(self.limits.send_s, self.transport.abort)
        elif self.cycle is before and (self.cycle is None or self.cycle.response_complete):
            self.transport.abort()
        else:
            self.loop.call_later(self.limits.head_s, self._check_head, self.cycle)
