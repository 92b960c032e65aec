"""Annotations that the training reads, and every bad input, which is found before anything is trained."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import training_data

torch = pytest.importorskip("torch", reason="training needs torch")
coco_mask = pytest.importorskip("pycocotools.mask", reason="training needs pycocotools")

from edgepose.errors import EdgePoseError, InputError, SourceError  # noqa: E402
from edgepose.skeleton import OPENPOSE18  # noqa: E402
from edgepose.training import dataset, validation  # noqa: E402
from edgepose.training.annotations import ABSENT, LABELLED, UNLABELLED, read_annotations  # noqa: E402
from edgepose.training.images import ImageCache, ImageStore  # noqa: E402
from edgepose.training.targets import draw_targets, draw_weights  # noqa: E402

NECK, R_SHOULDER, L_SHOULDER = (OPENPOSE18.keypoints.index(name) for name in ("neck", "r_shoulder", "l_shoulder"))
L_SHOULDER_COCO, R_SHOULDER_COCO = 5, 6


def first_person(folder, **change):
    content = training_data.make(folder, images=1)
    content["annotations"][0].update(change)
    return read_annotations(training_data.save(folder, content))[0]


def test_keypoints_name_pixels_and_the_neck_lies_between_the_shoulders(tmp_path):
    keypoints = [10.0, 20.0, 2.0] * 17
    keypoints[3 * L_SHOULDER_COCO : 3 * L_SHOULDER_COCO + 2] = 40.0, 30.0
    photo = first_person(tmp_path, keypoints=keypoints)
    assert (photo.states == LABELLED).all()
    assert photo.keypoints[0, R_SHOULDER].tolist() == [10, 20]
    assert photo.keypoints[0, NECK].tolist() == [25, 25]


@pytest.mark.parametrize(
    ("right", "unlabelled", "neck"),
    [
        pytest.param(2, [], LABELLED, id="both"),
        pytest.param(0, [], ABSENT, id="one-absent"),
        pytest.param(0, [R_SHOULDER_COCO], UNLABELLED, id="one-unlabelled"),
    ],
)
def test_the_neck_is_as_known_as_the_shoulders(tmp_path, right, unlabelled, neck):
    keypoints = [10.0, 20.0, 2.0] * 17
    keypoints[3 * R_SHOULDER_COCO + 2] = right
    photo = first_person(tmp_path, keypoints=keypoints, unlabelled=unlabelled)
    assert photo.states[0, NECK] == neck
    assert photo.states[0, L_SHOULDER] == LABELLED


def test_people_without_keypoints_are_background(tmp_path):
    content = training_data.make(tmp_path, images=2)
    content["annotations"][0].update(keypoints=[0] * 51, num_keypoints=0)
    photos = read_annotations(training_data.save(tmp_path, content))
    assert [len(photo.keypoints) for photo in photos] == [0, 1]


def only(*visible: int) -> list[float]:
    """Keypoint values of which but these are labelled."""
    return [value for i in range(17) for value in ((10.0 + i, 20.0 + i, 2.0) if i in visible else (0.0, 0.0, 0.0))]


LEFT_OUT, BOXED = "left out", "boxed"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"keypoints": only(3), "unlabelled": [3]}, BOXED, id="labelled and unlabelled"),
        pytest.param({"keypoints": only(3, 5), "unlabelled": list(range(17))}, BOXED, id="all unlabelled"),
        pytest.param({"keypoints": only(), "unlabelled": [3]}, BOXED, id="nobody looked for the one that might be there"),
        pytest.param({"keypoints": only(3), "unlabelled": [3], "bbox": []}, LEFT_OUT, id="no box"),
        pytest.param({"keypoints": only(3), "unlabelled": [3], "bbox": None}, LEFT_OUT, id="null box"),
        pytest.param({"keypoints": only(3), "unlabelled": [3], "bbox": [5, 5, 0, 9]}, LEFT_OUT, id="empty box"),
        pytest.param({"keypoints": only()}, LEFT_OUT, id="nothing labelled"),
        pytest.param({"keypoints": []}, LEFT_OUT, id="no keypoints"),
        pytest.param({"keypoints": None}, LEFT_OUT, id="null keypoints"),
    ],
)
def test_people_of_whom_nothing_is_labelled_are_trained_on_without_harm(tmp_path, change, expected):
    content = training_data.make(tmp_path, images=2)
    content["annotations"][0].update({"bbox": [8, 8, 20, 30]} | change)
    photos = read_annotations(training_data.save(tmp_path, content))
    assert len(photos[0].boxes) == (1 if expected == BOXED else 0)
    assert not (photos[0].states == LABELLED).any()
    cache = ImageCache(ImageStore(tmp_path), max_side=64, max_bytes=1 << 20)
    batch = dataset.Batches(photos[:1], cache, batch_size=32, crop=32, seed=0, shares={}).at(0)
    targets, weights = draw_targets(batch.marks, 32, 4, 4), draw_weights(batch.marks, torch.zeros(32, 1, 4, 4))
    assert targets.isfinite().all()
    assert bool((weights == 0).any()) == (expected == BOXED)  # Nothing is taught where nobody looked.
    truth = validation._as_coco(photos)
    assert [person["num_keypoints"] for person in truth["annotations"]] == [0] * (expected == BOXED) + [17]


@pytest.mark.parametrize("bbox", [[], None, [5, 5, 0, 0], [5, 5, 3, 0], [9, 9, 0.0, 7]], ids=str)
def test_an_empty_box_is_that_of_the_keypoints(tmp_path, bbox):
    photo = first_person(tmp_path, keypoints=only(0, 4), bbox=bbox)
    assert photo.boxes.tolist() == [[10, 20, 14, 24]]
    assert (photo.areas >= 1).all()
    alone = first_person(tmp_path, keypoints=only(4), bbox=bbox)
    assert alone.boxes.tolist() == [[14, 24, 14, 24]]
    cache = ImageCache(ImageStore(tmp_path), max_side=64, max_bytes=1 << 20)
    dataset.Batches([alone], cache, batch_size=32, crop=32, seed=0, shares={}).at(0)


def test_photos_of_crowds_alone_are_trained_on(tmp_path):
    content = training_data.make(tmp_path, images=2)
    content["annotations"][0].update(iscrowd=1, bbox=[-9, 3, 1e5, 0], keypoints=only())
    content["annotations"].append({"id": 9, "image_id": 10, "iscrowd": 1, "bbox": [-1e5, -1e5, 3e5, 3e5]})
    photos = read_annotations(training_data.save(tmp_path, content))
    assert (len(photos[0].boxes), len(photos[0].crowds)) == (0, 2)
    cache = ImageCache(ImageStore(tmp_path), max_side=64, max_bytes=1 << 20)
    batch = dataset.Batches(photos[:1], cache, batch_size=16, crop=32, seed=0, shares={}).at(0)
    assert (batch.canvases[..., 3] == 255).any()
    assert len(batch.marks.points) == 0


# pycocotools 2.0.11 decodes run lengths by a protocol that numpy 2 finds dated.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize("kind", ["box", "runs", "compressed"])
def test_crowds_are_masked_by_box_or_outline(tmp_path, kind):
    content = training_data.make(tmp_path, images=1)
    outline = np.zeros((48, 64), np.uint8, order="F")
    outline[8:24, 16:48] = 1
    compressed = coco_mask.encode(outline)
    segmentation = {
        "box": [],
        "runs": {"size": [48, 64], "counts": runs(outline)},
        "compressed": {"size": [48, 64], "counts": compressed["counts"].decode()},
    }[kind]
    crowd = {
        "id": 9,
        "image_id": 10,
        "iscrowd": 1,
        "bbox": [16, 8, 32, 16],
        "segmentation": segmentation,
        "keypoints": [0] * 51,
    }
    content["annotations"].append(crowd)
    cv2.imwrite(str(tmp_path / "000.png"), np.repeat(outline[..., None] * 255, 3, axis=2))
    photos = read_annotations(training_data.save(tmp_path, content))
    cache = ImageCache(ImageStore(tmp_path), max_side=512, max_bytes=1 << 20)
    batch = dataset.Batches(photos, cache, batch_size=16, crop=32, seed=0, shares={}).at(0)
    assert len(photos[0].keypoints) == 1
    # The photo is white where its crowd is, so that both must have been cut alike.
    canvases = batch.canvases.numpy()
    np.testing.assert_array_equal(canvases[..., 3] == 255, canvases[..., 0] == 255)
    assert 0.1 < (canvases[..., 3] == 255).mean() < 0.9


def runs(mask: np.ndarray) -> list[int]:
    flat = np.concatenate([[0], mask.ravel(order="F"), [2]])
    return np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat)), [len(flat) - 2]])).tolist()[:-1]


def no_annotations(content, folder):
    (folder / "annotations.json").unlink()


def not_json(content, folder):
    (folder / "annotations.json").write_text("{")


def other_json(content, folder):
    (folder / "annotations.json").write_text("[]")


def no_id(content, folder):
    del content["images"][0]["id"]


def missing_image(content, folder):
    (folder / "001.png").unlink()


def damaged_image(content, folder):
    (folder / "001.png").write_bytes(b"no image")


def cut_image(content, folder):
    (folder / "001.png").write_bytes((folder / "001.png").read_bytes()[:-20])


def empty_image(content, folder):
    (folder / "001.png").write_bytes(b"")


def other_size(content, folder):
    cv2.imwrite(str(folder / "001.png"), np.zeros((64, 48, 3), np.uint8))


def outside(content, folder):
    content["annotations"][0]["keypoints"][0] = 70


def too_few_values(content, folder):
    del content["annotations"][0]["keypoints"][-1]


def unknown_image(content, folder):
    content["annotations"][0]["image_id"] = 999


def twice(content, folder):
    content["images"].append(dict(content["images"][0]))


def empty_split(content, folder):
    content["images"].clear()
    content["annotations"].clear()


def nobody(content, folder):
    content["annotations"].clear()


def bad_unlabelled(content, folder):
    content["annotations"][0]["unlabelled"] = [17]


def parent_folder(content, folder):
    content["images"][0]["file_name"] = "../000.png"


def other_runs(content, folder):
    crowd = {"id": 9, "image_id": 10, "iscrowd": 1, "bbox": [0, 0, 1, 1], "segmentation": {"size": [1, 1], "counts": [1]}}
    content["annotations"].append(crowd)


def person(**change):
    return lambda content, folder: content["annotations"][0].update(change)


def crowd(**change):
    return person(**({"iscrowd": 1, "bbox": [0, 0, 9, 9]} | change))


def runs_of(counts):
    return crowd(segmentation={"size": [48, 64], "counts": counts})


def deep(content, folder):
    (folder / "annotations.json").write_text("[" * 200_000)


def huge_image(content, folder):
    content["images"][0]["width"] = math.inf


FINITE_BOX, FINITE_AREA = (f"annotation 1 .* has the {what} .* expected finite" for what in ("bbox", "area"))
BAD_BOXES: list[list[float]] = [
    [math.nan, 1, 2, 3], [1, 1, math.inf, 3], [1, 1, -2, 3], [1, 2, 3], [1, 2, 3, 4, 5], [1e300, 0, 1, 1], [0, 0, 1, 1e30],
]  # fmt: skip
BAD_CROWDS: list[list[float]] = [[math.nan, 1, 2, 3], [0, 0, 1, -math.inf], [1, 1, -2, 3], [1]]
NO_BOXES: list[list[float] | None] = [[], None]
FINITE = "annotation 1 .* has 51 keypoint values, expected 51 finite"
SPOILT_VALUES = [
    *(pytest.param(person(bbox=box), InputError, FINITE_BOX, id=f"bbox {box}") for box in BAD_BOXES),
    *(pytest.param(crowd(bbox=box), InputError, FINITE_BOX, id=f"crowd {box}") for box in BAD_CROWDS),
    *(pytest.param(crowd(bbox=box), InputError, "annotation 1 .* is a crowd without a bbox", id=f"crowd {box}")
      for box in NO_BOXES),
    *(pytest.param(person(area=area), InputError, FINITE_AREA, id=f"area {area}") for area in
      (math.nan, math.inf, -1, 1e300)),
    *(pytest.param(person(keypoints=[value, *[9.0] * 50]), InputError, FINITE, id=f"x {value}") for value in
      (math.nan, math.inf, -math.inf, 1e39, 1e300)),
    pytest.param(person(keypoints=[9.0, 9.0, math.nan] * 17), InputError, FINITE, id="visibility nan"),
    pytest.param(person(keypoints=[10**400] * 51), InputError, r"no COCO keypoint file \(OverflowError", id="integers"),
    *(pytest.param(runs_of(counts), InputError, "annotation 1 .* has run lengths that", id=f"runs {counts}") for counts in
      ([], [1, 2], [-1, 3073], [3072, 1], [1.5, 3070.5], ["a"], "garbage~~~", None, 7)),
    pytest.param(deep, SourceError, "cannot be read as JSON", id="deep"),
    pytest.param(huge_image, InputError, r"no COCO keypoint file \(OverflowError", id="huge image"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        pytest.param(no_annotations, SourceError, "cannot be read as JSON", id="no-annotations"),
        pytest.param(not_json, SourceError, "cannot be read as JSON", id="not-json"),
        pytest.param(other_json, InputError, "no lists `images` and `annotations`", id="other-json"),
        pytest.param(no_id, InputError, r"is no COCO keypoint file \(KeyError: 'id'\)", id="no-id"),
        pytest.param(missing_image, SourceError, "1 problems: 001.png is missing", id="missing-image"),
        pytest.param(damaged_image, SourceError, "1 problems: 001.png .* does not decode", id="damaged-image"),
        pytest.param(cut_image, SourceError, "1 problems: 001.png .* does not decode", id="cut-image"),
        pytest.param(empty_image, SourceError, "1 problems: 001.png .* does not decode", id="empty-image"),
        pytest.param(other_size, SourceError, "001.png is 48x64 pixels, but annotated as 64x48", id="other-size"),
        pytest.param(outside, InputError, r"nose of annotation 1 at \(70, .*outside 000.png \(64x48\)", id="outside"),
        pytest.param(too_few_values, InputError, "has 50 keypoint values, expected 51", id="too-few-values"),
        pytest.param(unknown_image, InputError, "annotation 1 is of image 999, which is not listed", id="unknown-image"),
        pytest.param(twice, InputError, "image id 10 comes twice", id="twice"),
        pytest.param(empty_split, InputError, "lists no images", id="empty-split"),
        pytest.param(nobody, InputError, "no labelled keypoint", id="nobody"),
        pytest.param(bad_unlabelled, InputError, r"`unlabelled` is \[17\], expected keypoint indices", id="bad-unlabelled"),
        pytest.param(parent_folder, InputError, "lies outside the folder", id="parent-folder"),
        pytest.param(other_runs, InputError, r"run lengths of \[1, 1\]", id="other-runs"),
        *SPOILT_VALUES,
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, spoil, kind, message):
    content = training_data.make(tmp_path)
    before = (tmp_path / "annotations.json").stat().st_mtime_ns, repr(content)
    spoil(content, tmp_path)
    if repr(content) != before[1]:
        training_data.save(tmp_path, content)
    with pytest.raises(kind, match=message) as caught:
        check(tmp_path)
    assert isinstance(caught.value, EdgePoseError)
    assert "\n" not in str(caught.value)


def check(folder):
    photos = read_annotations(folder / "annotations.json")
    store = ImageStore(folder)
    dataset.check_images(photos, store, ImageCache(store, max_side=64, max_bytes=1 << 20), 2)


def test_good_input_passes_the_check(tmp_path):
    training_data.make(tmp_path)
    check(tmp_path)


def test_all_problems_are_counted_and_the_first_named(tmp_path):
    training_data.make(tmp_path)
    for i in range(5):
        (tmp_path / f"{i:03}.png").unlink()
    with pytest.raises(SourceError, match=r"5 problems: 000.png is missing; .*002.png is missing; and 2 more"):
        check(tmp_path)
