"""The folder of compiled networks: what nobody has used for longest goes first, and a run can keep nothing in it."""

from __future__ import annotations

import os

import openvino as ov
import tiny_models

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
    core = ov.Core()
    core.set_property({"CACHE_DIR": str(tmp_path)})
    monkeypatch.setattr(openvino_core, "core", lambda: core)
    network = tiny_models.network()
    network.reshape([1, 3, 16, 16])
    with nothing_kept():
        core.compile_model(network, "CPU")
    assert list(tmp_path.iterdir()) == []
    core.compile_model(network, "CPU")
    assert list(tmp_path.iterdir()) != []
