"""One stream for many viewers: a message is made once and written to all; a viewer that is not ready for it misses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import anyio

from edgepose.server.inference import SourceInference
from edgepose.server.results import Result


class Peer(Protocol):
    """A viewer's end of a connection."""

    @property
    def is_ready(self) -> bool:
        """Whether the connection is open and has taken what was written before."""

    def write(self, messages: list[bytes], encoded: bytes) -> None:
        """Send `messages` without waiting; `encoded` is the same as bytes of the connection, with the framing around them."""

    def abort(self) -> None:
        """End the connection at once."""


class Broadcast:
    """The viewers of one stream: of the poses, or of the pictures.

    One task writes to all viewers: a task for each, woken for each message, would take twice as long.

    Args:
        inference: The source whose results are shown.
        kind: The label of these viewers in the metrics.
        make: Makes the messages for a result and for those since the number before it.
        encode: Puts the framing of the connection around a message.
        rate: Results a second at most.
        patience_s: Seconds that a viewer may take for what was written to it; after that, its connection is ended.
    """

    def __init__(
        self,
        inference: SourceInference,
        kind: str,
        make: Callable[[Result, int], Awaitable[list[bytes]]],
        encode: Callable[[bytes], bytes],
        *,
        rate: float,
        patience_s: float,
    ) -> None:
        self._inference = inference
        self._skipped = inference.metrics.skipped.labels(kind)
        self._make = make
        self._encode = encode
        self._interval_s = 1 / rate
        self._patience_s = patience_s
        self._written_at: dict[Peer, float] = {}  # For each viewer, when something was last written to it.
        self._newest: tuple[list[bytes], bytes] | None = None  # The last message, as `Peer.write` takes it.
        self._sending: asyncio.Task[None] | None = None

    async def watch(self, peer: Peer) -> None:
        """Write to `peer`, from the newest message on, until the source or server ends. Cancel it when the viewer leaves."""
        self._written_at[peer] = time.monotonic()
        try:
            if self._sending is None:
                self._sending = asyncio.create_task(self._send_to_all())
            elif self._newest and peer.is_ready:
                peer.write(*self._newest)
            sending = self._sending
            while not sending.done():
                await asyncio.wait([sending], timeout=self._patience_s)
                # Checked from time to time, not with each message: there may be no message for long.
                if not peer.is_ready and time.monotonic() - self._written_at[peer] >= self._patience_s:
                    peer.abort()
            sending.result()  # Raises the error that it ended with, if any.
        finally:
            del self._written_at[peer]

    async def _send_to_all(self) -> None:
        """Write each message to every viewer, for as long as there is a viewer."""
        number = 0
        try:
            while self._written_at and (result := await self._inference.newer(number)) is not None:
                due = time.monotonic() + self._interval_s
                # The first viewer begins with the newest result alone, as later ones do.
                messages = await self._make(result, number or result.number - 1)
                encoded = [self._encode(message) for message in messages]
                number, self._newest = result.number, (messages[-1:], encoded[-1])
                self._write(messages, b"".join(encoded))
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            self._sending, self._newest = None, None

    def _write(self, messages: list[bytes], encoded: bytes) -> None:
        now = time.monotonic()
        for peer in self._written_at:
            if peer.is_ready:
                peer.write(messages, encoded)
                self._written_at[peer] = now
            else:
                self._skipped.inc(len(messages))


class AsgiPeer:
    """A viewer behind any ASGI server: a task of its own sends the messages.

    Args:
        send: Sends one message; returns when the server has taken it.
        scope: Is cancelled to end the connection.
    """

    def __init__(self, send: Callable[[bytes], Awaitable[None]], scope: anyio.CancelScope) -> None:
        self._send = send
        self._scope = scope
        self._messages: asyncio.Queue[bytes] = asyncio.Queue()
        self._is_sending = False

    @property
    def is_ready(self) -> bool:
        return not self._is_sending

    def write(self, messages: list[bytes], _: bytes) -> None:
        self._is_sending = True
        for message in messages:
            self._messages.put_nowait(message)

    def abort(self) -> None:
        self._scope.cancel()

    async def send_all(self) -> None:
        """Send what is written, until cancelled or the client has gone."""
        with suppress(OSError):
            while True:
                await self._send(await self._messages.get())
                self._messages.task_done()
                self._is_sending = not self._messages.empty()

    async def wait_until_sent(self) -> None:
        """Wait until all that was written is sent."""
        await self._messages.join()


@asynccontextmanager
async def open_peer(scope: Any, send: Callable[[bytes], Awaitable[None]], patience_s: float) -> AsyncIterator[Peer]:
    """The peer of a connection: the one that the server has put into the ASGI scope (`uvicorn_server`), or an `AsgiPeer`.

    Args:
        scope: The scope of the connection.
        send: Sends one message by the means of ASGI.
        patience_s: Seconds that the last messages may take at the end.
    """
    direct: Peer | None = scope.get("state", {}).get("peer")
    if direct is not None:
        yield direct
        return
    async with anyio.create_task_group() as tasks:
        peer = AsgiPeer(send, tasks.cancel_scope)
        tasks.start_soon(peer.send_all)
        yield peer
        with anyio.move_on_after(patience_s):
            await peer.wait_until_sent()
        tasks.cancel_scope.cancel()
