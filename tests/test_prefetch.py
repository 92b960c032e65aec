from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest

from edgepose.prefetch import Ahead

LONG_S = 20.0  # More than any wait here takes; a test that waits this long has failed.


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


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
    ahead = Ahead(range(count), depth=depth)
    assert list(ahead) == list(range(count))
    assert next(ahead, None) is None
    assert ahead.dropped == 0
    ahead.close()


def test_it_runs_ahead_as_far_as_its_depth_and_no_further() -> None:
    items = Items(10)
    with Ahead(items, depth=2) as ahead:
        items.allow(10)
        assert next(ahead) == 0
        # Two wait, and one more is made and held until there is room: then the thread stands still.
        with ahead._changed:
            assert ahead._changed.wait_for(lambda: len(ahead._waiting) == 2, LONG_S)
        assert items.made <= 4
        assert list(ahead) == list(range(1, 10))


def test_errors_come_where_the_item_would_have_been() -> None:
    items = Items(2, KeyError("broken"))
    items.allow(2)
    ahead = Ahead(items)
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(KeyError, match="broken"):
        next(ahead)
    assert list(ahead) == []
    ahead.close()


def test_an_error_on_closing_is_not_lost() -> None:
    def items() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("disk full")

    ahead = Ahead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="disk full"):
        next(ahead)
    ahead.close()


def test_only_the_newest_item_waits() -> None:
    items = Items(6)
    with Ahead(items, newest=True) as ahead:
        items.allow(1)
        assert next(ahead) == 0
        assert not ahead.ready
        items.allow(4)
        with ahead._changed:
            assert ahead._changed.wait_for(lambda: ahead.dropped == 3, LONG_S)
            assert ahead._changed.wait_for(lambda: ahead.ready, LONG_S)
        assert next(ahead) == 4
        items.allow(1)
        assert next(ahead) == 5
        assert next(ahead, None) is None
    assert ahead.dropped == 3


def test_the_last_of_the_newest_is_not_lost_at_the_end() -> None:
    items = Items(3)
    items.allow(3)
    with Ahead(items, newest=True) as ahead:
        taken = list(ahead)
    assert taken[-1] == 2
    assert len(taken) + ahead.dropped == 3


@pytest.mark.parametrize("taken", [0, 1, 3, 5])
@pytest.mark.parametrize("newest", [False, True], ids=["all", "newest"])
def test_closing_at_any_time_closes_the_items_once_in_their_thread(taken: int, newest: bool) -> None:
    items = Items(5)
    ahead = Ahead(items, newest=newest)
    for _ in range(taken):
        items.allow(1)
        next(ahead)
    items.allow(5)
    ahead.close()
    ahead.close()
    assert list(ahead) == []
    (thread,) = items.closed_by
    assert (thread is threading.current_thread()) == (taken == 0)


def test_closing_wakes_a_caller_that_waits_in_another_thread() -> None:
    items = Items(5)
    ahead = Ahead(items)
    got: list[list[int]] = []
    waiter = threading.Thread(target=lambda: got.append(list(ahead)))
    waiter.start()
    items.allow(1)
    while not items.made:
        threading.Event().wait(0.001)
    closer = threading.Thread(target=ahead.close)
    closer.start()
    waiter.join(LONG_S)
    items.allow(5)
    closer.join(LONG_S)
    assert got[0] in ([], [0])


def test_endless_items_end_when_they_are_closed() -> None:
    with Ahead(itertools.count()) as ahead:
        assert list(itertools.islice(ahead, 1000)) == list(range(1000))
