"""Where a library of the system is missing that OpenCV needs: one line that says what to install, in commands and demos."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgepose.errors import missing_library

DEMOS = Path(__file__).resolve().parents[1] / "demos"
SAID = "libGL.so.1: cannot open shared object file: No such file or directory"


@pytest.fixture
def without_library(tmp_path: Path) -> dict[str, str]:
    """An environment in which OpenCV fails as it does in a container without libGL."""
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "cv2.py").write_text(f"raise ImportError({SAID!r})\n")
    return {"PYTHONPATH": f"{tmp_path / 'stub'}:{DEMOS.parent}"}


def stderr(environment: dict[str, str], *arguments: object) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    return done.stderr


def check(text: str) -> None:
    assert text.count("\n") == 1, text
    assert "libGL.so.1 is missing" in text
    assert "apt-get install libgl1" in text
    assert "opencv-python-headless" in text


COMMANDS = [
    ["run", "photo.png"],
    ["run", "photo.png", "other.mp4", "--save", "out"],
    ["run", "photo.png", "--show"],
    ["demo", "--image", "photo.png"],
    ["benchmark", "--frames", "1"],
    ["serve", "--port", "0"],
    ["eval", "--annotations", "a.json", "--images", "."],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_in_every_command(without_library: dict[str, str], photo: Path, arguments: list[str]) -> None:
    named = [str(photo) if each == "photo.png" else each for each in arguments]
    check(stderr({**without_library, "DISPLAY": ":0"}, "-m", "edgepose", *named))


def test_in_doctor(without_library: dict[str, str]) -> None:
    command = [sys.executable, "-m", "edgepose", "doctor"]
    done = subprocess.run(command, env={**os.environ, **without_library}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr in ("", "edgepose: compiling kernels for this processor, once; this takes a while\n")
    assert "apt-get install libgl1" in done.stdout


@pytest.mark.parametrize("demo", ["minimal.py", "count_people.py", "poses_to_csv.py", "raspberry_pi.py", "webcam.py"])
def test_in_every_demo(without_library: dict[str, str], photo: Path, tmp_path: Path, demo: str) -> None:
    check(stderr(without_library, DEMOS / demo, photo))


@pytest.mark.parametrize("name", ["PoseEstimator", "draw_poses", "read_image", "open_source", "write_image"])
def test_in_the_library(without_library: dict[str, str], name: str) -> None:
    script = f"import sys, edgepose\ntry: edgepose.{name}\nexcept edgepose.MissingLibraryError as error: sys.exit(str(error))"
    check(stderr(without_library, "-c", script))


@pytest.mark.parametrize(
    ("said", "package"),
    [
        (SAID, "libgl1"),
        ("libgthread-2.0.so.0: cannot open shared object file: No such file or directory", "libglib2.0-0"),
        ("libfoo.so.7: cannot open shared object file: No such file or directory", "libfoo.so.7"),
        ("No module named 'cv2'", None),
        ("cannot import name 'x' from 'y'", None),
    ],
)
def test_what_is_missing(said: str, package: str | None) -> None:
    error = missing_library(ImportError(said))
    assert (error is None) == (package is None)
    assert package is None or f"apt-get install {package})" in str(error)
