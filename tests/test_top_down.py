"""The top-down pipeline with a network that draws perfect heatmaps: what it sees tells it where in the frame it looks."""

from __future__ import annotations

import json
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_models

import edgepose
from edgepose import COCO17, Poses
from edgepose.engines import Opened, Pending
from edgepose.engines.openvino import OpenVINOEngine
from edgepose.errors import InputError
from edgepose.evaluation import evaluate
from edgepose.pipelines import Options, make_pipeline, top_down
from edgepose.pipelines.detection import Detector
from edgepose.pipelines.top_down import TopDown
from edgepose.zoo import registry

DESCRIPTION = tiny_models.TOP_DOWN.replace("[64, 32]", "[256, 192]")
MODEL = registry.from_yaml("tiny", DESCRIPTION, "tests")
CROP = (256, 192)


def chart(height: int, width: int) -> np.ndarray:
    """A picture whose colours tell the place: blue from left to right, green from top to bottom, red everywhere."""
    image = np.full((height, width, 3), 255, np.uint8)
    image[..., 0] = np.rint(np.arange(width) * (255 / (width - 1)))
    image[..., 1] = np.rint(np.arange(height) * (255 / (height - 1)))[:, None]
    return image


class Painter:
    """An engine that reads from a crop of a chart where in the frame it is, and paints the person there, where crops expect it.

    Nothing of the pipeline's own arithmetic is used: a straight line through the colours tells the place and the scale.
    """

    output_channels = (17,)

    def __init__(self) -> None:
        self.people = np.empty((0, 17, 3))  # x, y, 0 if missing
        self.frame = (1, 1)
        self.batches: list[int] = []
        self.waiting = self.most = 0

    def submit(self, batch: np.ndarray) -> Painted:
        self.batches.append(len(batch))
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        return Painted(self, np.stack([self.paint(crop) for crop in batch]))

    def paint(self, crop: np.ndarray) -> np.ndarray:
        inside = crop[..., 2] == 255
        lines = [self._line(crop, inside, channel) for channel in (0, 1)]
        mirrored = lines[0][0] < 0
        # A line is frame = slope * pixel + start; the person meant is the one in the middle.
        middle = [slope * (side / 2 - mirrored * (1 - axis)) + start
                  for axis, ((slope, start), side) in enumerate(zip(lines, CROP[::-1], strict=True))]  # fmt: skip
        person = self.people[self.nearest(middle, abs(lines[0][0]) * CROP[1])]
        heatmaps = np.zeros((17, CROP[0] // 4, CROP[1] // 4), np.float32)
        x, y = (np.arange(side // 4) for side in CROP[::-1])
        for k, (px, py, found) in enumerate(person[list(COCO17.flip)] if mirrored else person):
            if found:
                cx, cy = ((p - start) / slope / 4 for p, (slope, start) in zip((px, py), lines, strict=True))
                heatmaps[k] = np.outer(np.exp(-((y - cy) ** 2) / 8), np.exp(-((x - cx) ** 2) / 8))
        return heatmaps

    def nearest(self, middle: list[float], width: float) -> int:
        """The person whose crop would lie most like this one."""
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        widths = 1.25 * np.maximum(high[:, 0] - low[:, 0], (high[:, 1] - low[:, 1]) * 0.75)
        return int(np.argmin(np.abs((low + high) / 2 - middle).sum(axis=1) + np.abs(widths - width)))

    def _line(self, crop: np.ndarray, inside: np.ndarray, channel: int) -> tuple[float, float]:
        rows, columns = np.nonzero(inside[::3, ::3])
        at = 3 * (columns if channel == 0 else rows)
        values = crop[::3, ::3, channel][inside[::3, ::3]] * ((self.frame[1 - channel] - 1) / 255)
        slope, start = np.polyfit(at, values, 1)
        return slope, start

    def look_at(self, image: np.ndarray, people: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """The chart of the image's size; the people are in it from now on."""
        self.people, self.boxes, self.frame = people, boxes, image.shape[:2]
        return chart(*self.frame)


class Painted:
    def __init__(self, painter: Painter, heatmaps: np.ndarray) -> None:
        self.painter = painter
        self.heatmaps = heatmaps

    def result(self) -> list[np.ndarray]:
        self.painter.waiting -= 1
        return [self.heatmaps]


def no_detector(name: str | Path) -> Detector:
    raise InputError(f"{name} is asked for")


def pipeline(engine: Any, **options: Any) -> TopDown:
    made = make_pipeline(Opened(engine, MODEL), Options(**{"input_size": CROP, "min_score": 0.05, **options}), no_detector)
    assert isinstance(made, TopDown)
    return made


def crowd(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, 17, 3) people side by side in 256 x 256, where a chart has a colour for each pixel, and their boxes (N, 4)."""
    random = np.random.default_rng(seed)
    sizes = random.uniform(40, 110, count)
    corners = np.column_stack([230 * np.arange(count) / count + 5, random.uniform(5, 140, count)])
    keypoints = corners[:, None] + random.uniform(0, 1, (count, 17, 2)) * (sizes[:, None] * (0.3, 1.0))[:, None]
    boxes = np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1)
    return np.concatenate([keypoints, np.ones((count, 17, 1))], axis=2), boxes


@pytest.mark.parametrize(
    ("options", "cells"),
    [({}, 0.42), ({"refinement": "dark"}, 0.15), ({"flip_test": True}, 0.55), ({"batch_size": 4}, 0.42)],
    ids=["quarter", "dark", "flip test", "batches"],
)
def test_keypoints_come_back_to_where_they_are_in_the_frame(options, cells):
    painter = Painter()
    people, boxes = crowd(9)
    image = painter.look_at(np.empty((256, 256, 3)), people, boxes)
    poses = pipeline(painter, **options).start(image, boxes).result()
    assert len(poses) == 9
    order = [int(np.argmin(np.abs(people[..., :2] - person.keypoints).max(axis=(1, 2)))) for person in poses]
    assert sorted(order) == list(range(9))
    cell_px = np.maximum(boxes[:, 2] - boxes[:, 0], (boxes[:, 3] - boxes[:, 1]) * 0.75)[order] * 1.25 / 48
    errors = np.hypot(*np.moveaxis(poses.keypoints - people[order, :, :2], 2, 0))
    # A tenth of a cell is left to the painter's eyes: colours are whole numbers.
    assert (errors / cell_px[:, None]).max() <= cells
    assert poses.skeleton is COCO17
    assert (np.diff(poses.confidence) <= 0).all()
    assert painter.batches == {"batch_size": [4, 4, 1], "flip_test": [1] * 18}.get(next(iter(options), ""), [1] * 9)


def seen_in_crops(content: dict) -> int:
    """Take the keypoints that a crop around their person's box does not hold out of the truth; how many there were."""
    count = 0
    for person in content["annotations"]:
        x, y, w, h = person["bbox"]
        keypoints = np.reshape(person["keypoints"], (17, 3))
        half = 1.25 / 2 * max(w, h * 0.75) * np.array([1, 4 / 3])
        outside = (np.abs(keypoints[:, :2] - (x + w / 2, y + h / 2)) > half).any(axis=1) & (keypoints[:, 2] > 0)
        keypoints[outside] = 0
        person["keypoints"] = keypoints.ravel().tolist()
        person["num_keypoints"] -= int(outside.sum())
        count += 0 if person["iscrowd"] else int(outside.sum())
    return count


@pytest.mark.parametrize("options", [{}, {"flip_test": True}, {"refinement": "dark"}], ids=["quarter", "flip test", "dark"])
def test_perfect_heatmaps_have_perfect_ap(shared, tmp_path, options):
    """Official annotations, through crops, heatmaps and back: the geometry of the whole way."""
    content = json.loads((shared / "data" / "eval" / "person_keypoints_eval.json").read_text())
    assert seen_in_crops(content) == 29  # of 3381; with them in the truth, no network that sees crops has more than 98.5
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    order = iter(content["images"])
    painter = Painter()
    estimate = pipeline(painter, batch_size=8, **options)

    def see(image: np.ndarray) -> Poses:
        image_id = next(order)["id"]
        people = [a for a in content["annotations"] if a["image_id"] == image_id and a["num_keypoints"] and not a["iscrowd"]]
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in people)]).reshape(-1, 4)
        keypoints = np.array([a["keypoints"] for a in people], float).reshape(-1, 17, 3)
        return estimate.start(painter.look_at(image, keypoints, boxes), boxes).result()

    figures = evaluate(see, path, shared / "data" / "eval" / "images").figures
    assert figures["AP"] >= 99, figures


def test_frames_share_batches_and_few_are_under_way():
    painter = Painter()
    people, boxes = crowd(7)
    image = painter.look_at(np.empty((256, 256, 3)), people, boxes)
    run = pipeline(painter, batch_size=4)
    alone = run.start(image, boxes).result()
    painter.batches.clear()
    started = run.start_together([image, image, image], [boxes[:3], [], boxes[3:]])
    assert painter.batches == [4, 3]
    first, nobody, last = (one.result() for one in started)
    assert (len(first), len(nobody), len(last)) == (3, 0, 4)
    together = np.concatenate([first.keypoints, last.keypoints])
    key = np.lexsort(together[:, 0].T)
    np.testing.assert_array_equal(together[key], alone.keypoints[np.lexsort(alone.keypoints[:, 0].T)])
    painter.most = 0
    pipeline(painter).start(image, np.tile(boxes, (30, 1))).result()
    assert painter.most == top_down.IN_FLIGHT


def test_a_frame_without_people_costs_no_run():
    painter = Painter()
    run = pipeline(painter, detector=lambda image: np.empty((0, 5)))
    assert len(run.start(chart(90, 120)).result()) == 0
    assert len(run.start(chart(90, 120), []).result()) == 0
    assert len(run.start(chart(90, 120), [[200, 200, 300, 300]]).result()) == 0
    assert painter.batches == []


def test_one_person_is_reported_once():
    painter = Painter()
    people, boxes = crowd(3)
    image = painter.look_at(np.empty((256, 256, 3)), people, boxes)
    doubled = np.concatenate([boxes + np.array(shift) for shift in [(-3, -4, 5, 2), (0, 0, 0, 0), (3, 1, 4, 6)]])
    confidence = np.repeat([0.5, 0.9, 0.6], 3)[:, None]
    poses = pipeline(painter).start(image, np.concatenate([doubled, confidence], axis=1)).result()
    assert len(poses) == 3
    assert (poses.confidence > 0.8).all()  # the most confident stayed


def test_missing_and_weak_keypoints():
    painter = Painter()
    people, boxes = crowd(1)
    people[0, 5, 2] = 0
    image = painter.look_at(np.empty((256, 256, 3)), people, boxes)
    poses = pipeline(painter).start(image, boxes).result()
    assert np.isnan(poses.keypoints[0, 5]).all()
    assert poses.scores[0, 5] == 0
    assert (np.delete(poses.scores[0], 5) > 0.9).all()
    assert len(pipeline(painter, min_score=1.0).start(image, boxes).result()) == 0


def test_the_detector_is_asked_where_the_caller_says_nothing():
    painter = Painter()
    people, boxes = crowd(2)
    image = painter.look_at(np.empty((256, 256, 3)), people, boxes)
    asked = []
    run = pipeline(painter, detector=lambda picture: asked.append(picture) or boxes)
    assert len(run.start(image).result()) == 2
    assert len(run.start(image, boxes[:1]).result()) == 1
    assert len(asked) == 1
    with pytest.raises(edgepose.InputError, match="boxes of the detector have shape"):
        pipeline(painter, detector=lambda picture: np.zeros((2, 9))).start(image)
    with pytest.raises(edgepose.InputError, match="default is asked for"):
        pipeline(painter).start(image)


@pytest.mark.parametrize(
    ("size", "shape"), [(256, (256, 192)), (128, (128, 96)), (384, (384, 288)), (64, (64, 64)), ((128, 128), (128, 128))]
)
def test_input_sizes(size, shape):
    seen = []

    class Blank(Painter):
        def paint(self, crop: np.ndarray) -> np.ndarray:
            seen.append(crop.shape[:2])
            return np.zeros((17, shape[0] // 4, shape[1] // 4), np.float32)

    assert len(pipeline(Blank(), input_size=size).start(chart(90, 120), [[0, 0, 50, 50]]).result()) == 0
    assert seen == [shape]


@pytest.mark.parametrize("size", [0, -32, 100, 4096, (256, 100), (100, 192), (0, 0)])
def test_sizes_that_no_network_takes(size):
    with pytest.raises(edgepose.InputError, match="expected multiples of 32 to 2048"):
        pipeline(Painter(), input_size=size)


def test_batches_of_nobody():
    with pytest.raises(edgepose.InputError, match="batch_size is 0; expected 1 or more"):
        pipeline(Painter(), batch_size=0)


@pytest.mark.parametrize("channels", [(18,), (17, 17), (19, 38)])
def test_outputs_that_are_no_heatmaps(channels):
    engine = OpenVINOEngine(tiny_models.network(channels, stride=4), MODEL)
    with pytest.raises(edgepose.ModelError, match="expected one output with 17 heatmaps, as coco17 has keypoints"):
        pipeline(engine)


def test_a_stride_that_is_not_the_networks():
    engine = OpenVINOEngine(tiny_models.network((17,), stride=8), MODEL)
    with pytest.raises(edgepose.ModelError, match=r"maps of \(32, 24\) to 256 x 192 pixels; expected its stride, 4,"):
        pipeline(engine).start(chart(90, 120), [[0, 0, 50, 50]]).result()


def test_a_network_on_openvino_and_the_crops_it_is_given(tmp_path: Path):
    """The crop of a box with the input's own aspect and size is the frame there, untouched."""
    network = tiny_models.network((17,), stride=4)
    engine = OpenVINOEngine(network, MODEL)
    noise = np.random.default_rng(0).integers(0, 256, (600, 500, 3), np.uint8)
    image = np.asarray(cv2.GaussianBlur(noise, (9, 9), 2), np.uint8)
    left, top = 100, 200
    box = [left + 192 * 0.1, top + 256 * 0.1, left + 192 * 0.9, top + 256 * 0.9]
    given = []
    submit = engine.submit

    def note(batch: np.ndarray) -> Pending:
        given.append(batch)
        return submit(batch)

    engine.submit = note  # type: ignore[method-assign, assignment]
    pipeline(engine, flip_test=True).start(image, [box]).result()
    np.testing.assert_allclose(given[0][0].astype(int), image[top : top + 256, left : left + 192], atol=1)
    np.testing.assert_array_equal(given[1][0], given[0][0][:, ::-1])


class Failing(Painter):
    """Fails where it is told to: in number `run` of its runs, as that is started (`at_once`) or as its result is asked for.

    An interruption comes once.
    """

    def __init__(self, run: int, error: BaseException, *, at_once: bool = False) -> None:
        super().__init__()
        self.run, self.error, self.at_once = run, error, at_once
        self.runs: list[weakref.ref[Painted]] = []

    def submit(self, batch: np.ndarray) -> Painted:
        if self.at_once and len(self.runs) == self.run:
            self.fail()
        painted = super().submit(batch)
        if not self.at_once and len(self.runs) == self.run:
            result = painted.result

            def failing() -> list[np.ndarray]:
                self.fail()
                return result()

            painted.result = failing  # type: ignore[method-assign]
        self.runs.append(weakref.ref(painted))
        return painted

    def fail(self) -> None:
        if self.run >= 0:
            if isinstance(self.error, KeyboardInterrupt):
                self.run = -1
            raise self.error


@pytest.mark.parametrize("flip_test", [False, True], ids=["plain", "flip test"])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize(("run", "at_once"), [(0, False), (1, False), (2, False), (2, True), (4, True)])
def test_a_failed_run_fails_for_all_frames_that_were_started_together(run, at_once, batch_size, flip_test):
    painter = Failing(run, edgepose.ModelError("out of memory"), at_once=at_once)
    people, boxes = crowd(6)
    image = painter.look_at(np.empty((256, 256, 3)), people, boxes)
    options = {"batch_size": batch_size, "flip_test": flip_test}
    painter.run = run = min(run, -(-6 // batch_size) * (2 if flip_test else 1) - 1)
    try:
        started = pipeline(painter, **options).start_together([image] * 3, [boxes[:2], boxes[2:4], boxes[4:]])
    except edgepose.ModelError:
        assert at_once  # Nothing is there to be asked.
        return
    for one in [*started, *reversed(started)]:
        with pytest.raises(edgepose.ModelError, match="out of memory") as caught:
            one.result()
    # Although the error is still there, whose traceback knows much.
    assert [ref() for ref in painter.runs[run + 1 :]] == [None] * len(painter.runs[run + 1 :])
    assert caught.value is not None


def test_a_failed_run_fails_in_all_threads_that_ask():
    painter = Failing(0, edgepose.ModelError("out of memory"))
    people, boxes = crowd(6)
    image = painter.look_at(np.empty((256, 256, 3)), people, boxes)
    started = pipeline(painter).start_together([image] * 3, [boxes[:2], boxes[2:4], boxes[4:]])
    with ThreadPoolExecutor(6) as pool:
        errors = [future.exception() for future in [pool.submit(one.result) for one in started * 2]]
    assert [str(error) for error in errors] == ["out of memory"] * 6


@pytest.mark.parametrize("at_once", [False, True], ids=["waiting", "starting"])
@pytest.mark.parametrize("run", range(2, 6))
def test_who_was_interrupted_can_ask_again_and_everybody_has_their_own_points(run, at_once):
    painter = Failing(run, KeyboardInterrupt(), at_once=at_once)
    people, boxes = crowd(6)
    image = painter.look_at(np.empty((256, 256, 3)), people, boxes)
    shares = [boxes[:2], boxes[2:4], boxes[4:]]
    plain = Painter()
    plain.look_at(image, people, boxes)
    expected = [pipeline(plain).start(image, share).result() for share in shares]
    started = pipeline(painter).start_together([image] * 3, shares)
    with pytest.raises(KeyboardInterrupt):
        started[0].result()
    for one, alone in zip(started, expected, strict=True):
        np.testing.assert_array_equal(one.result().keypoints, alone.keypoints)


def test_threads_that_ask_for_different_frames_get_their_own():
    painter = Painter()
    people, boxes = crowd(8)
    image = painter.look_at(np.empty((256, 256, 3)), people, boxes)
    run = pipeline(painter)
    expected = [run.start(image, [box]).result().keypoints for box in boxes]
    with ThreadPoolExecutor(8) as pool:
        for started in [run.start_together([image] * 8, [[box] for box in boxes]) for _ in range(10)]:
            for poses, alone in zip(pool.map(lambda one: one.result(), started), expected, strict=True):
                np.testing.assert_array_equal(poses.keypoints, alone)
