"""Caches: where there is none, one warning; what is damaged is made anew; nobody writes where another reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepose import caches

SCRIPT = """
import logging, sys
logging.basicConfig(format="%(message)s")
logging.getLogger("edgepose").setLevel(logging.INFO)
from edgepose.kernels.jit import kernel

@kernel
def double(x):
    return 2 * x

@kernel
def half(x):
    return x / 2

print(double(21), half(4))
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="the cache folder is moved by XDG_CACHE_HOME")


def run(folder: Path, script: str = SCRIPT, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))}
    variables |= {"NUMBA_CACHE_DIR": str(folder / "numba"), **environment}
    command = [sys.executable, str(folder / "script.py")]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "suffix"),
    [(empty, ".nbi"), (cut, ".nbi"), (empty, ".nbc"), (garble, ".nbc"), (Path.unlink, ".nbc")],
    ids=["empty index", "cut index", "empty", "zeros at the end", "gone"],
)
def test_damaged_kernels_are_compiled_anew(tmp_path: Path, damage: Callable[[Path], object], suffix: str) -> None:
    assert run(tmp_path).stdout == "42 2.0\n"
    files = [path for path in (tmp_path / "numba").rglob("*") if path.suffix == suffix]
    assert files
    for path in files:
        damage(path)
    assert run(tmp_path).stdout == "42 2.0\n"
    done = run(tmp_path)
    assert (done.stdout, done.stderr) == ("42 2.0\n", "")  # And are whole from then on.


def test_compiling_is_said_once_and_not_again(tmp_path: Path) -> None:
    assert run(tmp_path).stderr.count("compiling kernels") == 1
    assert run(tmp_path).stderr == ""


def test_kernels_of_an_older_source_go(tmp_path: Path) -> None:
    run(tmp_path)
    before = set((tmp_path / "numba").rglob("*.nbc"))
    assert run(tmp_path, SCRIPT.replace("2 * x", "3 * x").replace("42", "63")).stdout == "63 2.0\n"
    after = set((tmp_path / "numba").rglob("*.nbc"))
    assert len(after) == len(before)
    assert before - after  # Files have the names of their content: those of what is the same stay.


@linux
def test_a_full_disk_costs_one_warning(tmp_path: Path) -> None:
    script = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\nimport signal; "
    script += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + SCRIPT
    done = run(tmp_path, script)
    assert done.stdout == "42 2.0\n"
    assert done.stderr.count("cannot be kept") == 2  # The second is no warning.
    assert "File too large" in done.stderr


NOBODY = """
import os, sys
for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
    os.environ.pop(name, None)
import pwd
def nobody(number): raise KeyError(number)
pwd.getpwuid = nobody
from numba.core.caching import InTreeCacheLocator
InTreeCacheLocator.from_function = classmethod(lambda cls, *_: None)  # As of a folder that belongs to root.
from edgepose.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@linux
@pytest.mark.slow
def test_a_user_without_a_home_gets_results_and_one_warning(tmp_path: Path, model: str, photo: Path) -> None:
    command = [sys.executable, "-c", NOBODY, "run", str(photo), "--model", model, "--json", "o.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads((tmp_path / "o.json").read_text())["poses"] == []
    lines = [line for line in done.stderr.splitlines() if line.startswith("edgepose:")]
    assert len(lines) == 1, done.stderr
    assert "the user has no home" in lines[0]
    assert not (tmp_path / "~").exists()


def test_the_lock_is_for_one(tmp_path: Path) -> None:
    if caches.fcntl is None:  # type: ignore[comparison-overlap,unused-ignore]
        pytest.skip("files need no lock here")
    with caches.exclusive(tmp_path) as first, caches.exclusive(tmp_path, patience_s=0) as second:
        assert (first, second) == (True, False)
    with caches.exclusive(tmp_path, patience_s=0) as third:
        assert third
    with caches.exclusive(tmp_path / "absent") as nowhere:
        assert not nowhere


def test_who_waits_for_the_lock_gets_it(tmp_path: Path) -> None:
    got: list[bool] = []

    def wait() -> None:
        with caches.exclusive(tmp_path) as mine:
            got.append(mine)

    thread = threading.Thread(target=wait)
    with caches.exclusive(tmp_path):
        thread.start()
    thread.join()
    assert got == [True]


PEOPLE = """
import sys, numpy as np, edgepose
from edgepose.decoding.paf import decode_poses
random = np.random.default_rng(5)
estimator = edgepose.PoseEstimator()
image = random.integers(0, 255, (96, 128, 3), np.uint8)
poses = estimator(image)
maps = random.random((19, 24, 32)).astype(np.float32), random.random((38, 24, 32)).astype(np.float32)
decoded = decode_poses(*maps)
print(poses.keypoints.tobytes().hex()[:2000], decoded.keypoints.tobytes().hex()[:4000])
"""


@linux
@pytest.mark.slow
def test_processes_that_start_cold_together_find_the_same(tmp_path: Path) -> None:
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "numba"), "XDG_CACHE_HOME": str(tmp_path / "user")}
    command = [sys.executable, "-c", PEOPLE]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=variables, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    said = [process.communicate(timeout=600) for process in processes]
    assert all(process.returncode == 0 for process in processes), said
    assert len({output for output, _ in said}) == 1
    assert subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout == said[0][0]


@linux
def test_a_network_is_compiled_while_nobody_else_is_there(tmp_path: Path, model: str) -> None:
    script = (
        "import sys, edgepose, numpy as np\n"
        "import edgepose.caches as caches\n"
        "estimator = edgepose.PoseEstimator(sys.argv[1])\n"
        "held = []\n"
        "real = caches._locked\n"
        "caches._locked = lambda *arguments: held.append(real(*arguments)) or held[-1]\n"
        "estimator(np.zeros((64, 64, 3), np.uint8))\n"
        "print(held)"
    )
    variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script, model], env=variables, check=True, capture_output=True, text=True)
    assert done.stdout == "[True]\n"
