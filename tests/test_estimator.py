from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import tiny_models

import edgepose
import edgepose.media.sources
from edgepose import estimator as estimator_module
from edgepose.media.images import read_image
from edgepose.pipelines.detection import boxes_around
from edgepose.zoo.registry import from_yaml, to_yaml

PHOTOS = ["000000085682.jpg", "000000133969.jpg", "000000208363.jpg", "000000065350.jpg"]


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[np.ndarray]:
    return [read_image(shared / "data" / "eval" / "images" / name) for name in PHOTOS]


@pytest.fixture
def estimator(models_in_reach: Path) -> edgepose.PoseEstimator:
    return edgepose.PoseEstimator("openpose-mobilenet-v2-small", precision="f32")


def same(a: edgepose.Poses, b: edgepose.Poses) -> bool:
    return np.array_equal(a.keypoints, b.keypoints, equal_nan=True) and np.array_equal(a.scores, b.scores)


def test_people_of_real_photos_are_found(estimator, photos):
    found = [len(estimator(photo)) for photo in photos]
    assert found[0] >= 3  # skiers in a queue
    assert found[1] >= 8
    assert found[2] >= 8
    assert found[3] >= 1


@pytest.mark.slow
def test_batch_and_stream_equal_one_by_one(estimator, photos):
    alone = [estimator(photo) for photo in photos]
    assert all(map(same, estimator.batch(photos), alone))
    frames = list(estimator.stream(photos))
    assert all(same(frame.poses, poses) for frame, poses in zip(frames, alone, strict=True))
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert all(frame.image is photo for frame, photo in zip(frames, photos, strict=True))


@pytest.mark.slow
def test_threads_share_an_estimator(estimator, photos):
    alone = [estimator(photo) for photo in photos]
    results: dict[int, list[edgepose.Poses]] = {}

    def work(number: int) -> None:
        results[number] = [estimator(photo) for photo in photos]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(same(a, b) for poses in results.values() for a, b in zip(poses, alone, strict=True))


@pytest.mark.slow
def test_images_are_not_written_to_and_need_not_be_contiguous(estimator, photos):
    photo = photos[0]
    frozen = photo.copy()
    frozen.flags.writeable = False
    wide = np.zeros((photo.shape[0], photo.shape[1] * 2, 3), np.uint8)
    wide[:, ::2] = photo
    assert same(estimator(frozen), estimator(photo))
    assert same(estimator(wide[:, ::2]), estimator(photo))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_tiny_and_narrow_images_are_taken(tmp_path, shape):
    estimator = edgepose.PoseEstimator(tiny_models.save(tmp_path))
    assert isinstance(estimator(np.zeros((*shape, 3), np.uint8)), edgepose.Poses)


@pytest.mark.parametrize(
    "image",
    [
        np.full((8, 8, 3), np.nan, np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.int64),
        "photo.jpg",
        None,
    ],
    ids=["float with NaN", "grey", "four channels", "empty", "int64", "a path", "None"],
)
def test_what_is_no_image_is_refused(tmp_path, image):
    estimator = edgepose.PoseEstimator(tiny_models.save(tmp_path))
    with pytest.raises(edgepose.InputError, match=r"expected an image \(H, W, 3\) uint8 BGR"):
        estimator(image)
    with pytest.raises(edgepose.InputError):
        estimator.batch([np.zeros((8, 8, 3), np.uint8), image])


def test_a_file_describes_itself_in_yaml_or_in_rt_info(tmp_path):
    path = tiny_models.save(tmp_path)
    assert edgepose.PoseEstimator(path).model.size == (64, 96)
    network = tiny_models.network()
    network.set_rt_info(to_yaml(from_yaml("own", tiny_models.DESCRIPTION.replace("64, 96", "128, 96"), "test")), "edgepose")
    ov.save_model(network, tmp_path / "own.xml")
    estimator = edgepose.PoseEstimator(str(tmp_path / "own.xml"))
    assert (estimator.model.name, estimator.input_size) == ("own", 128)


def test_a_file_that_nothing_describes_shows_how_to(tmp_path):
    path = tiny_models.save(tmp_path, description=None)
    with pytest.raises(edgepose.ModelError, match=r"tiny\.yaml") as caught:
        edgepose.PoseEstimator(path)
    assert "stride: 8" in str(caught.value)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(edgepose.UnknownModelError, match="openpose-mobilenet-v2-small"):
        edgepose.PoseEstimator("openpose-mobilenet-v2-smal")


def test_checkpoints_say_how_to_convert_them():
    with pytest.raises(edgepose.ModelError, match="needs conversion; see: edgepose models info hrnet-w32"):
        edgepose.PoseEstimator("hrnet-w32")


def test_a_detector_is_no_pose_model(tmp_path):
    lines = ["task: detector", "decoder: ssd", "colour: BGR", "layout: NCHW", "mean: [0, 0, 0]", "scale: [1, 1, 1]"]
    description = "\n".join([*lines, "size: [64, 96]", "stride: 1", "person_label: 1"])
    with pytest.raises(edgepose.ModelError, match="is a detector model; expected a bottom-up model or a top-down"):
        edgepose.PoseEstimator(tiny_models.save(tmp_path, description=description))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"backend": "tensorrt"}, "backend is 'tensorrt'"),
        ({"hint": "fast"}, "hint is 'fast'"),
        ({"min_score": 1.5}, "min_score is 1.5"),
        ({"min_score": float("nan")}, "min_score is nan"),
        ({"min_confidence": -0.1}, "min_confidence is -0.1"),
        ({"min_confidence": float("nan")}, "min_confidence is nan"),
        ({"input_size": 100}, "multiples of 8"),
        ({"threads": 0}, "threads is 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_options_out_of_range_are_refused(tmp_path, option, message):
    with pytest.raises(edgepose.InputError, match=message):
        edgepose.PoseEstimator(tiny_models.save(tmp_path), **option)


def test_an_absent_device_is_refused(tmp_path):
    with pytest.raises(edgepose.DeviceError, match="OpenVINO finds here"):
        edgepose.PoseEstimator(tiny_models.save(tmp_path), device="GPU.9")


def test_every_keypoint_may_be_asked_for(tmp_path):
    estimator = edgepose.PoseEstimator(tiny_models.save(tmp_path), min_score=0)
    assert isinstance(estimator(np.zeros((64, 96, 3), np.uint8)), edgepose.Poses)


def test_a_stream_that_is_left_early_closes_its_source(tmp_path):
    estimator = edgepose.PoseEstimator(tiny_models.save(tmp_path))
    given = []

    def images():
        for n in range(100):
            given.append(n)
            yield np.zeros((16, 16, 3), np.uint8)

    source = edgepose.media.sources.open_source(images())
    frames = estimator.stream(source)
    next(frames)
    frames.close()
    assert len(given) <= 3
    assert list(source) == []


BOXES = [[5, 5, 60, 70, 0.9], [40, 10, 90, 80, 0.8], [60, 0, 99, 50, 0.7]]


@pytest.fixture
def top_down(tmp_path: Path) -> Path:
    (tmp_path / "top_down").mkdir()
    path = tmp_path / "top_down" / "own.xml"
    ov.save_model(tiny_models.network((17,), stride=4), path, compress_to_fp16=False)
    path.with_suffix(".yaml").write_text(tiny_models.TOP_DOWN)
    return path


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (100, 120, 3), np.uint8)


def test_people_are_found_in_given_boxes(top_down):
    estimator = edgepose.PoseEstimator(top_down)
    poses = estimator(noise(), boxes=BOXES)
    assert len(poses) == 3
    assert poses.skeleton is edgepose.COCO17
    assert len(estimator(noise(), boxes=[])) == 0


def test_a_top_down_model_takes_the_default_models_people(top_down, photos):
    default, people = edgepose.PoseEstimator("default", min_confidence=0), edgepose.PoseEstimator(top_down)
    for photo in photos:
        expected = people(photo, boxes=boxes_around(default(photo)))
        np.testing.assert_array_equal(people(photo).keypoints, expected.keypoints)


def test_the_default_model_is_not_opened_where_boxes_are_given(top_down, monkeypatch):
    opened = []

    def open_detector(name, threads):
        opened.append((name, threads))
        return lambda image: BOXES

    monkeypatch.setattr(estimator_module, "open_detector", open_detector)
    estimator = edgepose.PoseEstimator(top_down, threads=1)
    estimator(noise(), boxes=BOXES)
    assert opened == []
    for _ in range(2):
        estimator(noise())
    assert opened == [("default", 1)]


def test_people_below_the_least_confidence_are_left_out(photos, top_down):
    for model, boxes in (("default", {}), (top_down, {"boxes": BOXES})):
        everybody = edgepose.PoseEstimator(model, min_confidence=0)(photos[0], **boxes)
        assert len(everybody) > 1
        least = float(everybody.confidence[0] + everybody.confidence[-1]) / 2
        some = edgepose.PoseEstimator(model, min_confidence=least)(photos[0], **boxes)
        assert 0 < len(some) < len(everybody)
        np.testing.assert_array_equal(some.confidence, everybody.confidence[everybody.confidence >= least])


def test_the_model_says_whom_to_show_unless_the_caller_does():
    default = edgepose.PoseEstimator()
    assert (default.min_score, default.min_confidence) == (default.model.min_score, default.model.min_confidence)
    other = edgepose.PoseEstimator(min_score=0.5, min_confidence=0.0)
    assert (other.min_score, other.min_confidence) == (0.5, 0.0)


def test_batches_of_any_size_give_the_same(top_down):
    def detect(image):
        return BOXES[: image[0, 0, 0] % 4]

    images = [noise(seed) for seed in range(6)]
    alone = [edgepose.PoseEstimator(top_down, detector=detect)(image) for image in images]
    for batch_size, hint in ((2, "latency"), (8, "throughput"), (3, "throughput")):
        estimator = edgepose.PoseEstimator(top_down, detector=detect, batch_size=batch_size, hint=hint)
        for poses, expected in zip(estimator.batch(images), alone, strict=True):
            np.testing.assert_allclose(poses.keypoints, expected.keypoints, atol=1e-3)


def test_people_of_the_default_model_are_a_detector(top_down, photos, models_in_reach):
    estimator = edgepose.PoseEstimator(top_down, detector="openpose-mobilenet-v2-small")
    assert len(estimator(photos[0])) >= 3


def test_what_is_no_detector_is_refused(tmp_path, top_down):
    with pytest.raises(edgepose.ModelError, match="own is a top-down model; expected a detector"):
        edgepose.PoseEstimator(top_down, detector=top_down)
    with pytest.raises(edgepose.UnknownModelError):
        edgepose.PoseEstimator(top_down, detector="nobody")
    with pytest.raises(edgepose.ModelError, match="there is no model file"):
        edgepose.PoseEstimator(top_down, detector=tmp_path / "nowhere.xml")
    lines = ["task: detector", "decoder: ssd", "colour: BGR", "layout: NCHW", "mean: [0, 0, 0]", "scale: [1, 1, 1]"]
    tiny_models.save(tmp_path, description="\n".join([*lines, "size: [64, 96]", "stride: 1", "person_label: 1"]))
    with pytest.raises(edgepose.ModelError, match="is no detector; expected one output"):
        edgepose.PoseEstimator(top_down, detector=tmp_path / "tiny.xml")


def test_bottom_up_takes_no_boxes(tmp_path):
    with pytest.raises(edgepose.InputError, match="tiny is bottom-up and finds people by itself"):
        edgepose.PoseEstimator(tiny_models.save(tmp_path))(noise(), boxes=BOXES)


@pytest.mark.parametrize(
    "option",
    [{"detector": "default"}, {"flip_test": True}, {"refinement": "dark"}, {"batch_size": 2}],
    ids=lambda o: next(iter(o)),
)
def test_options_of_top_down_models_are_refused_by_bottom_up_ones(option, tmp_path):
    with pytest.raises(edgepose.InputError, match=f"{next(iter(option))} given, but tiny is bottom-up"):
        edgepose.PoseEstimator(tiny_models.save(tmp_path), **option)


@pytest.mark.slow
def test_a_checkpoint_runs_on_pytorch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from edgepose.networks import HRNet

    torch.manual_seed(0)
    torch.save(HRNet.variant("w32-compact").state_dict(), tmp_path / "own.pth")
    (tmp_path / "own.yaml").write_text(tiny_models.TOP_DOWN)
    estimator = edgepose.PoseEstimator(tmp_path / "own.pth", backend="torch", min_score=0.0)
    assert len(estimator(noise(), boxes=BOXES)) >= 1
    assert estimator.model.name == "own"
    with pytest.raises(edgepose.InputError, match="threads and streams are OpenVINO's"):
        edgepose.PoseEstimator(tmp_path / "own.pth", backend="torch", threads=2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(edgepose.DeviceError, match="there is no device 'cuda'; PyTorch finds here: cpu"):
        edgepose.PoseEstimator(tmp_path / "own.pth", device="cuda")


@pytest.mark.slow
def test_pytorch_needs_no_openvino_and_all_else_says_that_it_does(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "own.yaml").write_text(tiny_models.TOP_DOWN)
    script = """
import sys
sys.modules["openvino"] = None  # as where there is no build of it
import numpy as np, torch, edgepose
from edgepose.networks import HRNet
torch.manual_seed(0)
torch.save(HRNet.variant("w32-compact").state_dict(), "own.pth")
estimator = edgepose.PoseEstimator("own.pth", backend="torch", min_score=0.0)
noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
print(len(estimator(noise, boxes=[[10, 20, 110, 190]])))
try:
    edgepose.PoseEstimator()
except edgepose.DeviceError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    people, message = done.stdout.splitlines()
    assert people == "1"
    assert "pip install openvino" in message
