"""The command as a process: signals, closed streams, and readers that leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from command_line import start, write_video

needs_sh = pytest.mark.skipif(shutil.which("sh") is None, reason="no sh to close streams with")


def wait_for_lines(process: subprocess.Popen[str], folder: Path) -> Path:
    """The part of o.jsonl, once there is something in it."""
    while True:
        for part in folder.glob(".o.*.part"):
            if part.stat().st_size > 1000:
                return part
        assert process.poll() is None, process.communicate()


ENDINGS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS, ids=["Ctrl-C", "stop of a service", "closed terminal"][: len(ENDINGS)])
def test_interrupt_keeps_what_was_computed(model, tmp_path, ending):
    video = write_video(tmp_path / "v.avi", 20000)
    out = tmp_path / "o.jsonl"
    out.write_text("yesterday's")
    process = start("run", video, "--model", model, "--json", out, "--save", tmp_path / "o.mp4")
    wait_for_lines(process, tmp_path)
    assert out.read_text() == "yesterday's"
    process.send_signal(ending)
    process.send_signal(ending)  # Terminals send it twice, and people, too.
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert 0 < len(lines) < 20000
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    assert capture.read()[0]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_the_older_file_and_the_part(model, tmp_path):
    video = write_video(tmp_path / "v.avi", 20000)
    out = tmp_path / "o.jsonl"
    out.write_text("yesterday's")
    process = start("run", video, "--model", model, "--json", out)
    part = wait_for_lines(process, tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert out.read_text() == "yesterday's"
    assert json.loads(part.read_text().splitlines()[0])["frame"] == 0


def test_a_reader_that_leaves_costs_the_other_output_nothing(model, tmp_path):
    video = write_video(tmp_path / "v.avi", 5000)
    process = start("run", video, "--model", model, "--json", "-", "--save", tmp_path / "o.mp4", stdout=subprocess.PIPE)
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()
    assert cv2.VideoCapture(str(tmp_path / "o.mp4")).read()[0]


@needs_sh
@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-", ">&- 2>&-", ">&-"])
def test_closed_standard_streams_cost_no_results(model, photo, tmp_path, closed):
    command = f'exec "$0" -m edgepose run "$1" --model "$2" --json "$3" {closed}'
    arguments = ["sh", "-c", command, sys.executable, str(photo), model, str(tmp_path / "o.json")]
    assert subprocess.run(arguments, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    assert json.loads((tmp_path / "o.json").read_text())["poses"] == []


@needs_sh
def test_results_for_a_closed_standard_output_are_an_error_in_a_line(model, photo):
    command = 'exec "$0" -m edgepose run "$1" --model "$2" --json - >&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, str(photo), model], check=False, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("edgepose: -: cannot be written: standard output is closed")
    assert done.stderr.count("\n") == 1


def test_from_another_folder_as_a_command(model, photo, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "edgepose", "run", str(photo), "--model", model, "--json", "-"],
        cwd=tmp_path, env={**os.environ, "EDGEPOSE_MODELS": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["poses"] == []
    assert done.stderr.count("\n") == 1  # the summary: no progress bar where there is no terminal
