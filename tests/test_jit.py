"""The folder where kernels are cached; each case in a process of its own, as Numba decides when a kernel is defined."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import logging, sys
logging.basicConfig(format="%(message)s")
from edgepose.kernels.jit import kernel

@kernel
def double(x):
    return 2 * x

print(double(21))
"""


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))}
    return subprocess.run(
        [sys.executable, str(script)], env={**variables, **environment}, capture_output=True, text=True, check=True
    )


def cached(folder: Path) -> list[Path]:
    return list(folder.rglob("*.nbi"))


def test_kernels_are_cached_in_the_usual_place(tmp_path):
    assert run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "numba")).stdout == "42\n"
    assert cached(tmp_path / "numba")


@pytest.fixture
def nothing_usual(tmp_path: Path) -> dict[str, str]:
    """An environment in which files stand where Numba's usual folders would be."""
    for name in ("__pycache__", "chosen", "home/numba"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("in the way")
    return {"NUMBA_CACHE_DIR": str(tmp_path / "chosen"), "XDG_CACHE_HOME": str(tmp_path / "home")}


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder is moved by XDG_CACHE_HOME")
def test_where_the_usual_place_cannot_be_written_our_folder_is_used(tmp_path, nothing_usual):
    done = run(tmp_path, **nothing_usual)
    assert (done.stdout, done.stderr) == ("42\n", "")
    assert cached(tmp_path / "home" / "edgepose")


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder is moved by XDG_CACHE_HOME")
def test_where_nothing_can_be_written_kernels_run_without_a_cache(tmp_path, nothing_usual):
    (tmp_path / "home" / "edgepose").write_text("in the way")
    done = run(tmp_path, **nothing_usual)
    assert done.stdout == "42\n"
    assert "set NUMBA_CACHE_DIR" in done.stderr
    assert not cached(tmp_path)
