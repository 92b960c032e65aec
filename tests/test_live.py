"""Sources that read ahead: what is live keeps the newest frame, goes away, and comes back."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pictures import video_frame, write_video

from edgepose.errors import SourceError
from edgepose.media import live
from edgepose.media.frames import Frame, Pulse, Source
from edgepose.media.live import read_ahead
from edgepose.media.sources import open_source


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [thread for thread in threading.enumerate() if thread not in before] == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSES_S", (0.01, 0.02, 0.04, 0.05, 0.05))


class Camera:
    """A live source that the test drives: frames come when it says so, and it can go away."""

    def __init__(self, *lives: int, dead_tries: int = 0) -> None:
        self.lives = iter(lives)  # How many frames come before it goes away, each time that it is opened.
        self.dead_tries = dead_tries
        self.opened = self.closed = 0
        self.paces: list[float] = []
        self.go_on = threading.Event()  # The second frame waits for it.
        self.go_on.set()

    def open(self) -> Source:
        if self.opened and self.dead_tries:
            self.dead_tries -= 1
            raise SourceError("camera 0 cannot be opened")
        count = next(self.lives, None)
        if count is None:
            raise SourceError("camera 0 cannot be opened")
        self.opened += 1
        return Source("camera 0", "camera", self._frames(count), is_live=True, release=self._close)

    def _frames(self, count: int) -> Iterator[Frame]:
        if count < 0:
            raise SourceError("camera 0: no frame of it can be decoded")
        for index in range(count):
            if index == 1:
                assert self.go_on.wait(20)
            yield Frame(video_frame(index, 32, 48), index, 0.0, "camera 0")

    def _close(self) -> None:
        self.closed += 1


def numbers(frames: list[Frame]) -> list[int]:
    return [frame.index for frame in frames]


def test_a_camera_that_comes_back_goes_on_counting(impatient: None, caplog: pytest.LogCaptureFixture) -> None:
    camera = Camera(5, 3, dead_tries=2)
    with pytest.raises(SourceError, match=r"camera 0: went away and did not come back in 0\.17 s; the last try: .*cannot be"):
        list(source := read_ahead(camera.open(), camera.open))
    assert source.dropped <= 8
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "camera 0: gone (no more frames come); it is opened again in 0.01 s",
        "camera 0: back after 3 tries",
        "camera 0: gone (no more frames come); it is opened again in 0.01 s",
    ]
    source.close()
    assert camera.opened == 2
    assert camera.closed >= 2


def test_frames_of_all_lives_are_numbered_and_timed_as_one(impatient: None) -> None:
    camera = Camera(4, 4, 4)
    frames: list[Frame] = []
    with pytest.raises(SourceError):
        frames.extend(live.endless(camera.open(), camera.open, threading.Event()))  # Keeps those before the error.
    assert numbers(frames) == list(range(12))
    assert frames[0].timestamp == 0
    assert all(a.timestamp <= b.timestamp for a, b in itertools.pairwise(frames))


def test_a_camera_that_opens_but_gives_nothing_is_given_up_too(impatient: None) -> None:
    camera = Camera(2, *[0, -1] * 50)
    with pytest.raises(SourceError, match="did not come back"), read_ahead(camera.open(), camera.open) as source:
        list(source)
    assert camera.opened == 1 + len(live.PAUSES_S)


def test_a_camera_that_never_gave_a_frame_says_so_at_once() -> None:
    camera = Camera(-1)
    with (
        pytest.raises(SourceError, match="no frame of it can be decoded"),
        read_ahead(camera.open(), camera.open) as source,
    ):
        list(source)


def test_pauses_grow_and_have_a_limit() -> None:
    assert list(live.PAUSES_S) == sorted(live.PAUSES_S)
    assert sum(live.PAUSES_S) < 90


@pytest.mark.parametrize("taken", [0, 1])
def test_closing_ends_a_wait_for_a_camera_to_come_back(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSES_S", (1000.0,))
    camera = Camera(1)
    with read_ahead(camera.open(), camera.open) as source:
        for _ in range(taken):
            next(source)
    assert camera.closed >= 1


def test_only_the_newest_frame_is_kept_and_the_rest_counted() -> None:
    camera = Camera(50)
    camera.go_on.clear()
    gone = threading.Event()

    def reopen() -> Source:
        gone.set()
        raise SourceError("camera 0 cannot be opened")

    with read_ahead(camera.open(), reopen) as source:
        first = next(source)
        camera.go_on.set()
        assert gone.wait(20)  # By then all frames have come.
        last = next(source)
        assert last.index == 49
        assert first.index == 0
        assert source.dropped == 50 - 2
        assert not source.ready
    assert list(source) == []


def test_max_frames_counts_what_is_taken_not_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(10**9)  # however late the test gets to run, there are more
    monkeypatch.setattr("edgepose.media.sources.open_camera", lambda *_: camera.open())
    with open_source(0, max_frames=3) as source:
        assert source.total == 3
        assert len(list(source)) == 3
    assert camera.closed >= 1


@pytest.mark.parametrize("taken", [0, 1, 5, 30])
def test_a_video_read_ahead_is_the_same_and_closes_at_any_frame(tmp_path: Path, taken: int) -> None:
    path = write_video(tmp_path / "clip.avi", 30)
    with open_source(path) as source, open_source(path, read_ahead=False) as plain:
        for ahead, frame in itertools.islice(zip(source, plain, strict=True), taken):
            assert (ahead.index, ahead.timestamp) == (frame.index, frame.timestamp)
            assert (ahead.image == frame.image).all()
        assert source.dropped == 0
    assert list(source) == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that `Pulse` sees, to be set."""
    now = [100.0]
    monkeypatch.setattr("edgepose.media.frames.time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: 1e9 + now[0]))
    return now


def test_silence_means_that_a_source_is_gone(clock: list[float]) -> None:
    pulse = Pulse()
    assert pulse.gone_since is None
    for _ in range(100):
        clock[0] += 0.04
        pulse.came()
    last = 1e9 + clock[0]
    clock[0] += 1.9
    assert pulse.gone_since is None
    clock[0] += 0.2
    assert pulse.gone_since == last
    pulse.came()
    assert pulse.gone_since is None


def test_a_source_that_is_slow_or_comes_in_bursts_is_not_gone(clock: list[float]) -> None:
    pulse = Pulse()
    for _ in range(5):
        clock[0] += 6
        for _ in range(150):
            clock[0] += 0.001
            pulse.came()
    clock[0] += 8
    assert pulse.gone_since is None
    clock[0] += 30
    assert pulse.gone_since is not None


def test_a_source_whose_connection_breaks_is_gone_at_once(clock: list[float]) -> None:
    pulse = Pulse()
    pulse.came()
    pulse.lost()
    clock[0] += 0.1
    assert pulse.gone_since == 1e9 + 100
    clock[0] += 60
    pulse.came()  # The time without it is no interval of its own.
    clock[0] += 2.1
    assert pulse.gone_since is not None


def test_a_camera_tells_when_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSES_S", (1000.0,))
    camera = Camera(3)
    with read_ahead(camera.open(), camera.open) as source:
        assert source.gone_since is None
        next(source)
        deadline = time.monotonic() + 20
        while source.gone_since is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert source.gone_since == pytest.approx(time.time(), abs=30)
        assert replace(source, frames=iter(())).gone_since == source.gone_since


def test_each_third_frame_of_all_lives(impatient: None) -> None:
    """What is passed over keeps its number."""
    frames: list[Frame] = []

    def life() -> Source:
        every_third = [frame for frame in Camera(7).open() if frame.index % 3 == 0]
        return Source("camera 0", "camera", iter(every_third), is_live=True)

    lives = itertools.chain([life()])
    with pytest.raises(SourceError):
        frames.extend(live.endless(life(), lambda: next(lives, None) or _gone(), threading.Event()))
    assert numbers(frames) == [0, 3, 6, 7, 10, 13]


def _gone() -> Source:
    raise SourceError("camera 0 cannot be opened")
