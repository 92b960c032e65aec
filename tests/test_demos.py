from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgepose
from demos import count_people, raspberry_pi
from demos.raspberry_pi import WAITING, Debounce, happening, in_background
from edgepose import COCO17, OPENPOSE18, Poses, Skeleton

pytestmark = pytest.mark.slow

DEMOS = Path(__file__).resolve().parents[1] / "demos"


def demo(name: str, *arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEMOS / name), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of one person, head and shoulders."""
    data = pytest.importorskip("skimage.data", reason="the sample photo needs the extra demo")
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    cv2.imwrite(str(path), data.astronaut()[..., ::-1])
    return path


@pytest.fixture(scope="session")
def video(photo: Path) -> Path:
    """Nobody for half a second, then the same person for one and a half, at 10 frames a second."""
    return write_video(photo.with_name("comes.avi"), photo, 15)


def write_video(path: Path, photo: Path, frames: int) -> Path:
    image = cv2.imread(str(photo))
    assert image is not None
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, image.shape[1::-1])
    for number in range(5 + frames):
        writer.write(np.full_like(image, 128) if number < 5 else image)
    writer.release()
    return path


def people(skeleton: Skeleton = OPENPOSE18, **heights: dict[str, float]) -> Poses:
    """A person for each of `heights`: how far above the shoulders, in pixels, each keypoint is; others are not found."""
    keypoints = np.full((len(heights), len(skeleton), 2), np.nan)
    for n, above in enumerate(heights.values()):
        for name, height in above.items():
            keypoints[n, skeleton.keypoints.index(name)] = (100, 200 - height)
    scores = np.where(np.isnan(keypoints[..., 0]), 0.0, 0.8)
    return Poses(keypoints, scores, np.full(len(heights), 0.6), skeleton, np.arange(1, 1 + len(heights)))


BODY = {"r_shoulder": 0, "l_shoulder": 0, "r_hip": -100, "l_hip": -100, "nose": 30}


def test_every_demo_is_short_and_keeps_to_the_public_names():
    for path in DEMOS.glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) < 220, path
        assert "edgepose." in text
        assert "from edgepose." not in text, path
    lines = [line for line in (DEMOS / "minimal.py").read_text().splitlines() if line]
    assert len(lines) <= 10


def test_minimal(photo, tmp_path):
    done = demo("minimal.py", photo, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("confident, box [") == len(edgepose.PoseEstimator()(cv2.imread(str(photo)))) > 0
    assert cv2.imread(str(tmp_path / "poses.jpg")).shape == (512, 512, 3)


def test_who_is_counted():
    certain = people(a=BODY, b=BODY, c={"nose": 0})
    assert count_people.count(certain) == 2  # c has one keypoint
    doubtful = Poses(certain.keypoints, certain.scores, np.array([0.6, 0.1, 0.6]))
    assert count_people.count(doubtful) == 1
    assert count_people.count(Poses.empty()) == 0


def test_count_people(video, photo, tmp_path):
    done = demo("count_people.py", video, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(": ")[2] for line in lines] == ["0 people", "1 people"]
    assert lines[0].startswith(f"{video} 0.00 s")
    assert 0.5 < float(lines[1].split()[-4]) < 1.5
    # Each photo of a folder is counted by itself.
    for name in ("1.png", "3.png"):
        cv2.imwrite(str(tmp_path / name), np.full((64, 64, 3), 128, np.uint8))
    (tmp_path / "2.png").write_bytes(photo.read_bytes())
    done = demo("count_people.py", tmp_path, cwd=tmp_path)
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == ["0 people", "1 people", "0 people"]


def test_poses_to_csv(photo, video, tmp_path):
    done = demo("poses_to_csv.py", photo, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = list(csv.DictReader(io.StringIO(done.stdout)))
    poses = edgepose.PoseEstimator()(cv2.imread(str(photo)))
    assert len(table) == np.count_nonzero(poses.scores)
    for row in table:
        place = poses.keypoints[int(row["person"]) - 1, OPENPOSE18.keypoints.index(row["keypoint"])]
        np.testing.assert_allclose([float(row["x"]), float(row["y"])], place, atol=0.006)
        assert 0 < float(row["score"]) <= 1
        assert row["file"] == str(photo)

    assert demo("poses_to_csv.py", video, "poses.csv", cwd=tmp_path).returncode == 0
    with open(tmp_path / "poses.csv", newline="", encoding="utf-8") as file:
        noses = [row for row in csv.DictReader(file) if row["keypoint"] == "nose"]
    assert [int(row["frame"]) for row in noses] == list(range(5, 20))
    assert len({row["person"] for row in noses}) == 1
    assert [float(row["seconds"]) for row in noses[:2]] == [0.5, 0.6]


def test_a_demo_never_overwrites_its_source(photo, tmp_path):
    before = photo.read_bytes()
    (tmp_path / "poses.jpg").write_bytes(before)
    done = demo("minimal.py", "poses.jpg", cwd=tmp_path)
    assert done.returncode == 1
    assert "would be drawn over" in done.stderr
    (tmp_path / "table.csv").hardlink_to(tmp_path / "poses.jpg")
    for source in ("poses.jpg", ".", "*.jpg"):
        for output in ("./poses.jpg", "table.csv"):
            done = demo("poses_to_csv.py", source, output, cwd=tmp_path)
            assert done.returncode == 1
            assert "is the source itself" in done.stderr
            assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "poses.jpg").read_bytes() == before


def test_a_table_stays_as_it_was_if_there_is_no_source(tmp_path):
    (tmp_path / "poses.csv").write_text("old")
    assert demo("poses_to_csv.py", "absent.mp4", "poses.csv", cwd=tmp_path).returncode == 1
    assert (tmp_path / "poses.csv").read_text() == "old"


@pytest.mark.skipif(sys.platform != "linux", reason="OpenCV raises an error there")
def test_a_window_without_a_screen_is_an_error_in_a_line(video, tmp_path):
    done = demo("webcam.py", video, cwd=tmp_path, DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 1
    assert done.stderr.startswith("no window can be opened")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["count_people.py", "minimal.py", "poses_to_csv.py", "raspberry_pi.py"])
@pytest.mark.parametrize("source", ["absent.mp4", "empty.jpg"])
def test_a_source_that_cannot_be_read_is_one_line(name, source, tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    done = demo(name, source, cwd=tmp_path)
    assert done.returncode == 1
    assert source in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "poses.jpg").exists()


@pytest.mark.parametrize("skeleton", [OPENPOSE18, COCO17], ids=lambda skeleton: skeleton.name)
def test_the_rule_on_arrays(skeleton):
    poses = people(
        skeleton,
        right_up={**BODY, "r_wrist": 60, "l_wrist": -90},
        left_up={**BODY, "l_wrist": 31},
        as_high_as_the_nose={**BODY, "r_wrist": 30},
        below_an_ear={**BODY, "l_ear": 50, "r_wrist": 40},
        no_wrist=BODY,
        no_head={**{name: BODY[name] for name in list(BODY)[:4]}, "r_wrist": 60},
        a_hand_without_a_body={"r_wrist": 60, "nose": 30},
    )
    rule = happening(poses)
    assert rule["person"].tolist() == [True] * 6 + [False]
    assert rule["hand"].tolist() == [True, True, False, False, False, False, False]
    assert {name: values.shape for name, values in happening(Poses.empty(skeleton)).items()} == {"person": (0,), "hand": (0,)}


STEPS = {  # frames a second, when a hand is up (#) in the frames, the frames in which that is an event
    "steady": (8, "..######", [6]),
    "one frame": (8, "..#.....", []),
    "two frames are missed": (8, "#..#..#..#", [6]),
    "away too long": (8, "###...###...", []),
    "once only": (8, "#" * 200, [4]),
    "down and up again within the quiet time": (8, "######" + "....." * 5 + "######", [4]),
    "down for longer": (8, "######" + "." * 60 + "######", [4, 70]),
    "slow camera": (1, ".###", [2]),
    "two sightings 5 s apart": (0.2, "##", []),
    "sightings that are all far apart": (0.4, "######", []),
    "one that is far from the rest": (8, "#" + "." * 40 + "#", []),
}


@pytest.mark.parametrize(("fps", "frames", "expected"), STEPS.values(), ids=STEPS.keys())
def test_debounce(fps, frames, expected):
    debounce = Debounce(hold_s=0.5, quiet_s=5)
    told = [debounce({("hand", 1)} if so == "#" else set(), n / fps) for n, so in enumerate(frames)]
    assert [n for n, events in enumerate(told) if events] == expected


@pytest.mark.parametrize("gap_s", [2.1, 5.0, 600.0])
def test_a_stream_that_stood_still_makes_no_event_of_two_sightings(gap_s):
    debounce = Debounce(hold_s=0.5, quiet_s=5)
    assert debounce({("hand", 1)}, 0.0) == debounce({("hand", 1)}, gap_s) == []
    assert debounce({("hand", 1)}, gap_s + 0.5) == [("hand", 1)]


def test_what_was_told_is_told_again_after_the_stream_stood_still():
    debounce = Debounce(hold_s=0.5, quiet_s=5)
    times = [0.0, 0.5, 1.0, 4.0, 60.0, 60.5]
    assert [bool(debounce({("hand", 1)}, now)) for now in times] == [False, True, False, False, False, True]


def test_two_who_come_together_are_one_event_and_kinds_do_not_hush_each_other():
    debounce = Debounce(hold_s=0.0, quiet_s=5)
    assert debounce({("person", 1), ("person", 2), ("hand", 1)}, 0.0) == [("hand", 1), ("person", 1)]
    assert debounce({("person", 1), ("person", 2), ("person", 3)}, 4.9) == []
    assert debounce({("person", 4)}, 5.1) == [("person", 4)]


def test_who_hands_over_an_event_never_waits(capsys):
    begun, go_on = threading.Event(), threading.Event()
    handled = []

    def slow(event: dict[str, Any]) -> None:
        begun.set()
        assert go_on.wait(60)
        handled.append(event["n"])

    hand_over, end = in_background(slow)
    hand_over({"event": "hand", "n": 0})
    assert begun.wait(60)
    for n in range(1, WAITING + 3):  # Two more than can wait: with an answer that never comes, this has to return.
        hand_over({"event": "hand", "n": n})
    assert capsys.readouterr().err.count("not sent") == 2
    go_on.set()
    end()
    assert handled == list(range(WAITING + 1))


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server of one's own: (URL, the JSON of what was posted to it). /broken answers 500."""
    posted: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/broken" else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", posted
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_event_calls_a_url(hook, video, tmp_path):
    url, posted = hook
    done = demo("raspberry_pi.py", "--camera", video, "--url", f"{url}/hook", "--threads", 2, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert posted == [json.loads(line) for line in done.stdout.splitlines()]
    assert posted == [{"event": "person", "person": 1, "people": 1, "seconds": 1.0}]  # comes at 0.5 s, and stays


def test_a_server_that_fails_is_reported_and_no_more(hook, video, tmp_path):
    url, posted = hook
    done = demo("raspberry_pi.py", video, "--url", f"{url}/broken", cwd=tmp_path)
    assert done.returncode == 0
    assert len(posted) == 1
    assert "500" in done.stderr
    assert "Traceback" not in done.stderr


GPIOZERO = """
class DigitalOutputDevice:
    def __init__(self, pin):
        if pin > 27:
            raise ValueError("no such pin")
        self.pin = pin
    def blink(self, on_time=1, off_time=1, n=None, background=True):
        print("line", self.pin, "for", on_time, "s,", n, "times", "in the background" if background else "")
    def close(self):
        print("line", self.pin, "closed")
"""


def test_an_event_raises_a_line(video, tmp_path):
    (tmp_path / "gpiozero.py").write_text(GPIOZERO)
    done = demo("raspberry_pi.py", "--camera", video, "--gpio", 17, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["line 17 for 1.0 s, 1 times in the background", "line 17 closed"]
    done = demo("raspberry_pi.py", "--camera", video, "--gpio", 99, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "GPIO 99 cannot be used: no such pin" in done.stderr


def test_without_gpiozero_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    with pytest.raises(SystemExit, match="apt install python3-gpiozero"):
        raspberry_pi.gpio_line(17)


def test_a_url_that_is_none_is_wrong_usage(capsys):
    with pytest.raises(SystemExit, match="2"):
        raspberry_pi.main(["--url", "server/hook"])
    assert "expected http://" in capsys.readouterr().err


def test_without_a_camera_it_says_so(tmp_path):
    done = demo("raspberry_pi.py", "57", cwd=tmp_path)
    assert done.returncode == 1
    assert "camera 57 cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "stop of a service"])
def test_it_ends_cleanly(photo, tmp_path, ending):
    video = write_video(tmp_path / "long.avi", photo, 1000)
    (tmp_path / "gpiozero.py").write_text(GPIOZERO)
    command = [sys.executable, str(DEMOS / "raspberry_pi.py"), "--camera", str(video), "--gpio", "17", "--height", "128"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "--hold", "0"], env=environment, **pipes) as process:
        assert process.stdout is not None
        assert '"event": "person"' in process.stdout.readline()
        process.send_signal(ending)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert out.splitlines()[-1] == "line 17 closed"


def test_the_unit_file_starts_what_is_there():
    lines = (DEMOS / "edgepose.service").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    program, *arguments = settings["ExecStart"].split()[1:]
    assert (DEMOS.parent / program).is_file()
    assert settings["WorkingDirectory"] in settings["ExecStart"]
    assert {a for a in arguments if a.startswith("--")} <= {"--gpio", "--url", "--height", "--threads"}
