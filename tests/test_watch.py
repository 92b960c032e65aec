"""Sources watched to their end: threads that end, errors that arrive, streams that go away and come back."""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import tiny_models
from numpy.typing import NDArray
from pictures import encode, video_frame, write_video

import edgepose
from edgepose import watch as streaming
from edgepose.engines.openvino import OpenVINOEngine
from edgepose.errors import SourceError
from edgepose.estimator import PoseEstimator
from edgepose.media import live, videos
from edgepose.media.frames import Frame, Source
from edgepose.media.live import read_ahead
from edgepose.media.sinks import Sinks, open_sinks
from edgepose.media.sources import open_source
from edgepose.pipelines.bottom_up import BottomUp
from edgepose.tracking import Tracker
from edgepose.watch import estimated, watch

# How long the streams that go and come back are watched and recorded at least: EDGEPOSE_SOAK_S=60 makes a soak of it.
SOAK_S = float(os.environ.get("EDGEPOSE_SOAK_S", "0"))


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [thread for thread in threading.enumerate() if thread not in before] == []


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> PoseEstimator:
    return PoseEstimator(tiny_models.save(tmp_path_factory.mktemp("model")))


def numbers(frames: list[edgepose.EstimatedFrame]) -> list[int]:
    return [frame.index for frame in frames]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSES_S", (0.01, 0.02, 0.04, 0.05, 0.05))


class Stream(BaseHTTPRequestHandler):
    """A camera on the network: MJPEG, without an end; its pictures change size halfway if the server says so."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, StreamServer)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in itertools.count():
            height, width = server.sizes[min(index // 20, len(server.sizes) - 1)]
            picture = encode(".jpg", video_frame(index % 60, height, width))
            try:
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture))
                self.wfile.write(picture + b"\r\n")
            except OSError:  # The reader is gone.
                return
            if server.killed.wait(0.01):
                self.connection.shutdown(socket.SHUT_RDWR)
                return

    def log_message(self, *_: object) -> None:
        pass


class StreamServer(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, port: int = 0, sizes: tuple[tuple[int, int], ...] = ((96, 128),)) -> None:
        super().__init__(("127.0.0.1", port), Stream)
        self.sizes = sizes
        self.killed = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/live"

    def kill(self) -> None:
        """Break every connection, and answer no more."""
        self.killed.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def __exit__(self, *_: object) -> None:
        self.kill()


def test_a_stream_server_that_is_killed_and_restarted(
    estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "PAUSES_S", (0.05,) * 100)
    server = StreamServer()
    seen: list[edgepose.EstimatedFrame] = []
    restarts, until = 0, time.monotonic() + SOAK_S
    with open_source(server.url) as source, estimated(estimator, source, track=True) as frames:
        for frame in frames:
            seen.append(frame)
            if len(seen) >= 60 and time.monotonic() >= until:
                break
            if len(seen) % 400 in (15, 35):
                server.kill()
                server = StreamServer(server.server_port)
                restarts += 1
    server.kill()
    assert numbers(seen) == sorted(set(numbers(seen)))
    assert all(a.timestamp < b.timestamp for a, b in itertools.pairwise(seen))
    messages = [record.getMessage() for record in caplog.records if record.name == "edgepose.media.live"]
    assert restarts >= 2
    assert sum("gone" in message for message in messages) == restarts
    assert sum("back after" in message for message in messages) == restarts


class Restarting:
    """A window that kills the server of a stream now and then, and starts it again; closed after a while."""

    def __init__(self, server: StreamServer, least: int) -> None:
        self.server, self.least = server, least
        self.pictures = self.restarts = 0
        self.until = time.monotonic() + SOAK_S
        self.memory: list[int] = []

    def show(self, image: NDArray[np.uint8]) -> bool:
        self.pictures += 1
        if self.pictures % 400 in (15, 55):
            self.server.kill()
            self.server = StreamServer(self.server.server_port)
            self.restarts += 1
        if self.pictures % 50 == 0:
            self.memory.append(resident_bytes())
        return self.pictures < self.least or time.monotonic() < self.until


def resident_bytes() -> int:
    """The memory that this process has; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


@pytest.mark.slow
def test_a_recording_of_a_stream_that_is_killed_and_restarted_loses_no_second_and_no_memory(
    estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(live, "PAUSES_S", (0.05,) * 100)
    window = Restarting(StreamServer(), 250)
    try:
        source = open_source(window.server.url)
        with open_sinks(source, save=tmp_path / "o.mp4", poses=tmp_path / "o.jsonl") as sinks:
            watched = watch(estimator, source, sinks=sinks, window=window, track=True)  # type: ignore[arg-type]
    finally:
        window.server.kill()
    assert window.restarts >= 2
    stamps = [json.loads(line)["timestamp"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert len(stamps) == watched.frames
    with av.open(str(tmp_path / "o.mp4")) as container:
        times = [float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.pts is not None]
        assert container.duration is not None
        length = container.duration / av.time_base
    # Every frame is there, at the time at which it came, the pauses in between included.
    np.testing.assert_allclose(times, np.asarray(stamps) - stamps[0], atol=0.002)
    assert length == pytest.approx(stamps[-1] - stamps[0], abs=1)
    # After the first frames, which allocate what all others use.
    assert window.memory[-1] - window.memory[1] < 25_000_000


def test_a_stream_that_stays_away_ends_with_one_clear_error(estimator: PoseEstimator, impatient: None) -> None:
    with StreamServer() as server:
        source = open_source(server.url)
        with pytest.raises(SourceError) as caught, estimated(estimator, source) as frames:  # noqa: PT012
            for number, _ in enumerate(frames):
                if number == 5:
                    server.kill()
    assert f"{server.url}: went away and did not come back in" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pictures_of_a_stream_may_change_their_size(estimator: PoseEstimator) -> None:
    with StreamServer(sizes=((96, 128), (120, 200), (64, 48))) as server:
        seen: list[NDArray[np.uint8]] = []
        with open_source(server.url) as source, estimated(estimator, source) as frames:
            for frame in frames:
                seen.append(frame.image)
                edgepose.draw_poses(frame.image, frame.poses)
                if frame.index > 70:
                    break
    assert seen[0].shape == (96, 128, 3)
    assert len(seen) > 10


@pytest.mark.parametrize("track", [False, True])
def test_frames_of_a_source_may_change_their_size(estimator: PoseEstimator, tmp_path: Path, track: bool) -> None:
    source = open_source([video_frame(n, height, 64) for n, height in enumerate([48, 48, 96, 32, 48])])
    window = Interrupting(1000, close=True)
    with open_sinks(source, save=tmp_path / "out.avi") as sinks:
        watched = watch(estimator, source, sinks=sinks, window=window, track=track)  # type: ignore[arg-type]
    assert watched.frames == window.pictures == 5
    with open_source(tmp_path / "out.avi") as written:
        assert [frame.image.shape for frame in written] == [(48, 64, 3)] * 5


def no_sinks(source: Source) -> Sinks:
    return open_sinks(source)


@pytest.mark.parametrize("stop", [0, 1, 2, 7, 29, None])
def test_leaving_a_video_at_any_frame_ends_all(estimator: PoseEstimator, tmp_path: Path, stop: int | None) -> None:
    path = write_video(tmp_path / "clip.avi", 30)
    with open_source(path) as source, estimated(estimator, source, smooth=True) as frames:
        seen = numbers(list(itertools.islice(frames, stop)))
    assert seen == list(range(30 if stop is None else stop))
    assert list(source) == []


class Interrupting:
    """A window whose user presses Ctrl-C, or closes it."""

    def __init__(self, at: int, *, close: bool) -> None:
        self.at, self.close, self.pictures = at, close, 0

    def show(self, image: NDArray[np.uint8]) -> bool:
        self.pictures += 1
        if self.pictures == self.at:
            if self.close:
                return False
            raise KeyboardInterrupt
        return True


def test_a_closed_window_ends_the_run(estimator: PoseEstimator, tmp_path: Path) -> None:
    source = open_source(write_video(tmp_path / "clip.avi", 30))
    with no_sinks(source) as sinks:
        watched = watch(estimator, source, sinks=sinks, window=Interrupting(4, close=True))  # type: ignore[arg-type]
    assert (watched.frames, watched.dropped) == (4, 0)
    assert watched.fps is not None


def test_ctrl_c_ends_everything(estimator: PoseEstimator, tmp_path: Path) -> None:
    source = open_source(write_video(tmp_path / "clip.avi", 30))
    with no_sinks(source) as sinks, pytest.raises(KeyboardInterrupt):
        watch(estimator, source, sinks=sinks, window=Interrupting(4, close=False))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (videos.PictureMaker, "__call__"),
        (OpenVINOEngine, "submit"),
        (BottomUp, "_finish"),
        (Tracker, "update"),
        (streaming, "draw_poses"),
    ],
    ids=["read", "network", "decode", "track", "draw"],
)
def test_errors_of_every_stage_reach_the_caller(
    owner: object, name: str, estimator: PoseEstimator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, function = itertools.count(), getattr(owner, name)

    def broken(*arguments: object, **options: object) -> object:
        if next(calls) == 5:
            raise RuntimeError(f"{name} is broken")
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, broken)
    source = open_source(write_video(tmp_path / "clip.avi", 30))
    with no_sinks(source) as sinks, pytest.raises(RuntimeError, match=f"{name} is broken"):
        watch(estimator, source, sinks=sinks, track=True, window=Interrupting(1000, close=True))  # type: ignore[arg-type]


def test_a_video_loses_no_frame_and_keeps_its_order_however_slow_the_caller(estimator: PoseEstimator, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 40)
    pause = threading.Event()
    with open_source(path) as source, estimated(estimator, source) as frames:
        seen = []
        for frame in frames:
            pause.wait(0.003)
            seen.append(frame.index)
    assert seen == list(range(40))
    assert source.dropped == 0


def test_results_do_not_depend_on_the_overlap(estimator: PoseEstimator, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 20)
    with open_source(path, read_ahead=False) as plain:
        alone = [estimator(frame.image) for frame in plain]
    with open_source(path) as source, estimated(estimator, source) as frames:
        together = [frame.poses for frame in frames]
    assert len(alone) == len(together) == 20
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


def test_a_slow_consumer_of_a_live_source_gets_new_frames_and_the_count_of_old_ones(estimator: PoseEstimator) -> None:
    with StreamServer() as server, open_source(server.url) as source:
        pause = threading.Event()
        with estimated(estimator, source) as frames:
            seen = []
            for frame in frames:
                pause.wait(0.06)
                seen.append(frame.index)
                if len(seen) == 8:
                    break
        dropped = source.dropped
    # Every frame that came was either shown or dropped, but for those on their way.
    assert dropped > 8
    assert seen[-1] + 1 - len(seen) <= dropped


def test_memory_stays_flat(estimator: PoseEstimator) -> None:
    image = video_frame(3, 48, 64)
    source = Source("endless", "video", (Frame(image.copy(), i, i / 30, "endless") for i in itertools.count()))
    # Started and stopped while no other thread runs: one in a kernel, without the GIL, would be caught between two allocators.
    tracemalloc.start()
    try:
        with estimated(estimator, read_ahead(source, lambda: source), smooth=True) as frames:
            for _ in itertools.islice(frames, 500):
                pass
            before = tracemalloc.get_traced_memory()[0]
            for _ in itertools.islice(frames, 700):
                pass
            grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # 700 frames kept would be 6 MB, their people more.
    assert grown < 200_000
