"""A new decoder is one file and one line in the table; here both are made on the spot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import tiny_models

import edgepose
from edgepose.decoding import Decoder, decoder_class
from edgepose.zoo.decoders import DECODERS, DecoderEntry

TOY = '''
import numpy as np

from edgepose.decoding import DecodedPoses
from edgepose.errors import ModelError


class ToyDecoder:
    """One person: each keypoint at the highest cell of its map."""

    options = frozenset({"refinement"})
    sized_by = "short side"
    made = []

    def __init__(self, model, output_channels, min_score, *, refinement=None):
        if output_channels != (17,):
            raise ModelError(f"{model.name} has {output_channels} channels; expected 17")
        self.stride = model.stride
        self.made.append((min_score, refinement))

    def __call__(self, outputs, size):
        (maps,) = outputs
        count, types, height, width = maps.shape
        assert (height, width) == (size[0] // self.stride, size[1] // self.stride)
        flat = maps.reshape(count, types, -1)
        y, x = np.divmod(flat.argmax(axis=2), width)
        scores = np.clip(flat.max(axis=2), 0.5, 1).astype(np.float32)
        return DecodedPoses(np.stack([x, y], axis=2).astype(np.float32) * self.stride, scores, scores.mean(axis=1))
'''
DESCRIPTION = """\
task: {task}
decoder: toy
skeleton: coco17
colour: BGR
layout: NCHW
mean: [0, 0, 0]
scale: [255, 255, 255]
size: [64, 96]
stride: 8
"""


@pytest.fixture(params=["bottom-up", "top-down"])
def toy(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that a toy decoder reads."""
    (tmp_path / "toy_decoder.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_decoder", raising=False)
    monkeypatch.setitem(DECODERS, "toy", DecoderEntry("toy_decoder:ToyDecoder", request.param, ("coco17",)))
    path = tmp_path / "toy.xml"
    ov.save_model(tiny_models.network((17,), stride=8), path, compress_to_fp16=False)
    path.with_suffix(".yaml").write_text(DESCRIPTION.format(task=request.param))
    return path


def given(path: Path) -> dict[str, object]:
    return {"boxes": [[10, 10, 60, 90]]} if "top-down" in path.with_suffix(".yaml").read_text() else {}


def test_a_new_decoder_is_one_file_and_one_line(toy):
    image = np.random.default_rng(0).integers(0, 256, (100, 80, 3), np.uint8)
    estimator = edgepose.PoseEstimator(toy, refinement="dark", min_score=0.25)
    poses = estimator(image, **given(toy))
    assert len(poses) == 1
    assert poses.skeleton is edgepose.COCO17
    assert decoder_class("toy").made == [(0.25, "dark")]


@pytest.mark.parametrize("toy", ["bottom-up"], indirect=True)
def test_a_decoder_says_which_side_is_the_size(toy):
    pipeline = edgepose.PoseEstimator(toy, input_size=64).pipeline
    assert pipeline.input_shape(200, 100)[1] == 64


def test_an_option_that_a_decoder_does_not_take_is_refused(toy):
    with pytest.raises(edgepose.InputError, match="flip_test given, but toy"):
        edgepose.PoseEstimator(toy, flip_test=True)


@pytest.mark.parametrize("name", [name for name, entry in DECODERS.items() if entry.task != "detector"])
def test_every_line_of_the_table_names_a_class_of_decoders(name):
    decoder: type[Decoder] = decoder_class(name)
    assert decoder.sized_by in ("height", "short side", "both sides")
    assert decoder.options <= {"refinement"}


def test_a_model_brings_its_own_decoder_alone(tmp_path):
    path = tiny_models.save(tmp_path)
    script = f"""
import sys, edgepose
edgepose.PoseEstimator({str(path)!r})
print(*(name for name in sys.modules if name.startswith("edgepose.decoding.")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "edgepose.decoding.paf" in done.stdout.split()
    assert not {"edgepose.decoding.tags", "edgepose.decoding.heatmaps"} & set(done.stdout.split())
