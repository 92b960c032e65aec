from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pictures
import pytest
import requests

import edgepose

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from prometheus_client import REGISTRY
from serving import WAIT_S, Camera, Served, sample, serving, until

from edgepose.media.sources import open_source
from edgepose.server.limits import Limits
from edgepose.server.metrics import BUCKETS, Metrics

PHOTO = np.random.default_rng(3).integers(0, 256, (96, 128, 3), np.uint8)


@pytest.fixture(scope="module")
def served(tiny_estimator: edgepose.PoseEstimator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a short video that is shown again and again."""
    video = pictures.write_video(tmp_path_factory.mktemp("videos") / "clip.avi", 20, fps=50)
    with serving(tiny_estimator, partial(open_source, str(video)), loop=True) as server:
        until(lambda: server.ask("/poses")[0] == 200)
        yield server


def read_parts(response: http.client.HTTPResponse, count: int) -> list[bytes]:
    """The first pictures of a stream."""
    kind = response.getheader("content-type") or ""
    boundary = kind.partition("boundary=")[2].encode()
    parts = []
    for _ in range(count):
        assert response.readline().strip() in (b"", b"--" + boundary)
        headers = {}
        while line := response.readline().strip():
            if not line.startswith(b"--"):
                name, _, value = line.partition(b": ")
                headers[name.lower()] = value
        assert headers[b"content-type"] == b"image/jpeg"
        parts.append(response.read(int(headers[b"content-length"])))
        assert response.readline() == b"\r\n"
    return parts


def decode(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css"), ("/info", "application/json")],
)
def test_the_page_and_its_files(served, path, kind):
    status, headers, body = served.ask(path)
    assert (status, headers["content-type"].partition(";")[0]) == (200, kind)
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert len(body) > 100


def test_the_page_asks_nothing_of_other_hosts():
    page = Path(edgepose.__file__).parent / "server" / "page"
    for path in page.iterdir():
        addresses = re.findall(r"(?:https?:|wss?:)?//[\w.]+\.\w+", path.read_text("utf-8"))
        assert addresses == [], path.name


def test_info_says_what_the_page_needs(served):
    info = json.loads(served.ask("/info")[2])
    assert info["source"] == {"name": "clip.avi", "state": "running", "reason": ""}
    assert (info["model"], info["skeleton"]["name"], len(info["skeleton"]["keypoints"])) == ("tiny", "openpose18", 18)


def test_a_name_that_is_not_utf8_is_shown_all_the_same(tiny_estimator):
    camera = Camera("some/where/caf\udce9.avi")
    with serving(tiny_estimator, camera.open) as server:
        camera.show(PHOTO)
        until(lambda: server.ask("/poses")[0] == 200)
        assert json.loads(server.ask("/info")[2])["source"]["name"] == "caf\udce9.avi"
        assert json.loads(server.ask("/poses")[2])["image"]["path"] == "caf\udce9.avi"


def test_newest_poses_as_the_command_line_writes_them(served):
    status, _, body = served.ask("/poses")
    result = json.loads(body)
    assert status == 200
    assert {"frame", "timestamp", "skeleton", "poses", "fps", "dropped"} <= set(result)
    assert result["image"] == {"path": "clip.avi", "width": 128, "height": 96}


def test_snapshot_and_stream_are_pictures_of_the_video(served):
    assert decode(served.ask("/snapshot.jpg")[2]).shape == (96, 128, 3)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=WAIT_S)
    connection.request("GET", "/stream.mjpg")
    response = connection.getresponse()
    frames = [decode(part) for part in read_parts(response, 5)]
    response.close()
    connection.close()
    assert {frame.shape for frame in frames} == {(96, 128, 3)}
    assert len({frame.tobytes() for frame in frames}) > 1  # It moves.


def test_the_stream_is_smaller_where_frames_are_large(tiny_estimator):
    camera = Camera()
    with serving(tiny_estimator, camera.open, limits=Limits(picture_height=50)) as server:
        camera.show(PHOTO)
        until(lambda: server.inference.frames == 1)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
        connection.request("GET", "/stream.mjpg")
        response = connection.getresponse()
        assert decode(read_parts(response, 1)[0]).shape == (48, 64, 3)
        assert decode(server.ask("/snapshot.jpg")[2]).shape == (96, 128, 3)
        response.close()
        connection.close()


def test_metrics_in_prometheus_text(served):
    served.ask("/snapshot.jpg")
    until(lambda: served.ask("/poses") and sample(served.site.metrics, "fps") > 0)
    status, headers, body = served.ask("/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    line = re.compile(r'[a-z_]+(\{[a-z]+="[a-zI0-9.+]+"(,[a-z]+="[a-z0-9.]+")*\})? [0-9.e+-]+')
    values = {}
    for row in body.decode().splitlines():
        assert row.startswith(("# HELP edgepose_", "# TYPE edgepose_")) or line.fullmatch(row), row
        if not row.startswith("#"):
            name, _, value = row.rpartition(" ")
            values[name] = float(value)
    assert values["edgepose_up"] == 1
    assert values["edgepose_people"] >= 0
    assert values["edgepose_frames_dropped_total"] == 0
    assert values['edgepose_frames_skipped_total{kind="poses"}'] == 0
    assert values["edgepose_frames_total"] > 0
    assert values["edgepose_fps"] > 0
    assert values['edgepose_clients{kind="mjpeg"}'] >= 0
    for stage in ("read", "estimate", "publish", "draw", "encode"):
        count = values[f'edgepose_stage_seconds_count{{stage="{stage}"}}']
        buckets = [value for name, value in values.items() if name.startswith("edgepose_stage_seconds_b") and stage in name]
        assert (len(buckets), buckets) == (len(BUCKETS) + 1, sorted(buckets))
        assert buckets[-1] == count > 0  # Cumulative, so that they add up over machines.
        assert values[f'edgepose_stage_seconds_sum{{stage="{stage}"}}'] > 0


def test_refusals_are_counted_by_their_status(served):
    before = sample(served.site.metrics, "requests_refused_total", status="404")
    served.ask("/nowhere")
    assert sample(served.site.metrics, "requests_refused_total", status="404") == before + 1


def test_each_server_has_metrics_of_its_own():
    one, other = Metrics(), Metrics()
    one.frames.inc()
    assert (sample(one, "frames_total"), sample(other, "frames_total")) == (1, 0)
    assert all(not name.startswith("edgepose") for name in REGISTRY._names_to_collectors)


def test_uploads_get_the_people_that_the_estimator_finds(served, tiny_estimator):
    data = pictures.encode(".png", PHOTO)
    expected = tiny_estimator(PHOTO).to_dict()
    status, headers, body = served.ask("/estimate", "POST", data)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"image": {"width": 128, "height": 96}, **expected}
    form = requests.post(
        f"http://{served.host}/estimate", files={"photo": ("../../x.png", data)}, data={"a": "b"}, timeout=WAIT_S
    )
    assert form.json() == json.loads(body)


def test_a_source_that_has_ended_says_so(tiny_estimator, tmp_path):
    video = pictures.write_video(tmp_path / "clip.avi", 4, fps=100)
    with serving(tiny_estimator, partial(open_source, str(video))) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
        connection.request("GET", "/stream.mjpg")
        everything = connection.getresponse().read()  # It ends.
        connection.close()
        assert everything.count(b"image/jpeg") >= 1
        assert everything.startswith(b"--edgepose-frame\r\nContent-Type: image/jpeg\r\n")
        assert everything.endswith(b"\r\n--edgepose-frame\r\n")
        old = server.raw(b"GET /stream.mjpg HTTP/1.0\r\nHost: localhost\r\n\r\n")  # HTTP/1.0 knows no chunks.
        assert old.partition(b"\r\n\r\n")[2].startswith(b"--edgepose-frame\r\nContent-Type: image/jpeg\r\n")
        assert server.ask("/stream.mjpg", "HEAD")[::2] == (200, b"")
        assert json.loads(server.ask("/info")[2])["source"]["state"] == "ended"
        assert json.loads(server.ask("/poses")[2])["frame"] == 3
        assert server.ask("/healthz")[::2] == (200, b'{"status":"ended"}')


def test_a_video_that_breaks_off_is_no_traceback(tiny_estimator, tmp_path):
    video = pictures.damage(pictures.write_video(tmp_path / "clip.avi", 10), 0.15, 1.0)
    with serving(tiny_estimator, partial(open_source, str(video))) as server:
        answer = until(lambda: (now := server.ask("/healthz"))[2] != b'{"status":"running"}' and now)
        assert answer[2] in (b'{"status":"failed"}', b'{"status":"ended"}')
        if answer[0] == 503:
            assert "no frame" in json.loads(server.ask("/poses")[2])["error"]


def test_without_a_source(tiny_estimator):
    with serving(tiny_estimator) as server:
        assert server.ask("/healthz")[2] == b'{"status":"none"}'
        assert json.loads(server.ask("/info")[2])["source"] is None
        for path in ("/poses", "/snapshot.jpg", "/stream.mjpg"):
            assert server.ask(path)[0] == 404
        assert server.ask("/estimate", "POST", pictures.encode(".jpg", PHOTO))[0] == 200


def test_before_the_first_frame(tiny_estimator):
    camera = Camera()
    with serving(tiny_estimator, camera.open) as server:
        assert server.ask("/poses")[0] == 503
        assert server.ask("/snapshot.jpg")[0] == 503


def test_pictures_are_made_once_and_only_if_somebody_watches(tiny_estimator):
    camera = Camera()
    with serving(tiny_estimator, camera.open) as server:
        assert server.inference is not None
        encoded = partial(sample, server.site.metrics, "stage_seconds_count", stage="encode")
        for number in range(1, 4):
            camera.show(PHOTO)
            until(lambda: server.inference.frames == number)  # noqa: B023
        assert encoded() == 0
        same = {server.ask("/snapshot.jpg")[2] for _ in range(4)}
        assert (len(same), encoded()) == (1, 1)


def test_a_viewer_that_does_not_read_holds_up_nobody(tiny_estimator):
    camera = Camera()
    big = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)  # A megabyte of JPEG
    with serving(tiny_estimator, camera.open, limits=Limits(picture_rate=1000)) as server:
        slow = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
        slow.request("GET", "/stream.mjpg")
        quick = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
        quick.request("GET", "/stream.mjpg")
        camera.show(big)
        response = quick.getresponse()
        read_parts(response, 1)
        for _ in range(24):
            camera.show(big)
            read_parts(response, 1)
        received = slow.getresponse()
        first = read_parts(received, 1)
        assert len(first[0]) > 100_000
        assert sample(server.site.metrics, "frames_skipped_total", kind="mjpeg") > 5
        ended = threading.Event()

        def go_on() -> None:
            while not ended.wait(0.05):
                camera.show(big)

        showing = threading.Thread(target=go_on)
        showing.start()
        read_parts(received, 3)  # Once it reads, it gets the newest again.
        ended.set()
        showing.join()
        for connection, answer in ((slow, received), (quick, response)):
            answer.close()
            connection.close()


def test_a_camera_that_goes_away_for_good_is_looked_for_again(tiny_estimator, monkeypatch):
    monkeypatch.setattr("edgepose.server.inference.RETRY_S", 0.01)
    first, second = Camera(), Camera()
    rest = [edgepose.SourceError("still gone"), second.open]

    def open_frames():
        if opened:
            step = rest.pop(0)
            if isinstance(step, Exception):
                raise step
            return step()
        opened.append(1)
        return first.open()

    opened: list[int] = []
    with serving(tiny_estimator, open_frames) as server:
        first.show(PHOTO)
        until(lambda: server.ask("/poses")[0] == 200)
        first.end()
        until(lambda: not rest)
        second.show(PHOTO)
        until(lambda: server.inference.frames == 2)
        assert server.ask("/healthz")[0] == 200
        first.end()


def test_a_viewer_that_never_reads_is_let_go(tiny_estimator):
    camera = Camera()
    big = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    limits = Limits(send_s=0.2, head_s=0.2, rate=1e6, picture_rate=1000)
    with (
        serving(tiny_estimator, camera.open, limits=limits) as server,
        socket.create_connection(("127.0.0.1", server.port), WAIT_S) as stuck,
    ):
        stuck.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        now = server.site._clients.now
        until(lambda: now["mjpeg"] == 1)

        def is_let_go() -> bool:
            camera.show(big)
            return now["mjpeg"] == 0

        until(is_let_go)
        # Its connection ends, too, though the rest of the picture is never fetched.
        until(lambda: not server.server.server_state.connections)
