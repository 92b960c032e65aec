"""OpenVINO's core is loaded once. Of compiled networks, those go first that nobody has used for longest."""

from __future__ import annotations

import os
import subprocess
import sys

import tiny_models

from converters.files import core
from edgepose.engines import openvino_core
from edgepose.engines.openvino_core import nothing_kept, remove_oldest


def test_the_oldest_compiled_networks_go_first(tmp_path):
    for index, name in enumerate(("old", "older", "new")):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000, (2000, 1000, 3000)[index]))
    remove_oldest(tmp_path, 300)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new", "old", "older"]
    remove_oldest(tmp_path, 250)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new", "old"]
    remove_oldest(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


def test_folders_in_the_cache_keep_no_old_networks(tmp_path):
    """Plugins of OpenVINO may make some, and so may anybody else."""
    for index, name in enumerate(("a/old", "a/b/older", "new")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1000, (2000, 1000, 3000)[index]))
    (tmp_path / "gone").symlink_to("nowhere")
    remove_oldest(tmp_path, 299)
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()) == ["a/old", "new"]
    remove_oldest(tmp_path, 0)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_what_cannot_be_deleted_keeps_nothing_else(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (ord(name), ord(name)))
    unlink = os.unlink

    def refuse(path):
        if path.endswith("a"):
            raise PermissionError(path)
        unlink(path)

    monkeypatch.setattr(os, "unlink", refuse)
    remove_oldest(tmp_path, 150)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a"]


def test_nothing_is_kept_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(openvino_core, "core", core)
    network = tiny_models.network()
    network.reshape([1, 3, 16, 16])
    core().set_property({"CACHE_DIR": str(tmp_path)})
    try:
        with nothing_kept():
            core().compile_model(network, "CPU")
        assert list(tmp_path.iterdir()) == []
        core().compile_model(network, "CPU")
        assert list(tmp_path.iterdir()) != []
    finally:
        core().set_property({"CACHE_DIR": ""})


def test_openvino_is_loaded_once_even_if_threads_ask_at_the_same_time() -> None:
    program = """
import concurrent.futures, faulthandler, gc, os, signal, threading
from edgepose.engines.openvino_core import core
faulthandler.enable()  # Signals have a stack of their own then.
together = threading.Barrier(8)
def load(_):
    together.wait()
    return core()
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    cores = list(pool.map(load, range(8)))
assert all(each is cores[0] for each in cores)
core().available_devices
threading.Thread(target=lambda: (cores.clear(), gc.collect())).start()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
