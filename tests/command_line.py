"""The command line for tests: run in this process or in one of its own, with what it reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.cli.main import main


def write_video(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(frames):
        writer.write(np.full((48, 64, 3), 128, np.uint8))
    writer.release()
    return path


def run(*arguments: object) -> int:
    """The command line in this process; wrong usage exits by itself, as argparse does."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as error:
        return int(error.code or 0)


def failure(capsys: pytest.CaptureFixture[Any]) -> str:
    """The message on stderr, which has to be one line and no traceback."""
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("edgepose:")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def spellings(path: Path) -> dict[str, Path]:
    """Other names of a file that is there, in a folder of their own; the suffix is `path`'s."""
    folder = path.parent / "names"
    folder.mkdir()
    (folder / f"symbolic{path.suffix}").symlink_to(path)
    (folder / f"hard{path.suffix}").hardlink_to(path)
    return {
        "itself": path,
        "symbolic link": folder / f"symbolic{path.suffix}",
        "hard link": folder / f"hard{path.suffix}",
        "dots": folder / ".." / path.name,
    }


# Where the tests run in the background, Ctrl-C is ignored, and would be in the command, too.
SCRIPT = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from edgepose.cli.main import main; "


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-c", SCRIPT + "sys.exit(main(sys.argv[1:]))", *map(str, arguments)]
    return subprocess.Popen(command, text=True, **{"stderr": subprocess.PIPE, **options})
