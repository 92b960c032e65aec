from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_models

import edgepose
from edgepose.engines import Engine, Opened
from edgepose.engines.openvino import OpenVINOEngine
from edgepose.loading import open_detector
from edgepose.pipelines import Options, bottom_up, make_pipeline
from edgepose.pipelines.bottom_up import BottomUp
from edgepose.skeleton import PAF_CHANNELS, PAF_LIMBS
from edgepose.zoo.registry import Model, from_yaml

MODEL = from_yaml("tiny", tiny_models.DESCRIPTION, "tests")


def pipeline_of(engine: Engine, model: Model, **options: Any) -> BottomUp:
    pipeline = make_pipeline(Opened(engine, model), Options(**options), open_detector)
    assert isinstance(pipeline, BottomUp)
    return pipeline


class OnePerson:
    """An engine that sees the same person at a known place of the input, whatever the picture."""

    output_channels = (19, 38)

    def __init__(self, cells: np.ndarray) -> None:
        self.cells = cells  # (18, 2) x, y
        self.batches: list[np.ndarray] = []

    def submit(self, batch: np.ndarray) -> OnePerson:
        self.batches.append(batch.copy())
        return self

    def result(self) -> list[np.ndarray]:
        height, width = (side // 8 for side in self.batches[-1].shape[1:3])
        y, x = np.mgrid[:height, :width]
        heatmaps = np.zeros((1, 19, height, width), np.float32)
        pafs = np.zeros((1, 38, height, width), np.float32)
        for k, (px, py) in enumerate(self.cells):
            heatmaps[0, k] = 0.9 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 2)
        for (a, b), channels in zip(PAF_LIMBS, PAF_CHANNELS, strict=True):
            start, limb = self.cells[a], self.cells[b] - self.cells[a]
            length = np.hypot(*limb)
            along = ((x - start[0]) * limb[0] + (y - start[1]) * limb[1]) / length
            across = np.abs((x - start[0]) * limb[1] - (y - start[1]) * limb[0]) / length
            on = (along > -1) & (along < length + 1) & (across < 1.5)
            for channel, component in zip(channels, limb / length, strict=True):
                pafs[0, channel][on] = component
        return [heatmaps, pafs]


def person(x: float, y: float) -> np.ndarray:
    """A standing person, 18 keypoints in cells, head at (x, y)."""
    shape = [
        (0, 0),
        (0, 4),
        (-3, 4),
        (-5, 9),
        (-6, 14),
        (3, 4),
        (5, 9),
        (6, 14),
        (-2, 14),
        (-3, 20),
        (-3, 26),
        (2, 14),
        (3, 20),
    ]
    return np.array([*shape, (3, 26), (-1.5, -1.5), (1.5, -1.5), (-3.5, -1), (3.5, -1)], float) + np.array((x, y))


@pytest.mark.parametrize(
    ("frame", "input_size"),
    [
        ((480, 640), 368),
        ((368, 492), 368),
        ((1080, 1920), 256),
        ((640, 480), 256),
        ((300, 3000), 256),
        ((333, 777), (272, 480)),
    ],
    ids=["640x480", "no scaling", "camera", "upright", "panorama", "fixed size"],
)
def test_keypoints_come_back_to_where_they_are_in_the_frame(frame, input_size):
    cells = person(9, 4)
    engine = OnePerson(cells)
    pipeline = pipeline_of(engine, MODEL, input_size=input_size, min_score=0.1)
    poses = pipeline.start(np.zeros((*frame, 3), np.uint8)).result()

    # Where the frame lies in the input is known from the picture that the engine was given: padding is 128, the frame 0.
    content = engine.batches[0][0][..., 0] < 64
    scaled_height, scaled_width = content[:, 0].sum(), content[0].sum()
    assert content[:scaled_height, :scaled_width].all()
    assert not content[scaled_height:].any()
    assert not content[:, scaled_width:].any()
    scale = np.array([scaled_width / frame[1], scaled_height / frame[0]])
    expected = (cells * 8 + 4) / scale - 0.5

    assert len(poses) == 1
    # Peaks lie on quarter cells: at most an eighth of a cell, one input pixel, off on each axis.
    assert np.abs(poses.keypoints[0] - expected).max() * scale.max() <= 1.01
    assert poses.skeleton is edgepose.OPENPOSE18


def test_aspect_is_kept_and_the_whole_frame_is_seen():
    engine = OnePerson(person(9, 4))
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, -8:] = 255
    image[-8:, :] = 255
    pipeline_of(engine, MODEL, input_size=368, min_score=0.1).start(image).result()
    given = engine.batches[0][0]
    assert given.shape == (368, 496, 3)
    assert given[180, 487].min() > 200  # the right edge, at 640 * 368 / 480 = 490.7
    assert given[365, 200].min() > 200  # the lower edge
    np.testing.assert_array_equal(given[180, 492:], 128)  # the padding


def test_padding_is_the_mean_in_the_frames_colour_order():
    text = tiny_models.DESCRIPTION.replace("BGR", "RGB").replace("[128, 128, 128]", "[10, 20, 30]")
    engine = OnePerson(person(9, 4))
    pipeline_of(engine, from_yaml("tiny", text, "tests"), input_size=(256, 456), min_score=0.1).start(
        np.zeros((100, 100, 3), np.uint8)
    ).result()
    np.testing.assert_array_equal(engine.batches[0][0][0, -1], [30, 20, 10])


def test_min_score_leaves_out_the_weak():
    engine = OnePerson(person(9, 4))
    image = np.zeros((368, 492, 3), np.uint8)
    assert len(pipeline_of(engine, MODEL, input_size=368, min_score=0.1).start(image).result()) == 1
    assert len(pipeline_of(engine, MODEL, input_size=368, min_score=0.99).start(image).result()) == 0


@pytest.mark.parametrize("size", [0, -8, 100, 8192, (256, 100), (100, 256)])
def test_sizes_that_no_network_takes(size):
    with pytest.raises(edgepose.InputError, match="expected multiples of 8"):
        pipeline_of(OnePerson(person(9, 4)), MODEL, input_size=size, min_score=0.1)


@pytest.mark.parametrize("channels", [(17,), (19,), (19, 38, 5), (38, 38), (56,)])
def test_outputs_that_fit_no_decoder(channels):
    engine = OpenVINOEngine(tiny_models.network(channels), MODEL)
    with pytest.raises(edgepose.ModelError, match="fit no bottom-up decoder; expected 57, or 19") as caught:
        pipeline_of(engine, MODEL, input_size=64, min_score=0.1)
    assert str(list(channels)) in str(caught.value)


@pytest.mark.parametrize("channels", [(19, 38), (38, 19), (57,), (18, 38)])
def test_outputs_are_told_by_their_channels(channels):
    engine = OpenVINOEngine(tiny_models.network(channels), MODEL)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    heatmaps, pafs = pipeline_of(engine, MODEL, input_size=64, min_score=0.1)._decoder._split(
        [o[0] for o in engine.infer(image[None])]
    )
    assert (len(heatmaps), len(pafs)) == (min(19, channels[0]) if channels != (38, 19) else 19, 38)


TAG_DESCRIPTION = """\
task: bottom-up
decoder: tags
skeleton: coco17
colour: RGB
layout: NCHW
mean: [123.675, 116.28, 103.53]
scale: [58.395, 57.12, 57.375]
size: [128, 128]
stride: 2
multiple: 32
"""
TAG_MODEL = from_yaml("tagged", TAG_DESCRIPTION, "tests")


class TwoTagged:
    """An engine that sees two people at known places of the input: one with 17 keypoints, one with `second`."""

    output_channels = (34,)
    cells = np.array([(4 + 3 * (k % 4), 4 + 3 * (k // 4)) for k in range(17)])  # of the first; the second 30 to the right

    def __init__(self, second: int = 17, height: float = 0.8, weak: float = 0.8) -> None:
        self.second, self.height, self.weak = second, height, weak
        self.batches: list[np.ndarray] = []

    def submit(self, batch: np.ndarray) -> TwoTagged:
        self.batches.append(batch.copy())
        return self

    def result(self) -> list[np.ndarray]:
        rows, columns = (side // 2 for side in self.batches[-1].shape[1:3])
        maps = np.zeros((1, 34, rows, columns), np.float32)
        maps[:, 17:, :, 25:] = 4
        for k, (x, y) in enumerate(self.cells):
            maps[0, k, y, x] = self.weak if k == 16 else self.height
            if k < self.second:
                maps[0, k, y, x + 30] = 0.9 * self.height
        return [maps]


@pytest.mark.parametrize(("frame", "size"), [((128, 128), 128), ((256, 320), 128), ((200, 300), (160, 224))])
def test_tagged_people_come_back_to_where_they_are_in_the_frame(frame, size):
    engine = TwoTagged()
    pipeline = pipeline_of(engine, TAG_MODEL, input_size=size, min_score=0.05)
    poses = pipeline.start(np.zeros((*frame, 3), np.uint8)).result()
    height, width = engine.batches[0].shape[1:3]
    scale = min(height / frame[0], width / frame[1])
    assert len(poses) == 2
    assert poses.skeleton is edgepose.COCO17
    # The published rule moves each point by a quarter of a cell on both axes, also between equal neighbours.
    expected = ((engine.cells - 0.25 + 0.5) * 2) / scale - 0.5
    assert np.abs(poses.keypoints[0] - expected).max() < 1 / scale
    assert np.abs(poses.keypoints[1] - expected - (60 / scale, 0)).max() < 1 / scale


def test_models_with_tags_are_sized_by_the_short_side():
    pipeline = pipeline_of(TwoTagged(), TAG_MODEL, input_size=128, min_score=0.05)
    assert pipeline.input_shape(480, 640) == (128, 192)
    assert pipeline.input_shape(640, 480) == (192, 128)
    assert pipeline.input_shape(300, 300) == (128, 128)
    assert pipeline_of(TwoTagged(), TAG_MODEL, input_size=(128, 192), min_score=0.05).input_shape(640, 480) == (128, 192)


FRAMES = [(1, 1), (1, 100_000), (100_000, 1), (480, 640), (640, 480), (900, 2100), (2100, 900), (4096, 4096), (2000, 2001)]


@pytest.mark.parametrize("size", [8, 368, 1760, 2048, 4000, 4096])
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("decoder", ["paf", "tags"])
def test_no_side_is_longer_than_the_longest_whatever_the_frame(decoder, frame, size):
    model, engine = (MODEL, OnePerson(person(9, 4))) if decoder == "paf" else (TAG_MODEL, TwoTagged())
    size = max(size - size % model.multiple, model.multiple)
    height, width = pipeline_of(engine, model, input_size=size, min_score=0.1).input_shape(*frame)
    assert height % model.multiple == width % model.multiple == 0
    assert 0 < min(height, width) <= max(height, width) <= bottom_up.MAX_SIDE
    if decoder == "paf" and max(frame) <= 2.4 * min(frame) and size > 8:
        # Nothing is made smaller that need not be, and the aspect stays that of the frame, as far as its steps go.
        assert height == size or width == bottom_up.MAX_SIDE
        assert 1 / 1.35 < width / height / np.clip(frame[1] / frame[0], 1 / 2, 21 / 9) < 1.35


@pytest.mark.parametrize(("frame", "shape"), [((900, 2100), (1760, 4096)), ((480, 640), (3072, 4096)), ((9, 9), (4096, 4096))])
def test_wide_frames_at_the_greatest_height(frame, shape):
    assert pipeline_of(OnePerson(person(9, 4)), MODEL, input_size=4096, min_score=0.1).input_shape(*frame) == shape


def test_lonely_peaks_are_nobody():
    image = np.zeros((128, 128, 3), np.uint8)
    for keypoints, people in ((2, 1), (3, 2)):
        pipeline = pipeline_of(TwoTagged(second=keypoints), TAG_MODEL, input_size=128, min_score=0.05)
        assert len(pipeline.start(image).result()) == people


@pytest.mark.parametrize(("min_score", "found"), [(0, 17), (0.05, 17), (0.07, 16), (0.85, 0)])
def test_min_score_holds_for_filled_in_keypoints_too(min_score, found):
    pipeline = pipeline_of(TwoTagged(second=0, weak=0.06), TAG_MODEL, input_size=128, min_score=min_score)
    poses = pipeline.start(np.zeros((128, 128, 3), np.uint8)).result()
    assert (poses.scores > 0).sum() == found


@pytest.mark.parametrize("channels", [(17,), (17, 17), (34, 34), (57,), (35,)])
def test_outputs_that_are_no_heatmaps_and_tags(channels):
    engine = OpenVINOEngine(tiny_models.network(channels, stride=2), TAG_MODEL)
    with pytest.raises(edgepose.ModelError, match="fit no decoder of tags; expected one output of 34: 17 heatmaps") as caught:
        pipeline_of(engine, TAG_MODEL, input_size=64, min_score=0.1)
    assert str(list(channels)) in str(caught.value)
