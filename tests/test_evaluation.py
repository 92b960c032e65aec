from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgepose
from edgepose import COCO17, Poses
from edgepose.evaluation import FIGURES, evaluate
from edgepose.skeleton import OPENPOSE18

KEYPOINTS = np.array([(20 + 3 * n, 30 + (n * 7) % 60) for n in range(17)], np.float32)


def write(folder: Path, content: object) -> Path:
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def content(tmp_path: Path) -> dict:
    """Two images; the first has one person."""
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(tmp_path / name), np.full((100, 120, 3), int(name[0]), np.uint8))
    points = [float(v) for x, y in KEYPOINTS for v in (x, y, 2)]
    person = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "area": 4000.0,
        "bbox": [20, 30, 50, 60],
        "num_keypoints": 17,
    }
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 120, "height": 100} for n in (1, 2)],
        "annotations": [{**person, "keypoints": points}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.keypoints), "skeleton": []}],
    }


def seer(image: np.ndarray) -> Poses:
    """Answers the truth for the image of all ones, and nobody else."""
    if image[0, 0, 0] != 1:
        return Poses.empty(COCO17)
    return Poses(KEYPOINTS[None], np.ones((1, 17), np.float32), np.array([0.9], np.float32), COCO17)


def test_the_truth_has_full_ap_and_nothing_has_none(tmp_path, content, capsys):
    truth = evaluate(seer, write(tmp_path, content), tmp_path)
    assert truth.figures["AP"] == pytest.approx(100)
    assert list(truth.figures) == list(FIGURES)
    assert (truth.images, len(truth.results)) == (2, 1)
    nothing = evaluate(lambda image: Poses.empty(), write(tmp_path, content), tmp_path)
    assert nothing.figures == dict.fromkeys(FIGURES, 0.0)
    assert capsys.readouterr().out == ""


def test_people_who_are_not_there_cost_precision(tmp_path, content):
    def haunted(image):
        poses = seer(image)
        ghost = Poses(KEYPOINTS[None] * 0.3, np.ones((1, 17), np.float32), np.ones(1, np.float32), COCO17)
        return poses if len(poses) else ghost

    assert evaluate(haunted, write(tmp_path, content), tmp_path).figures["AP"] < 60


def test_results_are_coco_whatever_the_skeleton(tmp_path, content):
    def openpose(image):
        return seer(image).to(OPENPOSE18)

    evaluation = evaluate(openpose, write(tmp_path, content), tmp_path)
    assert evaluation.figures["AP"] == pytest.approx(100)
    assert len(evaluation.results[0]["keypoints"]) == 51


def test_the_first_images_alone_count_where_that_is_asked_for(tmp_path, content):
    watched = []
    evaluation = evaluate(
        seer, write(tmp_path, content), tmp_path, max_images=1, progress=lambda items: watched.extend(items) or items
    )
    assert evaluation.images == len(watched) == 1
    assert evaluation.to_dict()["images"] == 1
    assert evaluation.to_dict()["AP"] == 100


def test_the_truth_of_real_annotations_has_full_ap(shared):
    """Official annotations against themselves: proves matching, sizes and crowds."""
    path = shared / "data" / "eval" / "person_keypoints_eval.json"
    content = json.loads(path.read_text())
    order = iter(content["images"])

    def seer(image):
        image_id = next(order)["id"]
        people = [a for a in content["annotations"] if a["image_id"] == image_id and a["num_keypoints"] and not a["iscrowd"]]
        points = np.array([a["keypoints"] for a in people], np.float32).reshape(len(people), 17, 3)
        labelled = points[..., 2] > 0
        keypoints = np.where(labelled[..., None], points[..., :2], np.nan)
        return Poses(keypoints, labelled.astype(np.float32), np.ones(len(people), np.float32), COCO17)

    assert evaluate(seer, path, shared / "data" / "eval" / "images").figures["AP"] > 99


def test_missing_images_are_named_before_any_work(tmp_path, content):
    (tmp_path / "2.png").unlink()

    def never(image):
        raise AssertionError("called")

    with pytest.raises(edgepose.SourceError, match=r"1 of 2 images .* are not in .*, such as 2\.png"):
        evaluate(never, write(tmp_path, content), tmp_path)


BAD = [
    ("a list", [1], "no COCO annotations"),
    ("no images", {"images": [], "annotations": [], "categories": []}, "0 images, 0 annotations"),
    (
        "instances",
        {
            "images": [{"id": 1, "file_name": "1.png"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": []}],
            "categories": [],
        },
        "without keypoints",
    ),
]


@pytest.mark.parametrize(("content", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_no_annotation_file_is_refused(tmp_path, content, message):
    with pytest.raises(edgepose.InputError, match=message):
        evaluate(seer, write(tmp_path, content), tmp_path)


@pytest.mark.parametrize("name", ["../1.png", "/etc/passwd", ""])
def test_file_names_stay_below_the_folder(tmp_path, content, name):
    content = copy.deepcopy(content)
    content["images"][0]["file_name"] = name
    with pytest.raises(edgepose.InputError, match="file_name"):
        evaluate(seer, write(tmp_path, content), tmp_path)


def test_a_missing_file_and_one_without_json_are_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(edgepose.InputError, match="no JSON"):
        evaluate(seer, tmp_path / "a.json", tmp_path)
    with pytest.raises(edgepose.SourceError, match="cannot be read: No such file"):
        evaluate(seer, tmp_path / "b.json", tmp_path)


def test_without_pycocotools_the_extra_is_named(tmp_path, content, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(edgepose.MissingExtraError, match=r"edgepose\[eval\]"):
        evaluate(seer, write(tmp_path, content), tmp_path)


def person(content):
    return content["annotations"][0]


def another_category(content):
    content["categories"][0]["id"] = person(content)["category_id"] = 7


def cars_as_well(content):
    content["categories"].append({"id": 2, "name": "car"})
    content["annotations"].append({"id": 2, "image_id": 1, "category_id": 2, "bbox": [0, 0, 9, 9]})


def number_zero(content):
    person(content)["id"] = 0


def the_least_that_will_do(content):
    for key in ("id", "iscrowd", "num_keypoints"):
        del person(content)[key]


@pytest.mark.parametrize("change", [another_category, cars_as_well, number_zero, the_least_that_will_do])
def test_annotations_of_other_kinds_are_left_out(tmp_path, content, change):
    change(content)
    evaluation = evaluate(seer, write(tmp_path, content), tmp_path)
    assert evaluation.figures["AP"] == pytest.approx(100)
    assert set(evaluation.results[0]) == {"image_id", "category_id", "keypoints", "score"}


UNFIT = [
    ("no area", lambda content: person(content).pop("area"), "lacks 'area'"),
    ("no image id", lambda content: content["images"][0].pop("id"), "lacks 'id'"),
    ("16 keypoints", lambda content: person(content).update(keypoints=[0] * 48), "has 48 numbers"),
    ("a number for an image", lambda content: content.update(images=[1]), "no COCO annotations"),
    ("images by name", lambda content: content.update(images={"a": 1}), "no COCO annotations"),
    ("nobody labelled", lambda content: person(content).update(num_keypoints=0), "nobody is labelled"),
]


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in UNFIT], ids=[row[0] for row in UNFIT])
def test_annotations_that_do_not_fit_are_refused(tmp_path, content, change, message):
    change(content)
    with pytest.raises(edgepose.InputError, match=message):
        evaluate(seer, write(tmp_path, content), tmp_path)


def test_boxes_of_the_annotations_are_given_to_the_estimate(tmp_path, content):
    extra = {**person(content), "id": 2, "num_keypoints": 0, "bbox": [0, 0, 9, 9]}
    content["annotations"] += [extra, {**extra, "id": 3, "iscrowd": 1, "num_keypoints": 5}]
    given = []

    def estimate(image, boxes):
        given.append(boxes)
        return seer(image)

    evaluation = evaluate(estimate, write(tmp_path, content), tmp_path, boxes="annotations")
    assert given == [[[20, 30, 70, 90]], []]
    assert evaluation.figures["AP"] == pytest.approx(100)
