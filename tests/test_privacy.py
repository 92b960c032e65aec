"""Nothing calls home: every command, converter and the training, each in a process of its own in an empty home folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_models
import training_data

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]

# Python imports a module of this name at its start. Notes whatever looks up a host, connects or sends without a connection.
WITNESS = """
import os, sys

def note(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] == "127.0.0.1":
        return  # A server on its way to listen.
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto", "socket.sendmsg"):
        with open(os.environ["WITNESS"], "a") as file:
            print(event, arguments, file=file)

sys.addaudithook(note)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An empty home folder, no proof of consent or refusal in the environment, and a witness of every connection."""
    for name in ("home", "site"):
        (tmp_path / name).mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITNESS)
    silent = {"CI", "TF_BUILD", "JENKINS_URL", "NNCF_CI", "NNCF_DEV", "XDG_CACHE_HOME", "PYTEST_CURRENT_TEST"}
    kept = {name: value for name, value in os.environ.items() if name not in silent}
    home = str(tmp_path / "home")
    paths = os.pathsep.join([str(tmp_path / "site"), str(ROOT), str(ROOT / "tests")])
    return {**kept, "HOME": home, "LOCALAPPDATA": home, "PYTHONPATH": paths, "WITNESS": str(tmp_path / "witnessed.txt")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Made-up photos with annotations, a small model and a checkpoint."""
    folder = tmp_path / "data"
    folder.mkdir()
    content = training_data.make(folder)
    content["categories"][0]["keypoints"] = ["nose"] * training_data.KEYPOINTS
    for person in content["annotations"]:
        person["area"] = 900.0
    training_data.save(folder, content)
    tiny_models.save(folder)
    photo = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    (folder / "photos").mkdir()
    assert cv2.imwrite(str(folder / "photos" / "a.png"), photo)
    return folder


def check_silence(environment: dict[str, str]) -> None:
    witnessed = Path(environment["WITNESS"])
    assert not witnessed.exists(), witnessed.read_text()
    assert not [name for name in os.listdir(environment["HOME"]) if name.lower().startswith("intel")]


def python(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL
    )


def test_the_witness_sees_a_connection(environment: dict[str, str], folder: Path) -> None:
    script = "import socket\ntry: socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError: pass"
    assert python(environment, folder, "-c", script).returncode == 0
    assert "socket.connect" in Path(environment["WITNESS"]).read_text()


COMMANDS = {
    "run": ["-m", "edgepose", "run", "photos", "--model", "tiny.xml", "--json", "-"],
    "demo": ["-m", "edgepose", "demo", "--image", "photos/a.png", "--output", "out.png", "--model", "tiny.xml"],
    "benchmark": ["-m", "edgepose", "benchmark", "--model", "tiny.xml", "--frames", "3", "--source", "photos"],
    "models": ["-m", "edgepose", "models", "list"],
    "eval": ["-m", "edgepose", "eval", "--annotations", "annotations.json", "--images", ".", "--model", "tiny.xml"],
    "doctor": ["-m", "edgepose", "doctor"],
    "library": ["-c", "import cv2, edgepose; edgepose.PoseEstimator('tiny.xml')(cv2.imread('photos/a.png'))"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_command_opens_no_connection(environment: dict[str, str], folder: Path, arguments: list[str]) -> None:
    done = python(environment, folder, *arguments)
    assert done.returncode == 0, done.stderr
    check_silence(environment)


def test_a_server_opens_no_connection_of_its_own(environment: dict[str, str], folder: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    arguments = ["-m", "edgepose", "serve", "photos", "--model", "tiny.xml", "--port", "0", "--loop"]
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "http://127.0.0.1" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    check_silence(environment)


def _checkpoint(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from edgepose.networks import LightweightOpenPose

    torch.save({"state_dict": LightweightOpenPose(1, 0.25).state_dict()}, folder / "checkpoint.pt")


def _nothing(folder: Path) -> None:
    pass


PROGRAMS: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "export": (
        _checkpoint,
        [
            "-m", "converters.export", "lightweight-openpose", "--checkpoint", "checkpoint.pt", "--width", "0.25",
            "--input-size", "96x64", "--photos", "photos/a.png", "--output", "out",
        ],
        "torch",
    ),
    "quantise": (
        _nothing,
        # Whether INT8 passes does not matter here: NNCF has reported by then, if it does.
        ["-m", "converters.quantize", "tiny.xml", "--images", "photos", "--output", "out"],
        "nncf",
    ),
    "training": (
        _nothing,
        [
            "-m", "edgepose.training", "--annotations", "annotations.json", "--images", ".", "--output", "out", "--width",
            "0.05", "--batch-size", "2", "--crop", "32", "--steps", "1", "--held-out", "1", "--workers", "1", "--device", "cpu",
            "--teacher", "tiny.xml",
        ],
        "torch",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "arguments", "package"), PROGRAMS.values(), ids=PROGRAMS)
def test_converters_and_training_open_no_connection(
    environment: dict[str, str], folder: Path, make: Callable[[Path], None], arguments: list[str], package: str
) -> None:
    pytest.importorskip(package)
    make(folder)
    done = python(environment, folder, *arguments)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    check_silence(environment)


def test_no_system_call_connects(environment: dict[str, str], folder: Path, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("no strace; the tests above see what Python does, this one also what libraries do")
    trace = tmp_path / "trace.txt"
    command = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=connect,sendto", sys.executable, *COMMANDS["run"]]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if "PTRACE" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert "AF_INET" not in trace.read_text()


def test_others_keep_what_they_have_imported(environment: dict[str, str], folder: Path) -> None:
    pytest.importorskip("openvino")
    script = "import sys; sys.modules['openvino_telemetry'] = mine = object(); import edgepose; "
    done = python(environment, folder, "-c", script + "assert sys.modules['openvino_telemetry'] is mine")
    assert done.returncode == 0, done.stderr
