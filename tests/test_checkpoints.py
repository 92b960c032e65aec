"""Checkpoints: every known naming loads, everything else is refused with all that does not fit, and no pickle runs code."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter, OrderedDict
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgepose.errors import MissingExtraError, ModelError
from edgepose.networks import HRNet, LightweightOpenPose, checkpoints
from edgepose.networks.checkpoints import load_hrnet, load_lightweight_openpose, load_tensors, read_state_dict
from edgepose.networks.hrnet import HRNetConfig, Stage

SMALL = HRNetConfig((Stage(1, 1), Stage(1, 1), Stage(1, 1)), channels=(8, 16, 24, 32), bottlenecks=1)
WIDE = replace(SMALL, channels=(16, 32, 48, 64))

TRAINING = {
    "optimizer": {"state": {0: {"step": 9, "exp_avg": torch.ones(8)}}, "param_groups": [{"lr": 4e-5, "params": [0]}]},
    "scheduler": {"milestones": Counter({100: 1}), "gamma": 0.333},
}


def lightweight(stages: int = 1) -> LightweightOpenPose:
    return LightweightOpenPose(stages, width=0.25)


def random_weights(network: nn.Module) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(7)
    return {
        name: torch.rand(tensor.shape, generator=random) if tensor.is_floating_point() else torch.tensor(5)
        for name, tensor in network.state_dict().items()
    }


def assert_loaded(network: nn.Module, weights: dict[str, Tensor]) -> None:
    loaded = network.state_dict()
    assert list(loaded) == list(weights)
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)


def save_npz(weights: dict[str, Tensor], path: Path) -> None:
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in weights.items()}
    np.savez(path, **arrays)


def save_legacy(content: object, path: Path) -> None:
    """As torch before 1.6 saved."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("file", "save"),
    [
        pytest.param("a.pth", torch.save, id="pth"),
        pytest.param("a.pt", torch.save, id="pt"),
        pytest.param("a.pth.tar", torch.save, id="tar"),
        pytest.param("A.PTH", torch.save, id="upper-case"),
        pytest.param("a.pth", save_legacy, id="pth-before-torch-1.6"),
        pytest.param("a.pth", lambda w, p: torch.save({f"module.{n}": t for n, t in w.items()}, p), id="module-prefix"),
        pytest.param("a.pth", lambda w, p: torch.save({"iter": 9, "state_dict": w, **TRAINING}, p), id="with-training-state"),
        pytest.param("a.safetensors", save_file, id="safetensors"),
        pytest.param("a.npz", save_npz, id="npz"),
    ],
)
def test_lightweight_openpose_loads_from_every_kind_of_file(tmp_path, file, save):
    network = lightweight()
    weights = random_weights(network)
    save(weights, tmp_path / file)
    load_lightweight_openpose(network, tmp_path / file)
    assert_loaded(network, weights)


def test_trained_weights_of_width_075_load(shared):
    network = LightweightOpenPose(width=0.75)
    load_lightweight_openpose(network, shared / "data" / "weights" / "lightweight_openpose_075.npz")
    trained = np.load(shared / "data" / "weights" / "lightweight_openpose_075.npz")
    assert network.model[0][0].weight.dtype == torch.float32
    np.testing.assert_array_equal(network.model[0][0].weight.detach().numpy(), trained["model.0.0.weight"])


def test_extra_stages_are_dropped_on_request_and_logged(tmp_path, caplog):
    weights = random_weights(lightweight(stages=3))
    torch.save(weights, tmp_path / "three.pth")
    network = lightweight(stages=1)
    with caplog.at_level(logging.INFO):
        load_lightweight_openpose(network, tmp_path / "three.pth", drop_extra_stages=True)
    kept = {name: weights[name] for name in weights if not name.startswith(("refinement_stages.1", "refinement_stages.2"))}
    assert_loaded(network, kept)
    assert f"left out {len(weights) - len(kept)} tensors" in caplog.text
    assert all(name in caplog.text for name in weights.keys() - kept.keys())


def mmpose_names(weights: dict[str, Tensor], head: str) -> dict[str, Tensor]:
    return {
        f"{head}.{name}" if name.startswith("final_layer.") else f"backbone.{name}": tensor for name, tensor in weights.items()
    }


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(lambda w: w, id="official"),
        pytest.param(lambda w: {"epoch": 210, "best_state_dict": w, "state_dict": w, "perf": 0.74}, id="official-training"),
        pytest.param(lambda w: {"meta": {"epoch": 210}, "state_dict": mmpose_names(w, "keypoint_head")}, id="mmpose-0"),
        pytest.param(lambda w: {"meta": {"epoch": 210}, "state_dict": mmpose_names(w, "head")}, id="mmpose-1"),
    ],
)
def test_hrnet_loads_by_every_naming(tmp_path, whole):
    network = HRNet(SMALL)
    weights = random_weights(network)
    torch.save(whole(weights), tmp_path / "hrnet.pth")
    load_hrnet(network, tmp_path / "hrnet.pth")
    assert_loaded(network, weights)


@pytest.mark.parametrize("save", [torch.save, save_legacy])
def test_training_leftovers_of_mmengine_are_ignored_without_being_built(tmp_path, monkeypatch, caplog, save):
    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history = np.arange(3.0)
            self._statistics_methods = {"mean": HistoryBuffer.mean}

        def mean(self) -> None: ...

    for item, name in ((HistoryBuffer, "HistoryBuffer"), (HistoryBuffer.mean, "HistoryBuffer.mean")):
        item.__module__, item.__qualname__ = "mmengine.logging.history_buffer", name
    home: Any = ModuleType("mmengine.logging.history_buffer")
    home.HistoryBuffer = HistoryBuffer
    network = HRNet(SMALL)
    weights = random_weights(network)
    whole = {
        "meta": {"dataset_meta": {"sigmas": np.ones(17, np.float32)}, "hook_msgs": {"best_score": np.float64(0.749)}},
        "message_hub": {"log_scalars": OrderedDict(loss=HistoryBuffer())},
        "state_dict": {"data_preprocessor.mean": torch.zeros(3, 1, 1), **mmpose_names(weights, "head")},
    }
    with monkeypatch.context() as patch:
        for module in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
            patch.setitem(sys.modules, module, home)
        save(whole, tmp_path / "hrnet.pth")
    content = (tmp_path / "hrnet.pth").read_bytes()
    assert b"getattr\n" in content
    if save is save_legacy:  # by the names of NumPy 1
        (tmp_path / "hrnet.pth").write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    known = set(torch.serialization.get_safe_globals())
    with caplog.at_level(logging.INFO):
        load_hrnet(network, tmp_path / "hrnet.pth")
    assert_loaded(network, weights)
    assert "left out 1 tensors: data_preprocessor.mean" in caplog.text
    assert set(torch.serialization.get_safe_globals()) == known


def test_two_heads_are_refused(tmp_path):
    weights = random_weights(HRNet(SMALL))
    torch.save({**mmpose_names(weights, "head"), **mmpose_names(weights, "keypoint_head")}, tmp_path / "both.pth")
    expected = r"two tensors for final_layer\.weight, expected one; keypoint_head\.final_layer\.weight is the second"
    with pytest.raises(ModelError, match=expected):
        load_hrnet(HRNet(SMALL), tmp_path / "both.pth")


@pytest.mark.parametrize(
    ("load", "ours", "theirs", "message"),
    [
        pytest.param(
            load_lightweight_openpose,
            lightweight(stages=1),
            lightweight(stages=3),
            r"176 unexpected \(refinement_stages\.1\..*; the file has 3 refinement stages, the network 1; pass drop_extra",
            id="extra-stages",
        ),
        pytest.param(
            partial(load_lightweight_openpose, drop_extra_stages=True),
            lightweight(stages=2),
            lightweight(stages=1),
            r"78 missing \(refinement_stages\.1\..*; the file has 1 refinement stages, the network 2$",
            id="too-few-stages",
        ),
        pytest.param(
            load_lightweight_openpose,
            LightweightOpenPose(width=0.5),
            LightweightOpenPose(width=0.75),
            r"misshapen \(model\.0\.0\.weight 24x3x3x3, expected 16x3x3x3, .*; .* width 0\.75; build .*\(width=0\.75\)$",
            id="another-width",
        ),
        pytest.param(load_hrnet, HRNet(SMALL), HRNet(WIDE), r"; the file is of HRNet-W16, .* is HRNet-W8$", id="wider"),
        pytest.param(load_hrnet, HRNet(SMALL), lightweight(), r"missing .*unexpected .* looks like .* another", id="another"),
    ],
)
def test_misfits_are_explained(tmp_path, load, ours, theirs, message):
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    with pytest.raises(ModelError, match=r"theirs\.safetensors does not fit .*" + message):
        load(ours, tmp_path / "theirs.safetensors")


def test_every_misfit_is_counted_and_named_and_nothing_is_loaded():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors = {"0.weight": torch.ones(4, 3, 3, 3), "0.bias": torch.ones(4), "1.weight": torch.ones(4), "2.bias": torch.ones(())}
    expected = (
        "somewhere does not fit Sequential: 3 missing (1.bias 4, 1.running_mean 4, 1.running_var 4); "
        "1 unexpected (2.bias scalar); 1 misshapen (0.weight 4x3x3x3, expected 4x3x1x1)"
    )
    with pytest.raises(ModelError) as refused:
        load_tensors(network, tensors, source="somewhere")
    assert str(refused.value) == expected
    assert_loaded(network, before)


def test_long_lists_are_cut():
    with pytest.raises(ModelError, match=r"^x does not fit HRNet: \d{3} missing \((\S+ \S+, ){4}and \d{3} more\)") as refused:
        load_tensors(HRNet(SMALL), {}, source="x")
    assert len(str(refused.value)) < 300


def test_batch_counters_may_be_absent_and_keep_their_values(tmp_path, caplog):
    network = HRNet(SMALL)
    weights = random_weights(network)
    counters = [name for name in weights if name.endswith("num_batches_tracked")]
    torch.save({name: tensor for name, tensor in weights.items() if name not in counters}, tmp_path / "old.pth")
    with caplog.at_level(logging.INFO):
        load_hrnet(network, tmp_path / "old.pth")
    assert_loaded(network, {name: torch.tensor(0) if name in counters else tensor for name, tensor in weights.items()})
    assert "no batch counters" in caplog.text


class Calling:
    """An object whose pickle makes its reader call `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments

    def __call__(self) -> None:
        """Never called; pickle wants every function to have one."""


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(lambda folder: Calling(os.mkdir, folder), id="function"),
        pytest.param(lambda folder: Calling(exec, f"import os; os.mkdir({folder!r})"), id="exec"),
        pytest.param(lambda folder: Calling(Calling(getattr, OrderedDict, "fromkeys"), [folder]), id="by-known-getattr"),
    ],
)
@pytest.mark.parametrize("save", [torch.save, save_legacy])
def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, payload, save):
    attack = payload(str(tmp_path / "ran"))
    save({"state_dict": {"weight": torch.ones(1)}, "meta": attack}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"evil\.pth refers to code \(.*\), which a pickle could run, and is not read"):
        read_state_dict(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()
    if not isinstance(attack.function, Calling):  # read without care, it runs
        torch.load(tmp_path / "evil.pth", weights_only=False)
        assert (tmp_path / "ran").is_dir()


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(ModelError, match=r"refers to code \(torch\.nn\.modules\.linear\.Linear\).*save network\.state_dict"):
        read_state_dict(tmp_path / "module.pt")


def test_objects_in_an_npz_are_refused_and_do_not_run(tmp_path):
    np.savez(tmp_path / "evil.npz", weight=np.array([Calling(os.mkdir, str(tmp_path / "ran"))], dtype=object))
    with pytest.raises(ModelError, match=r"evil\.npz is no checkpoint, or truncated or damaged \(Object arrays"):
        read_state_dict(tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "save"),
    [("a.pth", torch.save), ("a.pth", save_legacy), ("a.safetensors", save_file), ("a.npz", save_npz)],
)
@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "zeros"])
def test_damaged_files_are_refused(tmp_path, file, save, damage):
    save({"weight": torch.rand(64, 64)}, tmp_path / file)
    content = (tmp_path / file).read_bytes()
    damaged = {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "text": b"<!DOCTYPE html><html><body>404: not found</body></html>",
        "zeros": bytes(len(content)),
    }
    (tmp_path / file).write_bytes(damaged[damage])
    with pytest.raises(ModelError, match=r"is no checkpoint, or truncated or damaged \([^\n]+\); fetch or save it again$"):
        read_state_dict(tmp_path / file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param([torch.ones(1)], r"holds a list, expected a state dict: tensors by name$", id="list"),
        pytest.param({"state_dict": {}}, r"holds nothing, expected a state dict", id="empty-under-key"),
        pytest.param(
            {"epoch": 3, "model": {"weight": torch.ones(1)}},
            r"holds 2 entries that are no tensors \(epoch \(int\), model \(dict\)\), expected .* under the key 'state_dict'",
            id="another-key",
        ),
        pytest.param({"state_dict": {"weight": np.ones(2)}}, r"holds 1 entries that are no tensors \(weight ", id="numpy"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=message):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("absent.pth", r"absent\.pth is not there, expected a checkpoint file$", id="missing"),
        pytest.param("folder.pth", r"folder\.pth is a folder, expected a checkpoint file$", id="folder"),
        pytest.param("model.onnx", r"expected one of: \.pth, \.pt, \.tar, \.safetensors, \.npz$", id="another-kind"),
    ],
)
def test_what_is_no_checkpoint_file_is_refused(tmp_path, name, message):
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(ModelError, match=message):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed], ids=["plain", "compressed"])
def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, compress):
    compress(tmp_path / "bomb.npz", weight=np.zeros(100_000, np.float32))
    monkeypatch.setattr(checkpoints, "MAX_BYTES", 100_000)
    with pytest.raises(ModelError, match=r"bomb\.npz unpacks to .* GiB, expected at most"):
        read_state_dict(tmp_path / "bomb.npz")


def test_missing_safetensors_names_the_extra(tmp_path, monkeypatch):
    save_file({"weight": torch.ones(1)}, tmp_path / "a.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingExtraError, match=r"safetensors is not installed.*edgepose\[convert\]"):
        read_state_dict(tmp_path / "a.safetensors")
