"""The window, a real one on a screen that exists in memory alone, with keys pressed by its own waitKey."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pictures import quadrants

from edgepose.errors import OutputError
from edgepose.media import window as window_module
from edgepose.media.window import Window, check_screen


class Screen:
    """Stands in for OpenCV's windows: keys come from a list, one for each time that one is waited for."""

    def __init__(self, keys: str) -> None:
        self.keys = iter(keys)
        self.shown: list[np.ndarray] = []
        self.waits: list[int] = []
        self.is_open = False

    def namedWindow(self, *_: object) -> None:
        self.is_open = True

    def destroyWindow(self, _: str) -> None:
        assert self.is_open
        self.is_open = False

    def resizeWindow(self, *_: object) -> None:
        pass

    def imshow(self, _: str, image: np.ndarray) -> None:
        self.shown.append(image)

    def waitKey(self, wait: int) -> int:
        self.waits.append(wait)
        key = next(self.keys, "")
        assert key or wait == 1, "a pause that nobody ends"
        if key == "X":  # the mouse, on the cross
            self.is_open = False
        return ord(key) if key not in ("", ".", "X") else -1

    def getWindowProperty(self, *_: object) -> float:
        return 1.0 if self.is_open else -1.0


def screen_with(keys: str, monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen(keys)
    for name in ("namedWindow", "destroyWindow", "resizeWindow", "imshow", "waitKey", "getWindowProperty"):
        monkeypatch.setattr(window_module.cv2, name, getattr(screen, name))
    return screen


@pytest.mark.parametrize(
    ("keys", "frames"),
    [("...q", 4), ("\x1b", 1), ("..X", 3), ("ab", 10), (" ...q", 1), (" .. ..q", 4), (" X", 1)],
    ids=["q", "Escape", "mouse", "other keys", "q in a pause", "pause and on", "mouse in a pause"],
)
def test_keys(keys: str, frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_with(keys, monkeypatch)
    with Window("title") as window:
        for _ in range(10):
            if not window.show(quadrants()):
                break
    assert len(screen.shown) == frames
    assert not screen.is_open
    window.close()


def test_a_pause_waits_for_keys_instead_of_spinning(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_with(". .. .", monkeypatch)
    with Window("title") as window:
        for _ in range(3):
            assert window.show(quadrants())
    assert screen.waits[:6] == [1, 1, 50, 50, 50, 1]


def test_snapshots_hold_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    screen_with("s s ", monkeypatch)
    with Window("title", snapshots=tmp_path) as window:
        window.show(quadrants())
        window.show(255 - quadrants())
    first, second = sorted(tmp_path.iterdir(), key=lambda path: path.stem.split("-")[-1])
    np.testing.assert_array_equal(cv2.imread(str(first)), quadrants())
    np.testing.assert_array_equal(cv2.imread(str(second)), 255 - quadrants())
    assert str(first) in caplog.text


def test_a_snapshot_takes_no_name_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen_with("s", monkeypatch)
    monkeypatch.setattr(window_module.time, "strftime", lambda _: "now")
    for number in (1, 2):
        (tmp_path / f"edgepose-now-{number}.png").write_text("of another run")
    with Window("title", snapshots=tmp_path) as window:
        window.show(quadrants())
    assert (tmp_path / "edgepose-now-1.png").read_text() == "of another run"
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "edgepose-now-3.png")), quadrants())


def test_a_snapshot_that_cannot_be_written_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    screen_with("s", monkeypatch)
    with Window("title", snapshots=tmp_path / "file") as window:
        assert window.show(quadrants())
    assert "cannot be written" in caplog.text


def test_a_build_without_windows_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_window(*_: object) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(window_module.cv2, "namedWindow", no_window)
    with pytest.raises(OutputError, match=r"uninstalling opencv-python-headless.*--save"):
        Window("title")


PROGRAM = """
import sys, cv2, numpy as np
from edgepose.drawing import draw_figures
from edgepose.media.window import Window

image = np.zeros((360, 640, 3), np.uint8)
image[:, :320] = (0, 0, 255)
with Window("edgepose: test") as window:
    for _ in range(5):
        assert window.show(draw_figures(image, fps=30.0, people=3, dropped=12))
    cv2.waitKey(300)
    print("shown", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def display() -> Iterator[str]:
    if shutil.which("Xvfb") is None:
        pytest.skip("no Xvfb; install xvfb for a screen in memory")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as numbers:
            number = numbers.readline().strip()  # which it writes when it is ready
        yield f":{number}"
        server.terminate()


def test_a_screen_that_is_there(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    check_screen()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="OpenCV raises an error there")
@pytest.mark.parametrize(
    ("screen", "message"), [(None, "there is no screen here"), (":987", r"does not answer or refuses \(DISPLAY=:987\)")]
)
def test_a_screen_that_is_not_there(screen: str | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    if screen is not None:
        monkeypatch.setenv("DISPLAY", screen)
    with pytest.raises(OutputError, match=message):
        check_screen()


def test_a_screen_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "_TRIAL", "import threading; threading.Event().wait()")
    monkeypatch.setattr(window_module, "_TRIAL_S", 0.1)
    monkeypatch.setattr(window_module.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(OutputError, match="does not answer"):
        check_screen()


def test_a_real_window(display: str, tmp_path: Path) -> None:
    if shutil.which("xwd") is None:
        pytest.skip("no xwd; install x11-apps to take pictures of a screen")
    environment = {**os.environ, "DISPLAY": display, "QT_LOGGING_RULES": "*=false"}
    environment.pop("WAYLAND_DISPLAY", None)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, **pipes) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "shown\n", program.communicate()[1]
        picture = _screenshot(display)
        _, said = program.communicate("\n", timeout=30)
    assert program.returncode == 0, said
    cv2.imwrite(str(tmp_path / "screen.png"), picture)
    red = (picture == (0, 0, 255)).all(axis=2)
    # The left half of the window, but for the figures in its corner.
    assert 0.8 * 320 * 360 < red.sum() <= 320 * 360
    rows, columns = np.nonzero(red)
    assert (np.ptp(rows), np.ptp(columns)) == (359, 319)


def _screenshot(display: str) -> np.ndarray:
    """The screen (H, W, 3) BGR, out of xwd's format: a header of big-endian words, a table of colours, and pixels."""
    data = subprocess.run(["xwd", "-root", "-silent", "-display", display], check=True, capture_output=True).stdout
    header = np.frombuffer(data, ">u4", 25)
    size, height, width, bits, stride, colours = (int(header[i]) for i in (0, 5, 4, 11, 12, 19))
    pixels = np.frombuffer(data, np.uint8, height * stride, size + 12 * colours).reshape(height, stride)
    return pixels[:, : width * bits // 8].reshape(height, width, bits // 8)[..., :3]
