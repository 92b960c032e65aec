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


EMBEDDED = ("lightweight-openpose-075", "lightweight-openpose-075-int8")
UNSAID = {"source": None, "files": (), "gflops": None, "ap": None, "ap_protocol": None, "notes": None}


def test_files_are_those_of_the_table_and_small():
    files = [file for name in EMBEDDED for file in registry.get(name).files]
    for file in files:
        algorithm, _, expected = (file.checksum or "").partition(":")
        data = (Path(registry.__file__).parent / "embedded" / file.name).read_bytes()
        assert (algorithm, hashlib.sha256(data).hexdigest(), len(data)) == ("sha256", expected, file.size)
    assert sum(file.size or 0 for file in files) < 10e6
    assert registry.get("default").name in EMBEDDED


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_file_says_of_itself_what_the_table_says(name):
    model = registry.get(name)
    path = download.fetch(model)
    assert path.parent.name == "embedded"
    assert {**vars(edgepose.PoseEstimator(path).model), **UNSAID} == {**vars(model), **UNSAID}


def test_the_default_is_int8_but_on_arm():
    network = ov.Core().read_model(download.fetch(registry.get("lightweight-openpose-075-int8")))
    assert sum(node.get_type_name() == "FakeQuantize" for node in network.get_ops()) > 50


@pytest.mark.parametrize("model", EMBEDDED)
def test_it_finds_the_astronauts_face_neck_and_shoulders(model):
    data = pytest.importorskip("skimage.data", reason="the sample photo needs the extra demo")
    poses = edgepose.PoseEstimator(model)(data.astronaut()[..., ::-1].copy())
    person = poses[0]
    found = dict(zip(person.skeleton.keypoints, person.keypoints[0], strict=True))
    # Where they are in the picture of 512 x 512, within 30 pixels, read off it by eye.
    for name, place in {"nose": (223, 118), "neck": (215, 195), "r_eye": (206, 103), "l_eye": (243, 103)}.items():
        assert np.hypot(*(found[name] - place)) < 30, name
    assert found["r_shoulder"][0] < found["neck"][0] < found["l_shoulder"][0]


def test_it_is_better_than_nothing_on_real_photos(shared):
    from edgepose.media.images import read_image

    estimator = edgepose.PoseEstimator()
    photos = sorted((shared / "data" / "eval" / "images").glob("*.jpg"))[:12]
    found = [len(estimator(read_image(photo))) for photo in photos]
    assert sum(count > 0 for count in found) >= 8
