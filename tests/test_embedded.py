"""The default model: inside the package, and enough to find people without any network or other folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

import edgepose
from edgepose.zoo import download, registry


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("EDGEPOSE_MIRROR", raising=False)


POSE, EXACT = "lightweight-openpose-075", "hrnet-w32-compact"
EMBEDDED = (POSE, f"{POSE}-int8", EXACT, f"{EXACT}-int8")
UNSAID = {"source": None, "files": (), "gflops": None, "ap": None, "ap_protocol": None, "notes": None}


def test_files_are_those_of_the_table_and_small():
    files = [file for name in EMBEDDED for file in registry.get(name).files]
    for file in files:
        algorithm, _, expected = (file.checksum or "").partition(":")
        data = (Path(registry.__file__).parent / "embedded" / file.name).read_bytes()
        assert (algorithm, hashlib.sha256(data).hexdigest(), len(data)) == ("sha256", expected, file.size)
    assert sum(file.size or 0 for file in files) < 30e6  # the wheel is to stay below 35 MB
    assert registry.get("default").name in EMBEDDED


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_file_says_of_itself_what_the_table_says(name):
    model = registry.get(name)
    path = download.fetch(model)
    assert path.parent.name == "embedded"
    assert {**vars(edgepose.PoseEstimator(path).model), **UNSAID} == {**vars(model), **UNSAID}


@pytest.mark.parametrize("name", [POSE, EXACT])
def test_what_is_called_int8_is_int8(name):
    network = ov.Core().read_model(download.fetch(registry.get(f"{name}-int8")))
    assert sum(node.get_type_name() == "FakeQuantize" for node in network.get_ops()) > 50


# Keypoints of the astronaut in the picture of 512 x 512, read off it by eye; the neck is between the shoulders.
ASTRONAUT = {
    "nose": (223, 118), "l_eye": (243, 103), "r_eye": (206, 103), "l_shoulder": (315, 265),
    "r_shoulder": (105, 260), "r_elbow": (70, 425),
}  # fmt: skip


@pytest.mark.parametrize("model", [*EMBEDDED, *(alias.name for alias in registry.aliases())])
def test_it_finds_the_astronaut_and_nobody_else(model):
    data = pytest.importorskip("skimage.data", reason="the sample photo needs the extra demo")
    poses = edgepose.PoseEstimator(model)(data.astronaut()[..., ::-1].copy())
    assert len(poses) == 1
    found = dict(zip(edgepose.COCO17.keypoints, poses.to(edgepose.COCO17).keypoints[0], strict=True))
    for name, place in ASTRONAUT.items():
        assert np.hypot(*(found[name] - place)) < 40, name


def test_it_finds_people_on_most_real_photos(shared):
    from edgepose.media.images import read_image

    estimator = edgepose.PoseEstimator()
    photos = sorted((shared / "data" / "eval" / "images").glob("*.jpg"))[:12]
    found = [len(estimator(read_image(photo))) for photo in photos]
    assert sum(count > 0 for count in found) >= 8
