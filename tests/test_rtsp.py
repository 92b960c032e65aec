"""A camera that speaks RTSP: its frames are new, a stall is seen, and old frames never come as new ones."""

from __future__ import annotations

import itertools
import logging
import time

import numpy as np
import pytest
from rtsp import Camera, camera

from edgepose.errors import SourceError
from edgepose.media import live, streams
from edgepose.media.sources import Frame, open_source


def age_s(frame: Frame, server: Camera, now: float) -> float:
    """How long ago a frame was sent; its brightness tells its number, modulo 60."""
    shown, newest = round(float(np.median(frame.image)) / 4) % 60, max(server.sent)
    return now - server.sent[newest - (newest - shown) % 60]


def test_a_camera_is_live(caplog: pytest.LogCaptureFixture) -> None:
    with camera() as server, open_source(server.url) as source:
        assert (source.kind, source.is_live, source.total, source.gone_since) == ("stream", True, None, None)
        frames = [next(source) for _ in range(40)]
        assert all(b.index > a.index and b.timestamp > a.timestamp for a, b in itertools.pairwise(frames))
        received = [frame.received for frame in frames if frame.received is not None]
        assert len(received) == 40
        assert abs(time.time() - received[-1]) < 1
        assert source.gone_since is None
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.slow
def test_after_a_stall_no_old_frame_comes_as_a_new_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streams, "STREAM_TIMEOUT_S", 3.0)
    monkeypatch.setattr(live, "PAUSES_S", (0.1,) * 50)
    with camera() as server, open_source(server.url) as source:
        for _ in range(30):
            frame = next(source)
        server.goes_on.clear()
        stopped = time.monotonic()
        while source.gone_since is None:
            if source.ready:
                frame = next(source)
            time.sleep(0.02)
        assert time.monotonic() - stopped < 3
        last = frame
        while not any("gone (" in message for message in caplog.messages) and time.monotonic() - stopped < 20:
            time.sleep(0.05)
        server.goes_on.set()
        for _ in range(30):
            frame = next(source)
            assert age_s(frame, server, time.monotonic()) < 1.5
            assert frame.index > last.index
        assert source.gone_since is None
    assert sum("gone (" in message for message in caplog.messages) == 1, "it is opened again at the first wait that is too long"


def test_a_camera_that_is_read_by_turns_breaks_off_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAM_TIMEOUT_S", 3.0)
    with camera() as server, open_source(server.url, read_ahead=False) as source:
        for _ in range(20):
            next(source)
        server.goes_on.clear()
        began = time.monotonic()
        with pytest.raises(SourceError, match=r"^rtsp://127\.0\.0\.1:\d+/live: (the server does not answer|nothing came)"):
            list(source)
        assert time.monotonic() - began < 6
