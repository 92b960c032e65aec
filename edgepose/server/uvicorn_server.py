"""The application on uvicorn, with limits for each connection. Only this file knows uvicorn, and what is inside of it.

The limits lie below the application: the time of a request's head, connections and small WebSocket frames, the turns in which
data is handled, and clients that do not read. Another ASGI server has to bring such limits of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from typing import Any

import h11
from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.protocol import State

from edgepose.errors import EdgePoseError
from edgepose.server.app import Site
from edgepose.server.limits import Limits

# Bytes that the system keeps for a slow viewer. By default it keeps megabytes, which are seconds of old pictures.
SEND_BUFFER_BYTES = 256 << 10
# Seconds that viewers have to leave when the server ends.
GOODBYE_S = 3
BACKLOG = 128
# Data is handled in pieces of these sizes, and for so long at a time. One read may bring forty thousand messages or chunks of
# one byte, which would keep all other clients waiting for a second.
LEAST_BYTES, MOST_BYTES = 4 << 10, 64 << 10
TURN_S = 0.002
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
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EdgePoseError(f"cannot listen on {host} port {port}: {reason}; give another --host or --port") from None


def is_loopback(listening: socket.socket) -> bool:
    """Whether only programs of this machine can connect."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


class BoundedServer(Server):
    """uvicorn's server with the limits of `site`. It ends the viewers' streams before it ends, as they never end by themselves.

    Args:
        app: The application.
        site: The answers of the application.
    """

    def __init__(self, app: ASGIApp, site: Site) -> None:
        super().__init__(
            Config(
                app,
                http=_bounded(_Http, site.limits),
                ws=_bounded(_WebSocket, site.limits),
                lifespan="on",
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
                timeout_graceful_shutdown=GOODBYE_S,
            )
        )
        self._site = site

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the server; uvicorn calls this after a signal, or when `should_exit` is set."""
        if self._site.inference is not None:
            self._site.inference.release_viewers()
        await super().shutdown(sockets)


def _bounded(protocol: type[_BoundedProtocol], limits: Limits) -> type[asyncio.Protocol]:
    """A subclass of `protocol` with these limits: uvicorn wants a class, of which it makes the instances."""
    return type(protocol.__name__, (protocol,), {"limits": limits})


class _BoundedProtocol(asyncio.Protocol):
    """The limits that both of uvicorn's protocols need, so that no client can hold up the others or fill the memory.

    Data is handled in turns, and no more is read until it is handled. A client that does not read what was written to it is
    disconnected after `Limits.send_s`. The connection is a `Peer`, which the application finds in the state of its scope.
    """

    limits: Limits
    transport: Any
    loop: asyncio.AbstractEventLoop
    app_state: dict[str, Any]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app_state = {**self.app_state, "peer": self}
        self._unhandled = b""  # Data that was read.
        self._size = LEAST_BYTES
        self._is_upgraded = False  # From HTTP to a WebSocket, which has a protocol of its own.
        self._aborting: asyncio.TimerHandle | None = None

    @property
    def has_room(self) -> bool:
        """Whether the client reads: if not, no more is read from it that would have to be answered."""
        return True

    def write(self, _: list[bytes], encoded: bytes) -> None:
        """Send, as `Peer.write` says."""
        self.transport.write(encoded)

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def connection_made(self, transport: Any) -> None:
        """Begin; called by asyncio."""
        super().connection_made(_Transport(transport, self))  # type: ignore[arg-type]  # uvicorn wants no more of it.

    def data_received(self, data: bytes) -> None:
        """Handle data, or keep it until the data before it is handled; called by asyncio."""
        self._unhandled += data
        if len(self._unhandled) == len(data):
            self._handle()

    def _handle(self) -> None:
        """Handle data for one turn."""
        began = time.perf_counter()
        at = 0
        while at < len(self._unhandled) and self._is_open():
            super().data_received(self._unhandled[at : at + self._size])
            at += self._size
            passed = time.perf_counter() - began
            if passed >= TURN_S:
                self._size = LEAST_BYTES
                break
            self._size = min(2 * self._size, MOST_BYTES)
        if not self._is_open():
            self._unhandled = b""
            return
        self._unhandled = self._unhandled[at:]
        if self._unhandled:
            self.loop.call_soon(self._handle)
        self.transport.update()

    def _is_open(self) -> bool:
        """Whether the connection is open, and still of this protocol."""
        return not self.transport.is_closing() and not self._is_upgraded

    def pause_writing(self) -> None:
        """Note that the system has no room for more; called by asyncio."""
        super().pause_writing()
        self._aborting = self.loop.call_later(self.limits.send_s, self.abort)
        self.transport.update()

    def resume_writing(self) -> None:
        """Note that the system has room again; called by asyncio."""
        super().resume_writing()
        if self._aborting is not None:
            self._aborting.cancel()
        self.transport.update()

    def may_read(self) -> bool:
        """Whether more may be read from the client."""
        return not self._unhandled and self.has_room


class _Transport:
    """A transport that reads only when uvicorn wants to read and `_BoundedProtocol.may_read`.

    Args:
        transport: The transport of asyncio, or such a one of the protocol before.
        protocol: The protocol of the connection.
    """

    def __init__(self, transport: Any, protocol: _BoundedProtocol) -> None:
        self._transport: Any = transport._transport if isinstance(transport, _Transport) else transport
        self._protocol = protocol
        self._is_wanted = True
        self._transport.resume_reading()  # It may have been paused by the HTTP protocol, before it became a WebSocket.
        self._is_reading = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        """Note that uvicorn does not want to read."""
        self._is_wanted = False
        self.update()

    def resume_reading(self) -> None:
        """Note that uvicorn wants to read."""
        self._is_wanted = True
        self.update()

    def update(self) -> None:
        """Begin or cease to read."""
        is_reading = self._is_wanted and self._protocol.may_read()
        if is_reading != self._is_reading and not self._transport.is_closing():
            self._is_reading = is_reading
            (self._transport.resume_reading if is_reading else self._transport.pause_reading)()


class _WebSocket(_BoundedProtocol, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket with the limits. A refused handshake is not logged as an error, and the end closes the connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._small = 0.0  # Small frames, less those that the rate allows.
        self._counted_at = time.monotonic()

    @property
    def is_ready(self) -> bool:
        return self.writable.is_set() and self.conn.state is State.OPEN and not self.transport.is_closing()

    @property
    def has_room(self) -> bool:
        return self.writable.is_set()  # Each ping is answered, with as many bytes.

    def handle_events(self) -> None:
        now = time.monotonic()
        self._small = max(0.0, self._small - SMALL_A_SECOND * (now - self._counted_at))
        self._small += sum(isinstance(event, Frame) and len(event.data) < SMALL_BYTES for event in self.conn.events)
        self._counted_at = now
        if self._small > self.limits.small_frames:
            self.abort()
            return
        super().handle_events()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self.loop.call_later(self.close_timeout, self.transport.abort)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True


class _Http(_BoundedProtocol, H11Protocol):
    """uvicorn's HTTP with the limits. h11 limits the size of a request's head; this limits its time, and the connections.

    It is a `Peer` between the head and the end of an answer, for the body.
    """

    @property
    def is_ready(self) -> bool:
        return self.conn.our_state is h11.SEND_BODY and not self.flow.write_paused and not self.transport.is_closing()

    def write(self, _: list[bytes], encoded: bytes) -> None:
        self.transport.write(self.conn.send(h11.Data(data=encoded)))

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        host = self.client[0] if self.client else None
        count = sum(host is not None and (getattr(each, "client", None) or [""])[0] == host for each in self.connections)
        if count > self.limits.connections_per_address or len(self.connections) > 2 * self.limits.connections:
            transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.loop.call_later(self.limits.head_s, self._check_head, self.cycle)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self._is_upgraded = True

    def _check_head(self, before: Any) -> None:
        """End the connection if no request has come since the last check, when `before` was the newest."""
        if self._is_upgraded:
            return
        if self.transport.is_closing():
            # A client that does not read the rest of an answer would keep it open.
            self.loop.call_later(self.limits.send_s, self.transport.abort)
            return
        if self.cycle is before and (self.cycle is None or self.cycle.response_complete):
            self.transport.abort()
            return
        self.loop.call_later(self.limits.head_s, self._check_head, self.cycle)
