"""The page in a real browser, with a real model on photos. They are served grey, so that whatever has colour was drawn."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import edgepose

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from browser import Browser, browsing, find_chromium
from serving import Camera, sample, serving
from test_server_proxy import behind_nginx

from edgepose.media.frames import Pulse
from edgepose.media.sources import open_source

SIZE = 640, 360  # width, height
LIVE = "document.getElementById('state').dataset.state === 'live'"
PEOPLE = "Number(document.getElementById('people').textContent)"
PICTURE = """(() => {
    const shown = document.querySelector('#stage > :not([hidden])');
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [640, 360];
    canvas.getContext('2d').drawImage(shown, 0, 0, 640, 360);
    return canvas.toDataURL('image/png').slice(22);
})()"""


@pytest.fixture(scope="module")
def clip(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[NDArray[np.uint8]]:
    """Frames that pan over photos of people, in grey."""
    annotations = json.loads((shared / "data/eval/person_keypoints_eval.json").read_text())
    sizes: dict[int, list[float]] = {}
    for person in annotations["annotations"]:
        if person["num_keypoints"] >= 15:
            sizes.setdefault(person["image_id"], []).append(person["area"])
    names = {image["id"]: image["file_name"] for image in annotations["images"]}
    frames = []
    for image in sorted(sizes, key=lambda image: -max(sizes[image]))[:3]:
        grey = cv2.imread(str(shared / "data/eval/images" / names[image]), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        # The whole height, and a little more than the width.
        scale = SIZE[1] / grey.shape[0]
        photo = cv2.cvtColor(cv2.resize(grey, None, fx=scale, fy=scale), cv2.COLOR_GRAY2BGR)
        for step in range(20):
            frame = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
            left = 4 * step
            width = min(photo.shape[1], SIZE[0] - left)
            frame[:, left : left + width] = photo[:, :width]
            frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def video(clip: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("clip") / "clip.mp4")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 20, SIZE)
    for frame in clip:
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(scope="module")
def estimator() -> edgepose.PoseEstimator:
    return edgepose.PoseEstimator(input_size=256)


@pytest.fixture(scope="module")
def browser(clip: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose camera shows the clip."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    webcam = tmp_path_factory.mktemp("webcam") / "webcam.mjpeg"
    webcam.write_bytes(b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in clip))
    with browsing(program, webcam) as page:
        page.resize(1280, 800)
        yield page


@pytest.fixture(autouse=True)
def page_without_errors(browser: Browser) -> Iterator[None]:
    browser.errors.clear()
    yield
    browser.open("about:blank")
    # What a browser itself says of a server that is not there, has no frame yet or wants a token is no error of the page.
    own = ("ERR_", "WebSocket connection", "status of 401", "status of 503")
    assert [error for error in browser.errors if not any(each in error for each in own)] == []


def drawn(browser: Browser) -> NDArray[np.bool_]:
    """Where the picture on the page has colour."""
    data = np.frombuffer(base64.b64decode(browser.run(PICTURE)), np.uint8)
    image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), int)
    return image.max(axis=2) - image.min(axis=2) > 60


def watch_people_move(browser: Browser) -> None:
    """Wait until skeletons are seen, and until they are seen elsewhere."""
    browser.wait_for(f"{LIVE} && {PEOPLE} > 0")
    first = drawn(browser)
    for _ in range(50):
        now = drawn(browser)
        if first.sum() > 200 and now.sum() > 200 and (first ^ now).sum() > 100:
            return
        first = first if first.sum() > 200 else now
    raise AssertionError(f"no skeletons that move: {first.sum()} coloured pixels")


def test_skeletons_move_on_the_page(browser, estimator, video):
    with serving(estimator, partial(open_source, video), loop=True) as server:
        browser.open(f"http://localhost:{server.port}/")
        watch_people_move(browser)
        assert 0 < float(browser.wait_for("parseFloat(document.getElementById('fps').textContent)")) <= 25
        assert browser.run("document.getElementById('size').textContent") == "640 × 360"
        assert browser.run("document.getElementById('third').textContent") == "0"
        browser.resize(390, 844, phone=True)
        assert browser.run("document.documentElement.scrollWidth") <= 390
        assert browser.run("document.getElementById('picture').getBoundingClientRect().width") > 340
        browser.resize(1280, 800)


def test_the_page_finds_a_server_that_was_started_again(browser, estimator, video):
    with serving(estimator, partial(open_source, video), loop=True) as server:
        browser.open(f"http://localhost:{server.port}/")
        browser.wait_for(LIVE)
    browser.wait_for("document.getElementById('state').textContent === 'no connection'")
    with serving(estimator, partial(open_source, video), loop=True, port=server.port):
        watch_people_move(browser)


def test_the_visitors_own_webcam(browser, estimator):
    with serving(estimator) as server:
        browser.open(f"http://localhost:{server.port}/")
        browser.wait_for("document.getElementById('state').textContent === 'ready'")
        assert browser.run("document.getElementById('watch').hidden")
        browser.run("document.getElementById('webcam').click()")
        watch_people_move(browser)
        assert sample(server.site.metrics, "stage_seconds_count", stage="visitor") > 1
        assert browser.run("document.getElementById('third-name').textContent") == "answer, ms"


def test_a_video_that_ends_says_so(browser, estimator, video):
    source = partial(open_source, video, max_frames=8)
    with serving(estimator, source) as server:
        browser.open(f"http://localhost:{server.port}/")
        browser.wait_for("document.getElementById('state').textContent === 'ended'")
        assert "has ended" in browser.run("document.getElementById('message').textContent")
        browser.wait_for("document.getElementById('picture').naturalWidth === 640")


def test_the_token(browser, estimator, video):
    with serving(estimator, partial(open_source, video), loop=True, token="correct-horse") as server:
        browser.open(f"http://localhost:{server.port}/")
        browser.wait_for("document.getElementById('token')")
        browser.run("document.getElementById('token').value = 'correct-horse'; document.querySelector('form').requestSubmit()")
        browser.wait_for(LIVE)
        assert browser.run("[location.search, document.cookie]") == ["", ""]


MESSAGE = "document.getElementById('message').textContent"


@contextmanager
def feeding(camera: Camera, frames: list[NDArray[np.uint8]]) -> Iterator[threading.Event]:
    """Show frames at ten a second, until the `with` statement is left; while the event is set, none come."""
    ended, stalled = threading.Event(), threading.Event()

    def feed() -> None:
        for number in itertools.count():
            if ended.wait(0.1):
                return
            if not stalled.is_set():
                camera.show(frames[number % len(frames)])

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield stalled
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow
def test_a_camera_that_is_gone_and_comes_back(browser, estimator, clip):
    camera = Camera()
    camera.pulse = Pulse()
    with serving(estimator, camera.open) as server, feeding(camera, clip) as stalled:
        browser.open(f"http://localhost:{server.port}/")
        browser.wait_for(LIVE)
        stalled.set()
        browser.wait_for(f"!({LIVE}) && {MESSAGE}.startsWith('Gone since ')")
        assert browser.run("document.getElementById('fps').textContent") == "–"
        # Who comes now sees the last picture, and is not told that it is live.
        browser.open(f"http://localhost:{server.port}/?again")
        browser.wait_for(f"location.search && {MESSAGE}.startsWith('Gone since ')")
        assert not browser.run(LIVE)
        stalled.clear()
        browser.wait_for(f"{LIVE} && {MESSAGE} === ''")


def test_a_wrong_token(browser, estimator):
    with serving(estimator, token="correct-horse") as server:
        browser.open(f"http://localhost:{server.port}/?token=wrong-horse")
        browser.wait_for("document.getElementById('reason').textContent === 'wrong token'")
        browser.wait_for(f"location.href === 'http://localhost:{server.port}/' && document.readyState === 'complete'")
        browser.run("document.getElementById('token').value = 'correct-horse'; document.querySelector('form').requestSubmit()")
        browser.wait_for("document.getElementById('state').textContent === 'ready'")


@pytest.mark.slow
@pytest.mark.parametrize("websocket", [True, False], ids=["whole", "without the WebSocket"])
def test_the_page_behind_a_proxy(browser, estimator, video, tmp_path, websocket):
    proxy = {"root_path": "/camera"}
    with (
        serving(estimator, partial(open_source, video), loop=True, token="correct-horse", proxy=proxy) as server,
        behind_nginx(server, tmp_path, websocket=websocket) as host,
    ):
        browser.open(f"http://{host}/camera/?token=correct-horse")
        watch_people_move(browser)
        assert browser.run("location.pathname + location.search") == "/camera/"
        assert browser.run(MESSAGE).startswith("" if websocket else "The WebSocket of this page")
        assert bool(browser.run(MESSAGE)) != websocket
