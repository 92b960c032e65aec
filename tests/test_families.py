"""A file of each family of models, as users have them, through the estimator and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import family_models as make
import numpy as np
import pytest
import tflite_file
from onnx import TensorProto
from synthetic.tagged_scenes import make_scene

import edgepose

HEIGHT, WIDTH = 128, 96  # of the frame; letterboxed into 64 x 64, it is half as large
PERSON = make.person(64, 48)  # in pixels of the input
IN_FRAME = (PERSON + 0.5) * 2 - 0.5
BOX = [[0, 0, WIDTH, HEIGHT]]


def simcc(folder: Path) -> Path:
    return make.save(folder / "simcc.onnx", make.simcc(PERSON, 64, 48), make.SIMCC)


def yolo(folder: Path) -> Path:
    columns = np.zeros((1, 56, 100), np.float32)
    columns[0, :, 7] = make.row(PERSON, 0.8, centred=True)
    columns[0, :, 8] = make.row(PERSON + 0.5, 0.7, centred=True)
    return make.save(folder / "yolo.onnx", [columns], make.ROWS, input_shape=(1, 3, 64, 64))


def yolo_with_suppression(folder: Path) -> Path:
    rows = np.zeros((1, 300, 57), np.float32)
    rows[0, 0] = make.row(PERSON, 0.8, label=True)
    return make.save(folder / "yolo26.onnx", [rows], make.ROWS, input_shape=(1, 3, 64, 64))


def rtmo(folder: Path) -> Path:
    row = make.row(PERSON, 0.8)
    outputs = [row[None, None, :5], row[5:].reshape(1, 1, 17, 3)]
    return make.save(folder / "rtmo.onnx", outputs, make.ROWS, input_shape=("batch", 3, 64, 64))


def movenet(folder: Path) -> Path:
    output = np.column_stack([PERSON[:, ::-1] / 64, np.full(17, 0.8)])[None, None]
    shape = (1, 64, 64, 3)
    return make.save(folder / "movenet.onnx", [output], make.MOVENET, input_shape=shape, input_type=TensorProto.INT32)


def movenet_of_six(folder: Path) -> Path:
    rows = np.zeros((1, 6, 56), np.float32)
    rows[0, 0] = [*np.column_stack([PERSON[:, ::-1] / 64, np.full(17, 0.8)]).ravel(), 0, 0, 1, 1, 0.8]
    shape = (1, "height", "width", 3)
    return make.save(folder / "movenet6.onnx", [rows], make.MOVENET, input_shape=shape, input_type=TensorProto.INT32)


FAMILIES: dict[str, Callable[[Path], Path]] = {
    function.__name__: function for function in (simcc, yolo, yolo_with_suppression, rtmo, movenet, movenet_of_six)
}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture and COCO's annotation of the person in it."""
    folder = tmp_path_factory.mktemp("photo")
    cv2.imwrite(str(folder / "1.png"), np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    points = np.column_stack([IN_FRAME, np.full(17, 2)]).ravel().tolist()
    person = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": points, "iscrowd": 0, "area": 6000, "num_keypoints": 17,
              "bbox": [0, 0, WIDTH, HEIGHT]}  # fmt: skip
    content = {
        "images": [{"id": 1, "file_name": "1.png"}], "annotations": [person],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}],
    }  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_file_of_each_family_finds_the_person(family, tmp_path):
    path = family(tmp_path)
    estimator = edgepose.PoseEstimator(path)
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    poses = estimator(image, boxes=BOX if estimator.model.task == "top-down" else None)
    assert len(poses) == 1
    if estimator.model.task == "top-down":  # the box grows by a quarter
        np.testing.assert_allclose(poses.keypoints[0], (PERSON - (24, 32)) * 2.5 + (48, 64), atol=0.7)
    else:
        np.testing.assert_allclose(poses.keypoints[0], IN_FRAME, atol=1e-3)


def test_open_model_zoos_maps_find_people(tmp_path):
    heatmaps, tags = make_scene(2, 32, 32, 1)
    path = make.save(tmp_path / "efficient.onnx", [heatmaps[None], tags[None, ..., None]], make.EMBEDDINGS)
    assert len(edgepose.PoseEstimator(path)(np.zeros((64, 64, 3), np.uint8))) >= 1


def test_higher_hrnets_two_outputs_find_people(tmp_path):
    heatmaps, tags = make_scene(2, 32, 32, 1)
    coarse = np.concatenate([heatmaps, tags])[None, :, ::2, ::2]
    path = make.save(tmp_path / "higher.onnx", [coarse, heatmaps[None]], make.TAGS)
    assert len(edgepose.PoseEstimator(path)(np.zeros((64, 64, 3), np.uint8))) >= 1


def test_a_row_detector_finds_the_people_of_a_top_down_model(tmp_path):
    low, high = PERSON.min(axis=0), PERSON.max(axis=0)
    boxes = np.array([[[*low, *high, 0.9]]], np.float32)
    labels = np.zeros((1, 1), np.float32)
    detector = make.save(tmp_path / "rtmdet.onnx", [boxes, labels], make.BOXES, input_shape=(1, 3, 64, 64))
    estimator = edgepose.PoseEstimator(simcc(tmp_path), detector=detector)
    poses = estimator(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert len(poses) == 1
    np.testing.assert_allclose(poses.confidence, 0.9 * 0.8, rtol=1e-5)


def test_a_letterbox_has_the_size_of_the_description_whatever_the_frame(tmp_path):
    path = movenet_of_six(tmp_path)
    assert edgepose.PoseEstimator(path).pipeline.input_shape(100, 300) == (64, 64)
    assert edgepose.PoseEstimator(path, input_size=128).pipeline.input_shape(100, 300) == (128, 128)
    assert edgepose.PoseEstimator(path, input_size=(32, 96)).pipeline.input_shape(100, 300) == (32, 96)
    path.with_suffix(".yaml").write_text(make.MOVENET.replace("size: [64, 64]", "size: [64, 128]"))
    assert edgepose.PoseEstimator(path, input_size=32).pipeline.input_shape(100, 300) == (32, 64)


def test_a_bottom_up_model_of_any_family_is_a_detector(tmp_path):
    estimator = edgepose.PoseEstimator(simcc(tmp_path), detector=yolo(tmp_path))
    assert len(estimator(np.zeros((HEIGHT, WIDTH, 3), np.uint8))) == 1


def test_a_fixed_batch_is_explained(tmp_path):
    """A graph that was exported for one crop, and folds several into another axis."""
    import onnx
    from onnx import helper, numpy_helper

    path = simcc(tmp_path)
    network = onnx.load(path)
    for value in network.graph.output:
        value.name = f"{value.name}_flat"
    one = numpy_helper.from_array(np.array([1, -1, 96], np.int64), "one_row")
    other = numpy_helper.from_array(np.array([1, -1, 128], np.int64), "another_row")
    network.graph.initializer.extend([one, other])
    for number, shape in enumerate(("one_row", "another_row")):
        network.graph.node.append(helper.make_node("Reshape", [f"output{number}", shape], [f"output{number}_flat"]))
    onnx.save(network, path)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert len(edgepose.PoseEstimator(path)(image, boxes=BOX)) == 1
    with pytest.raises(edgepose.ModelError, match=r"to 2 crops; expected the first to be 2.*batch_size=1"):
        edgepose.PoseEstimator(path, batch_size=2)(image, boxes=[*BOX, [10, 10, 60, 90]])


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        (yolo, ("skeleton: coco17", "skeleton: halpe26"), "the 26 keypoints of halpe26"),
        (yolo, ("decoder: rows", "decoder: movenet"), r"answers \(1, 56, 100\); expected \(1, 1, 17, 3\)"),
        (movenet, ("decoder: movenet", "decoder: rows"), r"answers \(1, 1, 17, 3\); expected \(1, N, 56\)"),
        (simcc, ("skeleton: coco17", "skeleton: mpii16"), "17 keypoints|16 rows each"),
        (simcc, ("decoder: simcc", "decoder: heatmaps"), "output of shape"),
        (rtmo, ("decoder: rows", "decoder: embeddings"), "expected 17 heatmaps"),
    ],
)
def test_descriptions_that_do_not_fit_are_explained(family, change, message, tmp_path):
    path = family(tmp_path)
    path.with_suffix(".yaml").write_text(path.with_suffix(".yaml").read_text().replace(*change))
    with pytest.raises(edgepose.ModelError, match=message):
        edgepose.PoseEstimator(path)(np.zeros((HEIGHT, WIDTH, 3), np.uint8), **({"boxes": BOX} if family is simcc else {}))


@pytest.mark.slow
@pytest.mark.parametrize("family", [simcc, yolo, rtmo, movenet], ids=lambda family: family.__name__)
def test_run_eval_and_benchmark(family, tmp_path, photo):
    path = family(tmp_path)

    def edgepose_command(*arguments: object) -> str:
        command = [sys.executable, "-m", "edgepose", *map(str, arguments), "--model", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    top_down = family is simcc
    if top_down:
        points = (PERSON - (24, 32)) * 2.5 + (48, 64)
        annotations = json.loads((photo / "annotations.json").read_text())
        annotations["annotations"][0]["keypoints"] = np.column_stack([points, np.full(17, 2)]).ravel().tolist()
        (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    else:
        (found,) = json.loads(edgepose_command("run", photo / "1.png", "--json", "-"))["poses"]
        np.testing.assert_allclose(np.array(found["keypoints"])[:, :2], IN_FRAME, atol=0.1)
        edgepose_command("benchmark", "--frames", 4)
    annotations_file = (tmp_path if top_down else photo) / "annotations.json"
    edgepose_command(
        "eval", "--annotations", annotations_file, "--images", photo, "--boxes", "annotations" if top_down else "detector",
        "--json", tmp_path / "ap.json",
    )  # fmt: skip
    assert json.loads((tmp_path / "ap.json").read_text())["AP"] > 95


def test_movenet_as_tflite(tmp_path):
    output = np.column_stack([PERSON[:, ::-1] / 64, np.full(17, 0.8)])[None, None]
    path = tflite_file.save(tmp_path / "movenet.tflite", output, (1, 64, 64, 3))
    path.with_suffix(".yaml").write_text(make.MOVENET)
    poses = edgepose.PoseEstimator(path)(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    np.testing.assert_allclose(poses.keypoints[0], IN_FRAME, atol=1e-3)


def test_a_broken_tflite_is_explained(tmp_path):
    path = tmp_path / "movenet.tflite"
    path.write_bytes(b"\0\0\0\0TFL3" + bytes(100))
    path.with_suffix(".yaml").write_text(make.MOVENET)
    with pytest.raises(edgepose.ModelError, match=r"movenet.tflite cannot be read as a model"):
        edgepose.PoseEstimator(path)
