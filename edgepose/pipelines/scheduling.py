"""Loops that keep the network busy: it runs on the next picture while the caller decodes and draws the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Protocol, TypeVar

from edgepose.once import Once
from edgepose.poses import Poses

_Item = TypeVar("_Item")
_Item_co = TypeVar("_Item_co", covariant=True)


class Started:
    """A picture that the network runs on, whose people can be waited for. Threads may share one.

    Args:
        finish: Waits for the network, and decodes.
        wait: Returns when the network is done, without decoding; None: `finish` alone can tell.
    """

    def __init__(self, finish: Callable[[], Poses], wait: Callable[[], object] | None = None) -> None:
        self._finish = Once(finish)
        self._wait = wait

    def wait(self) -> None:
        """Wait until the network is free for another picture."""
        if self._wait is None or self._finish.is_done:
            self.result()
        else:
            self._wait()

    def result(self) -> Poses:
        """Wait for the people, best first. Called again, it gives the same people, or raises the same error."""
        return self._finish()


class Live(Protocol[_Item_co]):
    """An iterator over items that come at their own pace, such as a camera's frames."""

    @property
    def ready(self) -> bool:
        """Whether an item is there, so that `next` returns at once."""

    def __next__(self) -> _Item_co:
        """The next item; waits for it."""


def in_order(
    items: Iterable[_Item],
    start: Callable[[list[_Item]], list[Started]],
    requests: Callable[[], int],
    together: int = 1,
) -> Iterator[tuple[_Item, Poses]]:
    """Each item with its people, in order, at the network's own rate.

    Args:
        items: What to find people in.
        start: Starts the network on some items.
        requests: How many the device runs at a time: so many are under way while the caller has the one before.
        together: How many items are started at once.
    """
    running: deque[tuple[_Item, Started]] = deque()
    rest = iter(items)
    try:
        while group := list(islice(rest, together)):
            running.extend(zip(group, start(group), strict=True))
            while len(running) > max(requests(), together):
                done, started = running.popleft()
                yield done, started.result()
        while running:
            done, started = running.popleft()
            yield done, started.result()
    finally:
        running.clear()  # After an error nobody asks for these: they must not live as long as its traceback.


def freshest(
    items: Live[_Item], start: Callable[[list[_Item]], list[Started]], requests: Callable[[], int]
) -> Iterator[tuple[_Item, Poses]]:
    """Each item with its people, in order, none older than need be.

    An item is taken only when the network is free for it, so it waits in no queue; and where none has come yet, the one
    before is decoded at once instead of after the next. Where several run at a time, though, all of them are fed first: that
    is more frames a second, and older ones. Arguments as of `in_order`.
    """
    running: deque[tuple[_Item, Started]] = deque()
    try:
        while True:
            if len(running) >= requests():
                running[0][1].wait()
            if items.ready or len(running) < requests():
                try:
                    item = next(items)
                except StopIteration:
                    break
                running.append((item, start([item])[0]))
                if len(running) <= requests():
                    continue
            done, started = running.popleft()
            yield done, started.result()
        while running:
            done, started = running.popleft()
            yield done, started.result()
    finally:
        running.clear()  # As in `in_order`.
