"""The default model: inside the package, and enough to find people without any network or other folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

import edgepose
from edgepose.zoo import download, registry


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("EDGEPOSE_MIRROR", raising=False)


def test_files_are_those_of_the_table_and_small():
    model = registry.get("default")
    folder = download.fetch(model).parent
    assert folder.name == "embedded"
    for file in model.files:
        algorithm, _, expected = (file.checksum or "").partition(":")
        data = (folder / file.name).read_bytes()
        assert (algorithm, hashlib.sha256(data).hexdigest(), len(data)) == ("sha256", expected, file.size)
    assert sum(file.size or 0 for file in model.files) < 10e6


def test_the_file_says_of_itself_what_the_table_says():
    model = registry.get("default")
    path = download.fetch(model)
    said = edgepose.PoseEstimator(path).model
    assert {**vars(said), "source": None} == {
        **vars(model), "source": None, "files": (), "gflops": None, "ap": None, "ap_protocol": None, "notes": None,
    }  # fmt: skip


def test_it_finds_the_astronauts_face_neck_and_shoulders():
    data = pytest.importorskip("skimage.data", reason="the sample photo needs the extra demo")
    poses = edgepose.PoseEstimator()(data.astronaut()[..., ::-1].copy())
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


def test_the_table_is_plain_yaml():
    table = Path(registry.__file__).with_name("models.yaml")
    assert yaml.safe_load(table.read_text())["default"] == registry.get("default").name
