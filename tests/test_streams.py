"""Network addresses: what ends and what is live, what is waited for, and what is not followed."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pictures import encode, quadrants, video_frame, write_clip, write_video
from web import Web, web

from edgepose.errors import SourceError
from edgepose.media import streams
from edgepose.media.images import read_image
from edgepose.media.sources import Frame, open_source


@pytest.fixture
def server() -> Iterator[Web]:
    with web() as running:
        yield running


def brightness(frames: list[Frame]) -> list[int]:
    return [round(float(np.median(frame.image)) / 4) for frame in frames]


def test_an_mjpeg_stream(server: Web) -> None:
    before = time.time()
    with open_source(f"{server.url}/live", read_ahead=False) as source:
        assert (source.kind, source.is_live, source.total) == ("stream", True, None)
        frames = list(source)
    np.testing.assert_allclose(brightness(frames), range(5), atol=1)
    assert frames[0].path == f"{server.url}/live"
    received = [frame.received for frame in frames]
    assert all(time_ is not None and before <= time_ <= time.time() for time_ in received)
    assert received == sorted(received)  # type: ignore[type-var]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".webm"])
def test_a_video_on_a_server_ends(server: Web, tmp_path: Path, suffix: str) -> None:
    codec = "libvpx" if suffix == ".webm" else "mpeg4"
    path = write_clip(tmp_path / f"clip{suffix}", [video_frame(i) for i in range(10)], codec=codec)
    server.files["/clip"] = path.read_bytes()
    with open_source(f"{server.url}/clip") as source:
        assert (source.kind, source.is_live) == ("stream", False)
        assert len(list(source)) == 10
    with open_source(f"{server.url}/clip", start=0.2, every=2) as source:
        assert [frame.index for frame in source] == [5, 7, 9]


@pytest.mark.parametrize("place", ["/photo", "/chunked"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
def test_a_picture_on_a_server_is_one_frame(server: Web, suffix: str, place: str) -> None:
    server.files[place] = encode(suffix, quadrants())
    with open_source(f"{server.url}{place}") as source:
        (frame,) = source
    np.testing.assert_array_equal(frame.image, read_image(server.files[place]))
    assert (source.kind, frame.path) == ("images", f"{server.url}{place}")


@pytest.mark.parametrize("name", ["anim.gif", "img/png_named.jpg", "noduration.mkv", "ts.ts", "base.mp4"])
def test_a_file_by_url_ends_when_it_ends(server: Web, shared: Path, name: str) -> None:
    server.files["/file"] = (shared / "cases" / name).read_bytes()
    with open_source(f"{server.url}/file") as source, open_source(shared / "cases" / name) as local:
        frames, same = list(source), list(local)
    assert not source.is_live
    assert [f.timestamp for f in frames] == [f.timestamp for f in same]
    assert all((a.image == b.image).all() for a, b in zip(frames, same, strict=True))


def test_a_stream_has_no_start(server: Web) -> None:
    for options in ({"start": 1.0}, {"end": 2.0}):
        with pytest.raises(SourceError, match=r"/live: a live stream, which has no start and end to choose"):
            open_source(f"{server.url}/live", **options)  # type: ignore[arg-type]
    with open_source(f"{server.url}/live", every=2, read_ahead=False) as source:
        assert [frame.index for frame in source] == [0, 2, 4]


def test_passwords_are_not_repeated() -> None:
    with pytest.raises(SourceError) as caught:
        open_source("rtsp://admin:secret@127.0.0.1:9/live?channel=1")
    assert str(caught.value).startswith("rtsp://127.0.0.1:9/live?channel=1 cannot be opened")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:SEC@RET@127.0.0.1:9/live",
        "rtsp://admin:SECRET/@127.0.0.1:9/live",
        "http://127.0.0.1:9/video.cgi?user=admin&pwd=SECRET",
        "http://127.0.0.1:9/user=admin_password=SECRET_channel=1",
        "http://admin:SECRET@[1.2/",
        "http://admin:SEC\u2100RET@host/",
        "http://u:[SECRET]@host/",
        "rtsp:/admin:SECRET@127.0.0.1:9/live",
        "admin:SECRET@127.0.0.1/live",
        "gopher://admin:SECRET@127.0.0.1/live",
        "rtspsrc location=rtsp://admin:SECRET@127.0.0.1/ user-pw=SECRET ! appsink",
    ],
)
def test_no_secret_of_an_address_is_repeated(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(address)
    assert not re.search("SEC|RET", str(caught.value) + "".join(capfd.readouterr()))


@pytest.mark.parametrize("address", ["concat://a.ts|b.ts", "data://text/plain,a", "pipe://0", "subfile://a", "lavfi://testsrc"])
def test_addresses_of_no_server_are_refused(address: str) -> None:
    with pytest.raises(SourceError, match=r"addresses of this kind are not opened; expected rtsp://HOST/PATH or http://HOST"):
        open_source(address)


def test_a_file_has_an_address_too(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip é 100%.mp4", 3)
    for address in (path.as_uri(), f"file://{path}"):
        with open_source(address) as source:
            assert (len(list(source)), path in list(source.files)) == (3, True)


def test_what_is_no_video_on_a_server(server: Web) -> None:
    server.files["/page"] = b"<html>" * 1000
    for place in ("/page", "/nothing"):
        with pytest.raises(SourceError, match=rf"{place} cannot be opened; check the address"):
            open_source(f"{server.url}{place}")


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{part}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("form", [PLAYLIST, "ffconcat version 1.0\nfile '{part}'\n", "v=0\r\nm=video {port} RTP/AVP 96\r\n"])
def test_a_local_list_leads_nowhere(server: Web, tmp_path: Path, form: str) -> None:
    secret = write_clip(tmp_path / "secret.ts", [video_frame(0)] * 3)
    server.files["/secret.ts"] = secret.read_bytes()
    for part in ("secret.ts", str(secret), secret.as_uri(), f"{server.url}/secret.ts"):
        for name in ("list.m3u8", "list.mp4", "list.ffconcat"):
            path = tmp_path / name
            path.write_text(form.replace("{part}", part).replace("{port}", str(server.server_port)))
            with pytest.raises(SourceError, match=rf"{name}: a list of other files or streams, which is not followed"):
                list(open_source(path))
    assert server.asked == []


def test_a_playlist_on_a_server_stays_on_servers(server: Web, tmp_path: Path) -> None:
    noise = list(np.random.default_rng(0).integers(0, 256, (10, 96, 128, 3), np.uint8))
    secret = write_clip(tmp_path / "secret.ts", noise, codec="libx264", container="mpegts")
    server.files["/part.ts"] = secret.read_bytes()
    server.files["/good.m3u8"] = PLAYLIST.format(part="part.ts").encode()
    server.files["/bad.m3u8"] = PLAYLIST.format(part=secret.as_uri()).encode()
    with open_source(f"{server.url}/good.m3u8") as source:
        assert not source.is_live
        assert len(list(source)) == 10
    with pytest.raises(SourceError), open_source(f"{server.url}/bad.m3u8") as source:
        list(source)


def test_a_silent_server_is_not_waited_for_for_ever(server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAM_TIMEOUT_S", 0.3)
    with pytest.raises(SourceError, match=r"/silent cannot be opened; .*: the server does not answer$"):
        open_source(f"{server.url}/silent")


def test_a_server_that_stalls_is_left_and_its_half_frame_thrown_away(server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAM_TIMEOUT_S", 0.4)
    server.frames, server.pause_s = 200, 0.02
    with open_source(f"{server.url}/live", read_ahead=False) as source:
        for _ in range(30):
            next(source)
        server.goes_on.clear()
        with pytest.raises(SourceError, match=r"/live: (nothing came for 0\.4 s|the server does not answer)$"):
            list(source)


def test_closing_does_not_wait_for_a_silent_server() -> None:
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/live"

        def answer() -> None:
            connection, _ = listener.accept()
            picture = encode(".jpg", video_frame(0))
            head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n"
            part = b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
            with connection:
                connection.sendall(head + (part + picture + b"\r\n") * 30)
                closed.wait(30)

        closed = threading.Event()
        server = threading.Thread(target=answer)
        server.start()
        source = open_source(url)
        next(source)
        began = time.monotonic()
        source.close()
        assert time.monotonic() - began < 1.9
        assert list(source) == []
        closed.set()
        server.join()
    for thread in set(threading.enumerate()) - before:
        thread.join(20)


def test_a_source_that_stalls_is_said_to_be_gone(server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepose.media.frames.SILENCE_S", 0.3)
    server.frames, server.pause_s = 10_000, 0.02
    with open_source(f"{server.url}/live") as source:
        last = next(source)
        assert source.gone_since is None
        server.goes_on.clear()
        deadline = time.monotonic() + 10
        while source.gone_since is None and time.monotonic() < deadline:
            if source.ready:
                last = next(source)
            time.sleep(0.02)
        gone_since = source.gone_since
        while source.ready:
            last = next(source)
        assert gone_since is not None
        assert last.received is not None
        assert abs(gone_since - last.received) < 0.2
        server.goes_on.set()
        assert next(source).index > last.index
        assert source.gone_since is None
