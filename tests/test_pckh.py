"""PCKh on MPII's annotations against a plain twin, and from a model's file to the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import family_models
import numpy as np
import pytest
from scipy.io import savemat
from synthetic import plain_pckh

import edgepose
from edgepose import pckh
from edgepose.cli.main import main
from edgepose.pckh import Truth, evaluate_pckh
from edgepose.skeleton import MPII16

SIDE = 100


def write(folder: Path, people: int = 3, *, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Pictures, valid.json and gt_valid.mat of `people` people, two in the first picture, as HRNet's data has them."""
    random = np.random.default_rng(seed)
    joints = random.uniform(20, 80, (people, 16, 2))
    missing = (random.random((16, people)) < 0.2).astype(np.uint8)
    low = random.uniform(10, 60, (2, people))
    heads = np.stack([low, low + random.uniform(8, 20, (2, people))])
    listed = [
        {
            "image": f"{max(n - 1, 0)}.png",
            "center": [random.uniform(40, 60), random.uniform(40, 60)],
            "scale": random.uniform(0.3, 0.9),
            "joints": joints[n].tolist(),
            "joints_vis": (1 - missing[:, n]).tolist(),
        }
        for n in range(people)
    ]
    for person in listed:
        cv2.imwrite(str(folder / person["image"]), random.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    (folder / "valid.json").write_text(json.dumps([{**person, **changes} for person in listed]))
    content = {"jnt_missing": missing, "pos_gt_src": np.moveaxis(joints, 0, 2), "headboxes_src": heads}
    savemat(folder / "gt_valid.mat", content)
    return {"people": listed, "missing": missing, "joints": content["pos_gt_src"], "heads": heads}


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_the_plain_twin(seed):
    random = np.random.default_rng(seed)
    count = 40
    joints = random.uniform(50, 300, (16, 2, count))
    missing = (random.random((16, count)) < 0.3).astype(np.uint8)
    heads = np.stack([np.zeros((2, count)), random.uniform(10, 60, (2, count))])
    found = np.moveaxis(joints, 2, 0) - 1 + random.normal(0, 10, (count, 16, 2))
    found[random.random((count, 16)) < 0.1] = np.nan
    truth = Truth(np.moveaxis(joints, 2, 0) - 1, (missing == 0).T, 0.6 * np.linalg.norm(heads[1] - heads[0], axis=0))
    expected = plain_pckh.figures(found, missing, joints, heads)
    assert pckh.pckh(found, truth) == pytest.approx(expected)
    assert list(expected) == list(pckh.pckh(found, truth))


def poses(keypoints: np.ndarray) -> edgepose.Poses:
    scores = np.ones(keypoints.shape[:2], np.float32)
    return edgepose.Poses(keypoints, scores, np.ones(len(keypoints), np.float32), MPII16)


def test_each_person_is_looked_at_in_a_box_of_hrnets(tmp_path):
    content = write(tmp_path)
    asked: list[tuple[tuple[int, ...], np.ndarray]] = []

    def estimate(image: np.ndarray, *, boxes: list[list[float]]) -> edgepose.Poses:
        asked.append((image.shape, np.array(boxes[0])))
        beyond = (image.shape[0] - SIDE) // 2
        return poses(np.moveaxis(content["joints"], 2, 0)[len(asked) - 1][None] - 1 + beyond)

    scores = evaluate_pckh(estimate, tmp_path / "valid.json", tmp_path)
    assert (scores.images, scores.people) == (2, 3)
    assert all(value == pytest.approx(100) for value in scores.figures.values())
    for person, (shape, box) in zip(content["people"], asked, strict=True):
        beyond = (shape[0] - SIDE) // 2
        x, y = person["center"]
        middle = np.array([x - 1, y + 15 * person["scale"] - 1]) + beyond
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, middle)
        # A crop is a quarter larger than its box, and so as large as HRNet's: 250 pixels times the scale.
        np.testing.assert_allclose((box[2:] - box[:2]) * 1.25, 250 * person["scale"])
        assert (box[:2] >= 0).all()
        assert (box[2:] <= shape[0]).all()


def test_people_who_are_found_are_matched(tmp_path):
    content = write(tmp_path, seed=1)
    truth = np.moveaxis(content["joints"], 2, 0) - 1
    pictures = iter([poses(truth[[1, 0]]), poses(truth[2:])])
    scores = evaluate_pckh(lambda image: next(pictures), tmp_path / "valid.json", tmp_path, boxes="detector")
    assert scores.figures["Mean"] == pytest.approx(100)
    nobody = evaluate_pckh(lambda image: edgepose.Poses.empty(MPII16), tmp_path / "valid.json", tmp_path, boxes="detector")
    assert set(nobody.figures.values()) == {0.0}


def test_the_first_images_alone(tmp_path):
    write(tmp_path)
    scores = evaluate_pckh(lambda image, boxes: poses(np.zeros((0, 16, 2))), tmp_path / "valid.json", tmp_path, max_images=1)
    assert (scores.images, scores.people) == (1, 2)


def test_heads_in_the_annotations_and_under_mmposes_name(tmp_path):
    content = write(tmp_path)
    estimate = lambda image, boxes: poses(np.full((1, 16, 2), 50.0))  # noqa: E731
    expected = evaluate_pckh(estimate, tmp_path / "valid.json", tmp_path).figures
    (tmp_path / "valid.json").rename(tmp_path / "mpii_val.json")
    (tmp_path / "gt_valid.mat").rename(tmp_path / "mpii_gt_val.mat")
    assert evaluate_pckh(estimate, tmp_path / "mpii_val.json", tmp_path).figures == expected
    (tmp_path / "mpii_gt_val.mat").unlink()
    with pytest.raises(edgepose.InputError, match=r"no heads, by whose size PCKh is measured; expected gt_mpii_val.mat"):
        evaluate_pckh(estimate, tmp_path / "mpii_val.json", tmp_path)
    boxed = [{**person, "headbox": content["heads"][:, :, n].ravel().tolist()} for n, person in enumerate(content["people"])]
    (tmp_path / "mpii_val.json").write_text(json.dumps(boxed))
    assert evaluate_pckh(estimate, tmp_path / "mpii_val.json", tmp_path).figures == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[]", "an empty list; expected MPII's list of people"),
        ('{"images": []}', "dict; expected MPII's list of people"),
        ('[{"image": "0.png"}]', "KeyError 'joints'"),
    ],
)
def test_files_that_are_not_mpiis(content, message, tmp_path):
    (tmp_path / "valid.json").write_text(content)
    with pytest.raises(edgepose.InputError, match=message):
        evaluate_pckh(lambda image: None, tmp_path / "valid.json", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": [[1, 2]] * 15}, r"joints \(3, 15, 2\).*expected 16 joints a person"),
        ({"scale": 0}, "a scale not above 0"),
        ({"image": "../0.png"}, "expected the name of one below the folder"),
        ({"scale": 1e6}, "px beyond it; expected MPII's center and scale"),
    ],
)
def test_people_that_are_not_mpiis(change, message, tmp_path):
    write(tmp_path, **change)
    with pytest.raises(edgepose.InputError, match=message):
        evaluate_pckh(lambda image, boxes: None, tmp_path / "valid.json", tmp_path)


def test_a_mat_of_other_people_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "valid.json").write_text(json.dumps(json.loads((tmp_path / "valid.json").read_text())[:2]))
    with pytest.raises(edgepose.InputError, match=r"3 people; expected 2, as valid.json has"):
        evaluate_pckh(lambda image, boxes: None, tmp_path / "valid.json", tmp_path)


def test_the_command_measures_a_model_of_mpiis_keypoints(tmp_path, capsys):
    write(tmp_path)
    points = np.random.default_rng(0).uniform(8, 56, (16, 2)).astype(np.float32)
    description = (
        "task: top-down\ndecoder: heatmaps\nskeleton: mpii16\ncolour: RGB\nlayout: NCHW\nmean: [0, 0, 0]\nscale: [1, 1, 1]\n"
        "size: [64, 64]\nstride: 4\n"
    )
    model = family_models.save(tmp_path / "mpii.onnx", [family_models.heatmaps(points / 4, (16, 16))], description)
    arguments = ["--metric", "pckh", "--annotations", str(tmp_path / "valid.json"), "--images", str(tmp_path)]
    assert main(["eval", *arguments, "--model", str(model), "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["metric"], figures["boxes"], figures["people"], figures["images"]) == ("PCKh@0.5", "annotations", 3, 2)
    assert 0 <= figures["Mean"] <= 100
    out = capsys.readouterr().out
    assert "Shoulder" in out
    assert "as HRNet's code has it" in out
