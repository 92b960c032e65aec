"""The server itself: uvicorn, with bounds on what a connection may cost, and an end that waits for nobody."""

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

# Bytes that wait in the system for a slow viewer. Its own choice is megabytes, which are seconds of old pictures.
SEND_BUFFER_BYTES = 256 << 10
# Seconds that viewers have to leave when the server ends.
GOODBYE_S = 3
BACKLOG = 128
# What comes is looked at in pieces of these sizes, for so long at a time: a read may bring forty thousand messages or chunks of
# one byte, for which all others would wait a second.
LEAST_BYTES, MOST_BYTES = 4 << 10, 64 << 10
TURN_S = 0.002
# A WebSocket frame with less is no picture; all control frames have less. See `Limits.small_frames`.
SMALL_BYTES = 126
SMALL_A_SECOND = 50.0


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


class BoundedServer(Server):
    """uvicorn's server, which sends the viewers home before it ends: their streams would never end by themselves.

    Args:
        app: What answers.
        site: What is behind it.
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
        if self._site.inference is not None:
            self._site.inference.release_viewers()
        await super().shutdown(sockets)


def _bounded(protocol: type[_BoundedProtocol], limits: Limits) -> type[asyncio.Protocol]:
    """`protocol` with these limits, as a class, because uvicorn makes the instances."""
    return type(protocol.__name__, (protocol,), {"limits": limits})


class _BoundedProtocol(asyncio.Protocol):
    """What is added to both of uvicorn's protocols: nobody holds up the others, or memory, for longer than is allowed.

    What comes is taken in turns, and no more is read before it is taken. Whoever does not take what was written to it is let
    go, whatever that was. A connection is a `Peer`, which the application finds in the `state` of its scope.
    """

    limits: Limits
    transport: Any
    loop: asyncio.AbstractEventLoop
    app_state: dict[str, Any]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app_state = {**self.app_state, "peer": self}
        self._waiting = b""  # What has come and is not taken.
        self._size = LEAST_BYTES
        self._has_left = False  # To be a WebSocket.
        self._letting_go: asyncio.TimerHandle | None = None

    @property
    def has_room(self) -> bool:
        """Whether what is to be answered may come."""
        return True

    def write(self, _: list[bytes], encoded: bytes) -> None:
        """As of `Peer`."""
        self.transport.write(encoded)

    def abort(self) -> None:
        """As of `Peer`."""
        self.transport.abort()

    def connection_made(self, transport: Any) -> None:
        """The connection is there."""
        super().connection_made(_Transport(transport, self))  # type: ignore[arg-type]  # uvicorn wants no more of it.

    def data_received(self, data: bytes) -> None:
        """Something has come."""
        self._waiting += data
        if len(self._waiting) == len(data):
            self._take()

    def _take(self) -> None:
        """Hand on what has come, for one turn."""
        began = time.perf_counter()
        at = 0
        while at < len(self._waiting) and self._is_here():
            super().data_received(self._waiting[at : at + self._size])
            at += self._size
            passed = time.perf_counter() - began
            if passed >= TURN_S:
                self._size = LEAST_BYTES
                break
            self._size = min(2 * self._size, MOST_BYTES)
        if not self._is_here():
            self._waiting = b""
            return
        self._waiting = self._waiting[at:]
        if self._waiting:
            self.loop.call_soon(self._take)
        self.transport.choose()

    def _is_here(self) -> bool:
        """Whether the connection is there, and has not become a WebSocket meanwhile."""
        return not self.transport.is_closing() and not self._has_left

    def pause_writing(self) -> None:
        """More is to be sent than the system has room for."""
        super().pause_writing()
        self._letting_go = self.loop.call_later(self.limits.send_s, self.abort)
        self.transport.choose()

    def resume_writing(self) -> None:
        """It is on its way."""
        super().resume_writing()
        if self._letting_go is not None:
            self._letting_go.cancel()
        self.transport.choose()

    def is_taken(self) -> bool:
        """Whether more may be read."""
        return not self._waiting and self.has_room


class _Transport:
    """A connection that is read when uvicorn wants it and its protocol has room.

    Args:
        transport: The true one.
        protocol: Its protocol.
    """

    def __init__(self, transport: Any, protocol: _BoundedProtocol) -> None:
        self._transport: Any = transport._transport if isinstance(transport, _Transport) else transport
        self._protocol = protocol
        self._is_wanted = True
        self._transport.resume_reading()  # As HTTP, it may have been paused.
        self._is_read = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        """Of uvicorn, which has enough."""
        self._is_wanted = False
        self.choose()

    def resume_reading(self) -> None:
        """Of uvicorn, which wants more."""
        self._is_wanted = True
        self.choose()

    def choose(self) -> None:
        """Read, or do not."""
        is_read = self._is_wanted and self._protocol.is_taken()
        if is_read != self._is_read and not self._transport.is_closing():
            self._is_read = is_read
            (self._transport.resume_reading if is_read else self._transport.pause_reading)()


class _WebSocket(_BoundedProtocol, WebSocketsSansIOProtocol):
    """A WebSocket whose handshake may be refused with a status, which uvicorn 0.54 logs as an error; and whose end is one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._small = 0.0
        self._counted = time.monotonic()

    @property
    def is_ready(self) -> bool:
        return self.writable.is_set() and self.conn.state is State.OPEN and not self.transport.is_closing()

    @property
    def has_room(self) -> bool:
        return self.writable.is_set()  # Each ping is answered.

    def handle_events(self) -> None:
        now = time.monotonic()
        self._small = max(0.0, self._small - SMALL_A_SECOND * (now - self._counted))
        self._small += sum(isinstance(event, Frame) and len(event.data) < SMALL_BYTES for event in self.conn.events)
        self._counted = now
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
    """HTTP of one connection. h11 bounds the size of a request's head; this bounds its time, and how many there are.

    It is a `Peer` while an answer is under way, for more of it.
    """

    @property
    def is_ready(self) -> bool:
        return self.conn.our_state is h11.SEND_BODY and not self.flow.write_paused and not self.transport.is_closing()

    def write(self, _: list[bytes], encoded: bytes) -> None:
        self.transport.write(self.conn.send(h11.Data(data=encoded)))

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        here = (
            sum((getattr(each, "client", None) or ("",))[0] == self.client[0] for each in self.connections)
            if self.client
            else 0
        )
        if here > self.limits.connections_per_address or len(self.connections) > 2 * self.limits.connections:
            transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.loop.call_later(self.limits.head_s, self._check, self.cycle)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self._has_left = True

    def _check(self, before: Any) -> None:
        """End the connection if there is no request, nor was when this was last looked at."""
        if self._has_left:
            return
        if self.transport.is_closing():
            # Somebody who does not read the rest of an answer would keep it open.
            self.loop.call_later(self.limits.send_s, self.transport.abort)
            return
        if self.cycle is before and (self.cycle is None or self.cycle.response_complete):
            self.transport.abort()
            return
        self.loop.call_later(self.limits.head_s, self._check, self.cycle)
