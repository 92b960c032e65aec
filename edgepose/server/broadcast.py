"""Those who watch: what they see is made once, and given to all of them in one go; whoever is not ready for it misses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from edgepose.server.inference import SourceInference
from edgepose.server.results import Result


class Peer(Protocol):
    """The other end of a connection, once it is to be written to."""

    @property
    def is_ready(self) -> bool:
        """Whether it is there, and what was written before is on its way."""

    def write(self, data: bytes) -> None:
        """Send `data`, which is a whole message; what cannot go out at once is kept, and goes out later."""

    def abort(self) -> None:
        """End the connection at once."""


class Broadcast:
    """Everybody who watches one thing: the poses, or the pictures.

    One task writes to all: one for each of them, woken for each message, would take twice as long.

    Args:
        inference: Whose results they see.
        kind: What the metrics call them.
        make: The messages for a result, and those since the number before it that are worth sending, as `Peer.write` takes
            them.
        rate: Results a second at most.
        patience_s: Seconds that a viewer may take for what was written to it; some time after, it is let go.
    """

    def __init__(
        self,
        inference: SourceInference,
        kind: str,
        make: Callable[[Result, int], Awaitable[list[bytes]]],
        *,
        rate: float,
        patience_s: float,
    ) -> None:
        self._inference = inference
        self._kind = kind
        self._make = make
        self._every_s = 1 / rate
        self._patience_s = patience_s
        self._written: dict[Peer, float] = {}  # Who watches -> when something was last written to it.
        self._newest = b""
        self._giving: asyncio.Task[None] | None = None

    async def watch(self, peer: Peer) -> None:
        """Let `peer` watch, from the newest message on, until the source or the server ends; cancel it when the peer goes."""
        self._written[peer] = time.monotonic()
        try:
            if self._giving is None:
                self._giving = asyncio.create_task(self._give_all())
            elif self._newest and peer.is_ready:
                peer.write(self._newest)
            giving = self._giving
            while not giving.done():
                await asyncio.wait([giving], timeout=self._patience_s)
                # Looked at from time to time, not with each message: there may be none for long.
                if not peer.is_ready and time.monotonic() - self._written[peer] >= self._patience_s:
                    peer.abort()
            giving.result()  # Raises what it ended with.
        finally:
            del self._written[peer]

    async def _give_all(self) -> None:
        """Give every message to everybody, for as long as there is anybody."""
        number = 0
        try:
            while self._written and (result := await self._inference.newer(number)) is not None:
                due = time.monotonic() + self._every_s
                # Whoever comes first sees the newest alone, too.
                messages = await self._make(result, number or result.number - 1)
                number, self._newest = result.number, messages[-1]
                self._give(messages)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            self._giving, self._newest = None, b""

    def _give(self, messages: list[bytes]) -> None:
        data = b"".join(messages)
        now = time.monotonic()
        for peer in self._written:
            if peer.is_ready:
                peer.write(data)
                self._written[peer] = now
            else:
                self._inference.metrics.skipped.labels(self._kind).inc(len(messages))
