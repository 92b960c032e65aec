from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch

import edgepose
from converters import command, export, lightweight_openpose
from edgepose.networks import LightweightOpenPose

pytestmark = pytest.mark.slow

SMALL = ["--width", "0.25", "--size", "64x96", "--name", "small"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "checkpoint.pt"
    torch.save({"state_dict": LightweightOpenPose(1, 0.25).state_dict()}, path)
    return path


@pytest.fixture(autouse=True)
def _the_logging_of_the_command_is_not_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.logging, "basicConfig", lambda **_: None)


def run(checkpoint: Path, output: Path, *options: str) -> int:
    return lightweight_openpose.main(["--checkpoint", str(checkpoint), "--output", str(output), *SMALL, *options])


@pytest.mark.parametrize("precision", ["FP16", "FP32"])
def test_the_ir_needs_nothing_else(checkpoint, tmp_path, capsys, precision):
    assert run(checkpoint, tmp_path / "ir", "--precision", precision) == 0
    assert "differs from PyTorch by max" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "ir").iterdir()) == ["small.bin", "small.xml"]
    estimator = edgepose.PoseEstimator(tmp_path / "ir" / "small.xml")
    assert (estimator.model.name, estimator.model.size, estimator.model.decoder) == ("small", (64, 96), "paf")
    assert estimator.model.mean == (128, 128, 128)
    for frame in (np.zeros((64, 96, 3), np.uint8), np.zeros((300, 200, 3), np.uint8)):  # other widths, too
        assert isinstance(estimator(frame), edgepose.Poses)


def test_half_precision_is_half_the_size(checkpoint, tmp_path):
    for precision in ("FP16", "FP32"):
        assert run(checkpoint, tmp_path / precision, "--precision", precision) == 0
    sizes = [(tmp_path / precision / "small.bin").stat().st_size for precision in ("FP16", "FP32")]
    assert sizes[0] == pytest.approx(sizes[1] / 2, rel=0.05)


def test_ir_equals_pytorch_on_the_parity_weights(shared, fill, tmp_path):
    network = LightweightOpenPose()
    state = {
        name: tensor if name.endswith("num_batches_tracked") else torch.from_numpy(fill.weights(name, tuple(tensor.shape)))
        for name, tensor in network.state_dict().items()
    }
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "c.pth")
    arguments = ["--checkpoint", str(tmp_path / "c.pth"), "--output", str(tmp_path), "--size", "128x160", "--precision", "FP32"]
    assert lightweight_openpose.main(arguments) == 0
    compiled = ov.Core().compile_model(tmp_path / "lightweight_openpose.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    golden = np.load(shared / "golden" / "lightweight_openpose.npz")
    for got, name in zip(compiled(fill.image(128, 160)).values(), ("out2", "out3"), strict=True):
        np.testing.assert_allclose(got, golden[name], atol=1e-4)


def test_the_checkpoint_is_never_written_over(checkpoint, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "small.bin").hardlink_to(checkpoint)
    assert run(checkpoint, tmp_path / "out") == 1
    assert "is what is read here" in capsys.readouterr().err


def test_a_conversion_that_differs_leaves_no_file(checkpoint, tmp_path, monkeypatch, capsys):
    original = export.to_openvino

    def broken(network, model):
        torch.manual_seed(1)
        return original(export.LastMaps(LightweightOpenPose(1, 0.25), 2).eval(), model)

    monkeypatch.setattr(export, "to_openvino", broken)
    assert run(checkpoint, tmp_path / "ir") == 1
    assert "differs from PyTorch" in capsys.readouterr().err
    assert not (tmp_path / "ir").exists()


def test_bad_input_is_one_line_and_no_file(checkpoint, tmp_path, capsys):
    other = tmp_path / "other.pt"
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, other)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(checkpoint.read_bytes()[:1000])
    cases = [
        (other, [], "missing"),
        (cut, [], "cut.pt"),
        (tmp_path / "nowhere.pt", [], "nowhere.pt"),
        (checkpoint, ["--width", "0.5"], "width"),
        (checkpoint, ["--size", "60x96"], "multiples of 8"),
    ]
    for path, options, message in cases:
        assert run(path, tmp_path / "ir", *options) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error
    assert not (tmp_path / "ir").exists()


def test_unwritable_output(checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run(checkpoint, tmp_path / "file" / "ir") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_pickle_that_would_run_code_is_refused(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    assert run(tmp_path / "evil.pt", tmp_path / "ir") == 1
    assert "evil.pt" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("size", ["256", "0x8", "axb"])
def test_wrong_usage(checkpoint, tmp_path, size):
    with pytest.raises(SystemExit) as caught:
        run(checkpoint, tmp_path, "--size", size)
    assert caught.value.code == 2


def test_without_pytorch_the_extra_is_named(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run(checkpoint, tmp_path / "ir") == 1
    assert 'pip install "edgepose[convert]"' in capsys.readouterr().err
    assert not (tmp_path / "ir").exists()
