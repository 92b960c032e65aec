"""A window that shows frames as they come. Keys: q or Esc ends, space pauses, s saves a snapshot."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import OutputError
from edgepose.media.images import write_image
from edgepose.opencv import cv2

logger = logging.getLogger(__name__)

_QUIT = (ord("q"), 27)  # 27 is Escape
_SNAPSHOT, _PAUSE = ord("s"), ord(" ")
# How long to wait for a key, milliseconds: the least there is while frames come (0 would mean forever); in a pause, long
# enough to cost nothing, short enough to notice soon that the window was closed.
_RUNNING_MS, _PAUSED_MS = 1, 50


# A program that opens a window like `Window` does, and ends. Qt ends the whole process where it finds no screen, and nothing
# in that process can prevent it, so that it is tried in another.
_TRIAL = "import os, cv2; cv2.namedWindow('edgepose', cv2.WINDOW_NORMAL | cv2.WINDOW_GUI_NORMAL); os._exit(0)"
_TRIAL_S = 20.0


def check_screen() -> None:
    """Make sure that a window can be opened, where OpenCV ends the process otherwise.

    Raises:
        OutputError: There is no screen, it does not answer, or this build of OpenCV has no windows.
    """
    if sys.platform in ("win32", "darwin"):  # OpenCV raises an error there, or finds a screen.
        return
    way_out = "run it on a desktop (ssh -X brings one along), or write to a file with --save"
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")):
        raise OutputError(f"no window can be opened: there is no screen here (DISPLAY is not set); {way_out}")
    try:
        trial = subprocess.run(
            [sys.executable, "-c", _TRIAL],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_TRIAL_S, check=False,
        )  # fmt: skip
        answers = trial.returncode == 0
    except subprocess.TimeoutExpired:
        answers = False
    if not answers:
        named = ", ".join(f"{name}={os.environ[name]}" for name in ("DISPLAY", "WAYLAND_DISPLAY") if os.environ.get(name))
        raise OutputError(
            f"no window can be opened: the screen does not answer or refuses ({named or 'none is named'}), or this OpenCV has "
            f"no windows (opencv-python-headless); {way_out}"
        )


class Window:
    """A window on the screen, as large as the first picture; the user ends it with q, Escape or the mouse.

    Space pauses, and goes on again. The key s writes what is shown to edgepose-DATE-TIME-NUMBER.png.

    Args:
        title: What its bar says.
        snapshots: The folder for snapshots.

    Raises:
        OutputError: There is no screen, or this build of OpenCV has no windows.
    """

    def __init__(self, title: str, *, snapshots: Path = Path()) -> None:
        self._title = title
        self._snapshots = snapshots
        self._saved = 0
        self._paused = self._sized = False
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise OutputError(
                "no window can be opened: this needs a screen and OpenCV with windows (python -m pip install opencv-python, "
                "after uninstalling opencv-python-headless); or write to a file with --save"
            ) from error

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show `image` (H, W, 3) uint8 BGR, for as long as the user pauses; False when the user has ended it."""
        if not self._sized:
            cv2.resizeWindow(self._title, image.shape[1], image.shape[0])
            self._sized = True
        cv2.imshow(self._title, image)
        while True:
            key = cv2.waitKey(_PAUSED_MS if self._paused else _RUNNING_MS) & 0xFF
            if key in _QUIT or not self._is_open():
                return False
            if key == _SNAPSHOT:
                self._save(image)
            elif key == _PAUSE:
                self._paused = not self._paused
            if not self._paused:
                return True

    def close(self) -> None:
        """Take the window from the screen; closing twice does no harm."""
        if self._is_open():
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)  # Some window systems take it away only now.

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_open(self) -> bool:
        return bool(cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) > 0)

    def _save(self, image: NDArray[np.uint8]) -> None:
        path: Path | None = None
        while path is None or path.exists():  # Of another run, or the picture that is shown.
            self._saved += 1
            path = self._snapshots / f"edgepose-{time.strftime('%Y%m%d-%H%M%S')}-{self._saved}.png"
        try:
            write_image(path, image)
        except OutputError as error:
            logger.warning("%s", error)  # A snapshot that fails does not end the run.
        else:
            logger.warning("snapshot: %s", path.absolute())
