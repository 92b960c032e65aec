"""Work in another thread: an iterator whose items are made ahead of time, and a call that can be interrupted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Prefetch(Generic[_Item]):
    """The items of an iterable, made in another thread while the caller is busy with those before, in order.

    The thread starts with the first `next`, and ends with the items, with an error or with `close`, whichever comes first.
    An error is raised where the item would have been.

    Args:
        items: The iterable. If it has a `close`, that is called at the end, in the thread that iterated.
        depth: How many items may wait; the thread pauses while that many do.
        newest: Keep only the newest item instead, and never pause: an item replaces one that still waits.
    """

    def __init__(self, items: Iterable[_Item], *, depth: int = 2, newest: bool = False) -> None:
        self.dropped = 0  # Items that a newer one replaced.
        self._items = items
        self._depth = depth
        self._newest = newest
        self._waiting: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._closed = self._ended = False
        # A daemon, so that a program that forgets to close it can still end.
        self._thread = threading.Thread(target=self._run, name="edgepose-prefetch", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether an item waits, so that `next` returns at once."""
        return bool(self._waiting)

    @property
    def has_begun(self) -> bool:
        """Whether an item was asked for, so that there is a thread, to which the iterable belongs."""
        return self._thread.ident is not None

    def close(self, patience_s: float | None = None) -> None:
        """End the thread and wait until it has; there are no more items then. Closing twice does no harm.

        Args:
            patience_s: Wait no longer than this: a thread that waits for somebody else is left to end when that wait does.
        """
        with self._changed:
            is_first, self._closed = not self._closed, True
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(patience_s)
        elif is_first:
            self._close_items()

    def __iter__(self) -> Prefetch[_Item]:
        return self

    def __next__(self) -> _Item:
        with self._changed:
            if self._thread.ident is None and not self._closed:
                self._thread.start()
            self._changed.wait_for(lambda: self._waiting or self._ended or self._closed)
            if self._waiting:
                item = self._waiting.popleft()
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def __enter__(self) -> Prefetch[_Item]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        try:
            try:
                for item in self._items:
                    if not self._put(item):
                        break
            finally:
                self._close_items()
        except BaseException as error:  # Of any kind: the caller gets it.
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, item: _Item) -> bool:
        """Let an item wait for the caller; False once the caller has closed this iterator."""
        with self._changed:
            if self._newest:
                self.dropped += len(self._waiting)
                self._waiting.clear()
            self._changed.wait_for(lambda: len(self._waiting) < self._depth or self._closed)
            if not self._closed:
                self._waiting.append(item)
                self._changed.notify_all()
            return not self._closed

    def _close_items(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            close()


def interruptible(call: Callable[[], _Item]) -> _Item:
    """The result of `call`, which runs in a thread of its own, so that a signal is heard while it blocks.

    Where the wait for it is interrupted, the thread is left to end by itself, and a result that it still brings is closed if it
    has a `close`.
    """
    results: list[_Item] = []
    errors: list[BaseException] = []
    lock = threading.Lock()
    is_wanted = True

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # Of any kind: the caller gets it.
            errors.append(error)
            return
        with lock:
            if is_wanted:
                results.append(result)
                return
        close = getattr(result, "close", None)
        if close is not None:
            close()

    thread = threading.Thread(target=run, name="edgepose-call", daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:
        with lock:
            is_wanted = False
            if not results:
                raise
        close = getattr(results[0], "close", None)
        if close is not None:
            close()
        raise
    if errors:
        raise errors[0]
    return results[0]
