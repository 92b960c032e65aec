from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import edgepose
from converters import command, export, openvino_ir
from converters.files import core
from edgepose.networks import LightweightOpenPose

pytestmark = pytest.mark.slow

SMALL = ["--width", "0.25", "--input-size", "96x64", "--name", "small"]


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
    return export.main(["lightweight-openpose", "--checkpoint", str(checkpoint), "--output", str(output), *SMALL, *options])


@pytest.mark.parametrize("precision", ["FP16", "FP32"])
def test_the_ir_runs_without_any_other_file(checkpoint, tmp_path, capsys, precision):
    assert run(checkpoint, tmp_path / "ir", "--precision", precision) == 0
    assert "differs from PyTorch by max" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "ir").iterdir()) == ["small.bin", "small.xml"]
    estimator = edgepose.PoseEstimator(tmp_path / "ir" / "small.xml")
    assert (estimator.model.name, estimator.model.size, estimator.model.decoder) == ("small", (64, 96), "paf")
    assert estimator.model.mean == (128, 128, 128)
    for frame in (np.zeros((64, 96, 3), np.uint8), np.zeros((300, 200, 3), np.uint8)):  # other widths, too
        assert isinstance(estimator(frame), edgepose.Poses)


def test_half_precision_takes_half_the_bytes(checkpoint, tmp_path):
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
    arguments = ["--checkpoint", str(tmp_path / "c.pth"), "--output", str(tmp_path), "--input-size", "160x128"]
    assert export.main(["lightweight-openpose", *arguments, "--precision", "FP32"]) == 0
    compiled = core().compile_model(tmp_path / "lightweight_openpose.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    golden = np.load(shared / "golden" / "lightweight_openpose.npz")
    for got, name in zip(compiled(fill.image(128, 160)).values(), ("out2", "out3"), strict=True):
        np.testing.assert_allclose(got, golden[name], atol=1e-4)


def test_the_checkpoint_is_never_written_over(checkpoint, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "small.bin").hardlink_to(checkpoint)
    assert run(checkpoint, tmp_path / "out") == 1
    assert "is what is read here" in capsys.readouterr().err


def test_a_conversion_that_differs_leaves_no_file(checkpoint, tmp_path, monkeypatch, capsys):
    original = openvino_ir.to_openvino

    def broken(network, model):
        torch.manual_seed(1)
        return original(openvino_ir.LastMaps(LightweightOpenPose(1, 0.25), 2).eval(), model)

    monkeypatch.setattr(openvino_ir, "to_openvino", broken)
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
        (checkpoint, ["--input-size", "96x60"], "multiples of 8"),
    ]
    for path, options, message in cases:
        assert run(path, tmp_path / "ir", *options) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error
    assert not (tmp_path / "ir").exists()


def test_an_output_that_cannot_be_written_is_refused(checkpoint, tmp_path, capsys):
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


@pytest.mark.parametrize(
    "options",
    [
        ["--input-size", "256"],
        ["--input-size", "0x8"],
        ["--input-size", "axb"],
        ["--min-score", "2"],
        ["--min-score", "nan"],
        ["--variant", "w32"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_status_2(checkpoint, tmp_path, options):
    with pytest.raises(SystemExit) as caught:
        run(checkpoint, tmp_path, *options)
    assert caught.value.code == 2


def test_the_former_size_is_refused_with_its_value_turned_round(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        run(checkpoint, tmp_path, "--size", "256x456")
    assert caught.value.code == 2
    assert "expected width first: --input-size 456x256" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["openpose"], ["--checkpoint", "c.pt", "--output", "out"]], ids=" ".join)
def test_a_network_has_to_be_named(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        export.main(arguments)
    assert caught.value.code == 2
    assert "NETWORK" in capsys.readouterr().err


@pytest.mark.parametrize(("package", "options"), [("torch", []), ("onnx", ["--onnx"])])
def test_a_missing_package_names_its_extra(checkpoint, tmp_path, monkeypatch, capsys, package, options):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else there(name))
    assert run(checkpoint, tmp_path / "ir", *options) == 1
    error = capsys.readouterr().err
    assert package in error
    assert 'pip install "edgepose[convert]"' in error
    assert not (tmp_path / "ir").exists()


FORMER = {"lightweight_openpose": [], "hrnet": ["--variant", "w32"], "higher_hrnet": []}


@pytest.mark.parametrize(("module", "options"), FORMER.items(), ids=FORMER)
def test_a_former_name_works_and_says_the_new_command(tmp_path, capsys, module, options):
    network = module.replace("_", "-")
    arguments = [*options, "--checkpoint", str(tmp_path / "nowhere.pt"), "--output", str(tmp_path / "ir")]
    results = []
    for main, its_arguments in (
        (importlib.import_module(f"converters.{module}").main, arguments),
        (export.main, [network, *arguments]),
    ):
        results.append((main(its_arguments), capsys.readouterr().err.splitlines()))
    (status, (notice, *error)), expected = results
    assert f"python -m converters.export {network}" in notice
    assert (status, error) == expected
    assert "nowhere.pt" in error[0]


def test_a_former_name_converts_from_the_command_line(checkpoint, tmp_path):
    command_line = [sys.executable, "-m", "converters.lightweight_openpose", "--checkpoint", str(checkpoint), "--output", "ir"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([*command_line, *SMALL], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "is now called python -m converters.export lightweight-openpose" in done.stderr
    assert sorted(p.name for p in (tmp_path / "ir").iterdir()) == ["small.bin", "small.xml"]
