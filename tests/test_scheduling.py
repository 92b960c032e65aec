"""Overlap in a world of its own time: a network that takes a while, a caller that does, and frames that come when they like."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from edgepose.pipelines.scheduling import Started, freshest, in_order
from edgepose.poses import Poses
from edgepose.skeleton import OPENPOSE18


def person(number: int) -> Poses:
    """A result that tells its frame by its place."""
    keypoints = np.full((1, 18, 2), number, np.float32)
    return Poses(keypoints, np.ones((1, 18), np.float32), np.ones(1, np.float32), OPENPOSE18)


class World:
    """A clock, in milliseconds, and a device that runs `requests` pictures at a time, each for `network`."""

    def __init__(self, *, network: float, decode: float = 0, interval: float = 0, count: int = 100, requests: int = 1) -> None:
        self.now = 0.0
        self.network, self.decode, self.interval, self.count = network, decode, interval, count
        self.busy_until = [0.0] * requests
        self.given = -1
        self.most_running = self.running = 0

    def start(self, items: list[int]) -> list[Started]:
        return [self._start(item) for item in items]

    def _start(self, item: int) -> Started:
        slot = min(range(len(self.busy_until)), key=self.busy_until.__getitem__)
        end = self.busy_until[slot] = max(self.now, self.busy_until[slot]) + self.network
        self.running += 1
        self.most_running = max(self.most_running, self.running)

        def wait() -> None:
            self.now = max(self.now, end)

        def finish() -> Poses:
            wait()
            self.now += self.decode
            self.running -= 1
            return person(item)

        return Started(finish, wait)

    # As a live source, whose frame n comes at n intervals, and which keeps only the newest.
    @property
    def newest(self) -> int:
        return min(int(self.now / self.interval + 1e-9), self.count - 1)

    @property
    def ready(self) -> bool:
        return self.newest > self.given

    def __next__(self) -> int:
        if self.given == self.count - 1:
            raise StopIteration
        self.now = max(self.now, (self.given + 1) * self.interval)
        self.given = self.newest
        return self.given


@pytest.mark.parametrize("requests", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_every_item_in_order_with_its_own_people(count: int, requests: int) -> None:
    world = World(network=10, requests=requests)
    results = list(in_order(range(count), world.start, lambda: requests))
    assert [item for item, _ in results] == list(range(count))
    assert all(poses.keypoints[0, 0, 0] == item for item, poses in results)
    assert world.most_running <= requests + 1


@pytest.mark.parametrize("count", [0, 3, 4, 10])
def test_items_that_are_started_together(count: int) -> None:
    world, groups = World(network=10), []

    def start(items: list[int]) -> list[Started]:
        groups.append(items)
        return world.start(items)

    results = list(in_order(range(count), start, lambda: 1, together=4))
    assert [item for item, _ in results] == list(range(count))
    assert groups == [list(range(count))[first : first + 4] for first in range(0, count, 4)]
    assert world.most_running <= 8


def test_decoding_and_the_caller_take_no_time_of_the_network() -> None:
    world = World(network=10, decode=3)
    for _ in in_order(range(100), world.start, lambda: 1):
        world.now += 6  # The caller draws.
    assert world.now == pytest.approx(100 * 10 + 3 + 6)


def test_a_device_that_runs_four_at_a_time_is_kept_busy() -> None:
    world = World(network=40, decode=3, requests=4)
    for _ in in_order(range(100), world.start, lambda: 4):
        world.now += 5
    assert world.now <= 100 * 10 + 2 * (40 + 8)


def test_leaving_early_takes_no_more_items() -> None:
    world, items = World(network=10), itertools.count()
    results = in_order(items, world.start, lambda: 1)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert next(items) == 2


def shown(world: World, draw: float, requests: int = 1) -> Iterator[tuple[int, float]]:
    """Each frame shown, and its age when it is."""
    for item, poses in freshest(world, world.start, lambda: requests):
        assert poses.keypoints[0, 0, 0] == item
        world.now += draw
        yield item, world.now - item * world.interval


@pytest.mark.parametrize("network", [4, 16, 17, 50, 170])
def test_a_live_frame_is_no_older_than_an_interval_and_its_processing(network: float) -> None:
    world = World(network=network, decode=3, interval=1000 / 60, count=600)
    frames = list(shown(world, draw=2))
    items = [item for item, _ in frames]
    assert items == sorted(set(items))
    assert items[-1] == 599
    # The very last stays the newest for as long as it is not taken.
    assert max(age for _, age in frames[:-1]) <= 1000 / 60 + network + 3 + 2


def test_a_slow_camera_does_not_hold_back_what_was_found() -> None:
    # The next frame is far away: the one at hand is decoded first.
    world = World(network=5, decode=3, interval=100, count=20)
    assert [age for _, age in shown(world, draw=2)] == pytest.approx([10] * 20)


def test_a_live_source_faster_than_the_network_keeps_it_busy() -> None:
    world = World(network=50, decode=3, interval=10, count=501)
    frames = list(shown(world, draw=5))
    assert world.now / len(frames) == pytest.approx(50, rel=0.02)


def test_a_live_source_on_a_device_that_runs_several() -> None:
    world = World(network=90, decode=1, interval=30, count=300, requests=3)
    frames = list(shown(world, draw=1, requests=3))
    assert len(frames) >= 290
    assert max(age for _, age in frames) <= 30 + 90 + 2 + 30
    assert len(list(shown(World(network=90, decode=1, interval=30, count=300), draw=1))) <= 102


def test_a_live_source_without_frames() -> None:
    assert list(freshest(World(network=5, interval=1, count=0), World(network=5).start, lambda: 1)) == []


def test_started_decodes_once_and_waiting_may_mean_decoding() -> None:
    calls: list[str] = []
    result = person(1)

    def finish() -> Poses:
        calls.append("finish")
        return result

    alone = Started(finish)
    alone.wait()
    assert calls == ["finish"]
    assert alone.result() is result
    assert alone.result() is result
    assert calls == ["finish"]
    told = Started(finish, lambda: calls.append("wait"))
    told.wait()
    assert calls == ["finish", "wait"]


@pytest.mark.parametrize("error", [ValueError("broken"), RuntimeError("broken")])
def test_started_raises_the_same_error_whenever_it_is_asked(error: Exception) -> None:
    calls: list[int] = []

    def finish() -> Poses:
        calls.append(1)
        raise error

    started = Started(finish)
    for ask in (started.result, started.wait, started.result):
        with pytest.raises(type(error), match="broken"):
            ask()
    assert calls == [1]


def test_threads_may_share_what_was_started() -> None:
    calls: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def finish() -> Poses:
        calls.append(1)
        begun.set()
        assert go_on.wait(20)
        return person(1)

    started, got = Started(finish), []
    threads = [threading.Thread(target=lambda: got.append(started.result())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    go_on.set()
    for thread in threads:
        thread.join()
    assert calls == [1]
    assert len({id(poses) for poses in got}) == 1
    assert len(got) == 4


class Numbers:
    """A live source of numbers that are all there already."""

    ready = True

    def __init__(self, count: int) -> None:
        self._numbers = iter(range(count))

    def __next__(self) -> int:
        return next(self._numbers)


@pytest.mark.parametrize("live", [False, True], ids=["in order", "freshest"])
@pytest.mark.parametrize("fails", [0, 3, 9])
def test_an_error_lets_go_of_what_was_started_after_it(fails: int, live: bool) -> None:
    alive: dict[int, weakref.ref[Started]] = {}

    def start(items: list[int]) -> list[Started]:
        group = [Started(partial(finish, item)) for item in items]
        alive.update(zip(items, map(weakref.ref, group), strict=True))
        return group

    def finish(item: int) -> Poses:
        if item == fails:
            raise ValueError("broken")
        return person(item)

    results = freshest(Numbers(10), start, lambda: 4) if live else in_order(range(10), start, lambda: 4)
    with pytest.raises(ValueError, match="broken") as caught:
        for _ in results:
            pass
    assert caught.traceback  # It is still there, and knows much.
    assert [item for item, started in alive.items() if item > fails and started() is not None] == []
