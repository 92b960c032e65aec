"""Sources that read ahead: what is live keeps the newest frame, goes away, and comes back."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures import video_frame, write_video

from edgepose.errors import SourceError
from edgepose.media import live
from edgepose.media.frames import Frame, Source
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
