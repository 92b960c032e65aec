from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Iterator

import pytest

from edgepose.prefetch import Prefetch, interruptible

LONG_S = 20.0  # More than any wait here takes; a test that waits this long has failed.


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [thread for thread in threading.enumerate() if thread not in before] == []


class Items:
    """Numbers that are let through one by one, and what became of them."""

    def __init__(self, count: int, error: BaseException | None = None) -> None:
        self.count, self.error = count, error
        self.allowed = threading.Semaphore(0)
        self.made = 0
        self.closed_by: list[threading.Thread] = []

    def allow(self, count: int) -> None:
        self.allowed.release(count)

    def __iter__(self) -> Iterator[int]:
        for number in range(self.count):
            assert self.allowed.acquire(timeout=LONG_S)
            self.made += 1
            yield number
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed_by.append(threading.current_thread())


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_all_items_in_order(count: int, depth: int) -> None:
    prefetch = Prefetch(range(count), depth=depth)
    assert list(prefetch) == list(range(count))
    assert next(prefetch, None) is None
    assert prefetch.dropped == 0
    prefetch.close()


def test_it_runs_ahead_as_far_as_its_depth_and_no_further() -> None:
    items = Items(10)
    with Prefetch(items, depth=2) as prefetch:
        items.allow(10)
        assert next(prefetch) == 0
        # Two wait, and one more is made and held until there is room: then the thread stands still.
        with prefetch._changed:
            assert prefetch._changed.wait_for(lambda: len(prefetch._waiting) == 2, LONG_S)
        assert items.made <= 4
        assert list(prefetch) == list(range(1, 10))


def test_errors_come_where_the_item_would_have_been() -> None:
    items = Items(2, KeyError("broken"))
    items.allow(2)
    prefetch = Prefetch(items)
    assert [next(prefetch), next(prefetch)] == [0, 1]
    with pytest.raises(KeyError, match="broken"):
        next(prefetch)
    assert list(prefetch) == []
    prefetch.close()


def test_an_error_on_closing_is_not_lost() -> None:
    def items() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("disk full")

    prefetch = Prefetch(items())
    assert next(prefetch) == 1
    with pytest.raises(OSError, match="disk full"):
        next(prefetch)
    prefetch.close()


def test_only_the_newest_item_waits() -> None:
    items = Items(6)
    with Prefetch(items, newest=True) as prefetch:
        items.allow(1)
        assert next(prefetch) == 0
        assert not prefetch.ready
        items.allow(4)
        with prefetch._changed:
            assert prefetch._changed.wait_for(lambda: prefetch.dropped == 3, LONG_S)
            assert prefetch._changed.wait_for(lambda: prefetch.ready, LONG_S)
        assert next(prefetch) == 4
        items.allow(1)
        assert next(prefetch) == 5
        assert next(prefetch, None) is None
    assert prefetch.dropped == 3


def test_the_last_of_the_newest_is_not_lost_at_the_end() -> None:
    items = Items(3)
    items.allow(3)
    with Prefetch(items, newest=True) as prefetch:
        taken = list(prefetch)
    assert taken[-1] == 2
    assert len(taken) + prefetch.dropped == 3


@pytest.mark.parametrize("taken", [0, 1, 3, 5])
@pytest.mark.parametrize("newest", [False, True], ids=["all", "newest"])
def test_closing_at_any_time_closes_the_items_once_in_their_thread(taken: int, newest: bool) -> None:
    items = Items(5)
    prefetch = Prefetch(items, newest=newest)
    for _ in range(taken):
        items.allow(1)
        next(prefetch)
    items.allow(5)
    prefetch.close()
    prefetch.close()
    assert list(prefetch) == []
    (thread,) = items.closed_by
    assert (thread is threading.current_thread()) == (taken == 0)


def test_closing_wakes_a_caller_that_waits_in_another_thread() -> None:
    items = Items(5)
    prefetch = Prefetch(items)
    got: list[list[int]] = []
    waiter = threading.Thread(target=lambda: got.append(list(prefetch)))
    waiter.start()
    items.allow(1)
    while not items.made:
        threading.Event().wait(0.001)
    closer = threading.Thread(target=prefetch.close)
    closer.start()
    waiter.join(LONG_S)
    items.allow(5)
    closer.join(LONG_S)
    assert got[0] in ([], [0])


def test_endless_items_end_when_they_are_closed() -> None:
    with Prefetch(itertools.count()) as prefetch:
        assert list(itertools.islice(prefetch, 1000)) == list(range(1000))


def test_a_thread_that_waits_is_left_to_end_by_itself() -> None:
    goes_on = threading.Event()
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield 1
            assert goes_on.wait(LONG_S)
            yield 2
        finally:
            ended.set()

    prefetch = Prefetch(items())
    assert not prefetch.has_begun
    assert next(prefetch) == 1
    assert prefetch.has_begun
    prefetch.close(0.05)
    assert list(prefetch) == []
    assert not ended.is_set()
    goes_on.set()
    assert ended.wait(LONG_S)
    prefetch.close()


def test_what_is_called_answers_and_fails_as_ever() -> None:
    assert interruptible(lambda: 5) == 5
    with pytest.raises(KeyError, match="missing"):
        interruptible(lambda: {"here": 1}["missing"])


class Opened:
    """Something that takes long to open."""

    def __init__(self) -> None:
        self.started, self.goes_on, self.closed = threading.Event(), threading.Event(), threading.Event()

    def open(self) -> Opened:
        self.started.set()
        assert self.goes_on.wait(LONG_S)
        return self

    def close(self) -> None:
        self.closed.set()


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread")
def test_what_comes_after_an_interruption_is_closed() -> None:
    opened = Opened()

    def interrupt() -> None:
        assert opened.started.wait(LONG_S)
        signal.raise_signal(signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        interruptible(opened.open)
    interrupter.join()
    assert not opened.closed.is_set()
    opened.goes_on.set()
    assert opened.closed.wait(LONG_S)
    for thread in threading.enumerate():
        if thread.name == "edgepose-call":
            thread.join()
