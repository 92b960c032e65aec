"""The export of HigherHRNet: an IR that runs by itself, with all that inference does to the maps in its graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import edgepose
from converters import command, export
from converters.files import core
from edgepose.networks import HigherHRNet, hrnet
from edgepose.networks.checkpoints import load_higher_hrnet
from edgepose.networks.hrnet import HRNetConfig, Stage

pytestmark = pytest.mark.slow

SMALL = HRNetConfig((Stage(1, 1), Stage(1, 1), Stage(1, 1)), channels=(8, 16, 24, 32), bottlenecks=1)
NAME = "higher_hrnet_w32"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of a network that is small enough for tests, which is what "w32" means while they run."""
    path = tmp_path_factory.mktemp("higher") / "small.pth"
    torch.manual_seed(0)
    torch.save(HigherHRNet(SMALL).state_dict(), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(hrnet.VARIANTS, "w32", SMALL)
        patch.setattr(command.logging, "basicConfig", lambda **_: None)
        yield path


@pytest.fixture(scope="module")
def folder(small: Path) -> Path:
    """The IR that the converter makes of it."""
    pytest.importorskip("onnx")
    assert run(small, small.parent / "ir", "--precision", "FP32", "--onnx") == 0
    return small.parent / "ir"


def run(checkpoint: Path, output: Path, *options: str) -> int:
    arguments = ["--checkpoint", str(checkpoint), "--output", str(output), "--input-size", "96x64", *options]
    return export.main(["higher-hrnet", *arguments])


def test_the_ir_runs_without_any_other_file(folder):
    assert sorted(p.name for p in folder.iterdir()) == [f"{NAME}.{suffix}" for suffix in ("bin", "onnx", "xml", "yaml")]
    for suffix in ("xml", "onnx"):
        estimator = edgepose.PoseEstimator(folder / f"{NAME}.{suffix}")
        assert (estimator.model.decoder, estimator.model.size, estimator.model.stride) == ("tags", (64, 96), 2)
        assert estimator.engine.output_channels == (34,)
        for frame in (np.zeros((64, 96, 3), np.uint8), np.zeros((300, 200, 3), np.uint8)):  # other shapes, too
            assert estimator(frame).skeleton is edgepose.COCO17


def test_the_graph_makes_final_maps_of_both_outputs(small, folder):
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3, 96, 64)).astype(np.float32)
    network = HigherHRNet(SMALL).eval()
    load_higher_hrnet(network, small)
    with torch.inference_mode():
        coarse, fine = (output[0].numpy() for output in network(torch.from_numpy(x)))
    finer = np.stack([cv2.resize(plane, (32, 48), interpolation=cv2.INTER_LINEAR) for plane in coarse])
    compiled = core().compile_model(folder / f"{NAME}.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (maps,) = compiled(x).values()
    assert maps.shape == (1, 34, 48, 32)
    np.testing.assert_allclose(maps[0, :17], (finer[:17] + fine) / 2, atol=1e-4 * np.abs(fine).max())
    np.testing.assert_allclose(maps[0, 17:], finer[17:], atol=1e-4 * np.abs(finer).max())


def test_the_checkpoint_runs_on_pytorch_as_its_ir_on_openvino(small, folder):
    small.with_suffix(".yaml").write_text((folder / f"{NAME}.yaml").read_text())
    on_openvino = edgepose.PoseEstimator(folder / f"{NAME}.xml", precision="f32")
    on_torch = edgepose.PoseEstimator(small, backend="torch", device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)
    crop = image[None, :64, :64]
    (ours,), (theirs,) = (estimator.engine.submit(crop).result() for estimator in (on_openvino, on_torch))
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    assert isinstance(on_torch(image), edgepose.Poses)


def test_bad_input_is_one_line_and_no_file(small, tmp_path, capsys):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    cases = [
        (tmp_path / "other.pth", [], "missing"),
        (tmp_path / "nowhere.pth", [], "nowhere.pth"),
        (small, ["--variant", "w48"], "the file is of HigherHRNet-W8, the network is HigherHRNet-W48"),
        (small, ["--input-size", "96x100"], "multiples of 32"),
    ]
    for path, options, message in cases:
        assert run(path, tmp_path / "ir", *options) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error
    assert not (tmp_path / "ir").exists()
