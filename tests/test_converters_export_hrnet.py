from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import edgepose
from converters import export
from edgepose.networks import HRNet
from edgepose.networks.hrnet import VARIANTS
from edgepose.skeleton import MPII16
from edgepose.zoo.registry import to_yaml

pytestmark = pytest.mark.slow

SMALL = ["--input-size", "64x64"]


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoints") / "compact.pt"
    torch.save(HRNet.variant("w32-compact").state_dict(), path)
    return path


def convert(variant: str, checkpoint: Path, output: Path, *options: str) -> int:
    arguments = ["--variant", variant, "--checkpoint", str(checkpoint), "--output", str(output), *SMALL, *options]
    return export.main(["hrnet", *arguments])


def test_the_ir_runs_without_any_other_file(compact, tmp_path, capsys):
    assert convert("w32-compact", compact, tmp_path / "ir", "--onnx") == 0
    assert capsys.readouterr().out.count("differs from PyTorch by max") == 4  # two files, on noise and on a photo
    names = [f"hrnet_w32_compact.{suffix}" for suffix in ("bin", "onnx", "xml", "yaml")]
    assert sorted(path.name for path in (tmp_path / "ir").iterdir()) == names
    frame = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
    boxes = [[10, 5, 60, 95], [50, 20, 110, 90]]
    found = []
    for suffix in ("xml", "onnx"):
        estimator = edgepose.PoseEstimator(tmp_path / "ir" / f"hrnet_w32_compact.{suffix}", precision="f32")
        assert (estimator.model.task, estimator.model.size, estimator.model.skeleton) == ("top-down", (64, 64), "coco17")
        found.append(estimator(frame, boxes=boxes))
    assert len(found[0]) == len(found[1])
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=0.02)


def test_another_network_is_refused(compact, tmp_path, capsys):
    assert convert("w32", compact, tmp_path / "ir") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "missing" in error
    assert not (tmp_path / "ir").exists()


def test_sides_are_multiples_of_the_deepest_stride(compact, tmp_path, capsys):
    assert convert("w32-compact", compact, tmp_path / "ir", "--input-size", "48x64") == 1
    assert "multiples of 32" in capsys.readouterr().err
    assert not (tmp_path / "ir").exists()


def test_an_unknown_variant_is_wrong_usage(compact, tmp_path):
    with pytest.raises(SystemExit) as caught:
        convert("w64", compact, tmp_path)
    assert caught.value.code == 2


def test_a_checkpoint_of_mpii_brings_its_16_keypoints(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "mpii.pt"
    torch.save(HRNet(replace(VARIANTS["w32-compact"], keypoints=16)).state_dict(), path)
    arguments = ["--variant", "w32-compact", "--checkpoint", str(path), "--output", str(tmp_path / "ir")]
    assert export.main(["hrnet", *arguments]) == 0
    estimator = edgepose.PoseEstimator(tmp_path / "ir" / "hrnet_w32_compact.xml")
    assert (estimator.model.skeleton, estimator.model.outputs, estimator.model.size) == ("mpii16", (16,), (256, 256))
    frame = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
    assert estimator(frame, boxes=[[10, 5, 60, 95]]).skeleton is MPII16
    path.with_suffix(".yaml").write_text(to_yaml(estimator.model))
    assert edgepose.PoseEstimator(path, backend="torch", device="cpu")(frame, boxes=[[10, 5, 60, 95]]).skeleton is MPII16


def test_heatmaps_of_no_skeleton_are_refused(tmp_path, capsys):
    path = tmp_path / "odd.pt"
    torch.save(HRNet(replace(VARIANTS["w32-compact"], keypoints=15)).state_dict(), path)
    assert convert("w32-compact", path, tmp_path / "ir") == 1
    assert "gives 15 heatmaps; expected as many as a skeleton has keypoints: 18, 17, 16, 26, 133" in capsys.readouterr().err
