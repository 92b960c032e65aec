"""Markers for OpenSim: the layout of Pose2Sim's files, people over time, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
from pictures import write_video

import edgepose
from edgepose.cli.main import main
from edgepose.media.frames import Frame
from edgepose.media.trc_sink import TrcSink, marker_name
from edgepose.poses import Poses
from edgepose.skeleton import HALPE26


def frame(index: int, timestamp: float | None = None) -> Frame:
    seconds = index / 25 if timestamp is None else timestamp
    return Frame(np.zeros((8, 8, 3), np.uint8), index, seconds, "clip.mp4")


def person(shift: float, ids: list[int] | None = None) -> Poses:
    """People with Halpe's 26 keypoints, one for each identity, whose nose was not found."""
    count = 1 if ids is None else len(ids)
    keypoints = np.tile(np.arange(52, dtype=np.float32).reshape(1, 26, 2), (count, 1, 1)) + np.float32(shift)
    keypoints += 100 * np.arange(count, dtype=np.float32)[:, None, None]
    scores = np.full((count, 26), 0.9, np.float32)
    keypoints[:, 0], scores[:, 0] = np.nan, 0
    return Poses(keypoints, scores, np.full(count, 0.9), HALPE26, None if ids is None else np.array(ids))


def read(path: Path) -> tuple[list[list[str]], np.ndarray]:
    """The five lines of the head, and the numbers below; NaN where there is none."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    rows = [[float(cell) if cell else np.nan for cell in line] for line in lines[5:]]
    return lines[:5], np.array(rows)


def test_a_file_is_laid_out_as_pose2sims(tmp_path):
    sink = TrcSink(tmp_path / "clip.trc", fps=25)
    for index in range(3):
        sink.write(frame(index + 10), person(index))
    sink.close()
    sink.close()
    head, rows = read(tmp_path / "clip.trc")
    assert head[0] == ["PathFileType", "4", "(X/Y/Z)", "clip.trc"]
    assert dict(zip(head[1], head[2], strict=True)) == {
        "DataRate": "25", "CameraRate": "25", "NumFrames": "3", "NumMarkers": "26", "Units": "m", "OrigDataRate": "25",
        "OrigDataStartFrame": "10", "OrigNumFrames": "3",
    }  # fmt: skip
    assert head[3][:6] == ["Frame#", "Time", "Nose", "", "", "LEye"]
    assert head[3][2::3] == [marker_name(name) for name in HALPE26.keypoints]
    assert head[4][:8] == ["", "", "X1", "Y1", "Z1", "X2", "Y2", "Z2"]
    assert rows.shape == (3, 2 + 3 * 26)
    np.testing.assert_allclose(rows[:, :2], [[1, 0.4], [2, 0.44], [3, 0.48]])
    assert np.isnan(rows[:, 2:5]).all()  # the nose
    np.testing.assert_allclose(rows[1, 5:8], [2 + 1, -(3 + 1), 0])  # upwards is positive


def test_each_person_has_a_file(tmp_path):
    sink = TrcSink(tmp_path / "walk.trc", fps=25)
    for index, ids in enumerate([[4], [4, 7], [7], [4, 7, 9], [4]]):
        sink.write(frame(index), person(index, ids))
    sink.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.trc", "walk_P7.trc", "walk_P9.trc"]
    head, rows = read(tmp_path / "walk.trc")
    assert len(rows) == 5
    assert np.isnan(rows[2, 2:]).all()
    head, rows = read(tmp_path / "walk_P7.trc")
    assert head[2][2] == "3"
    assert head[2][6] == "1"
    np.testing.assert_allclose(rows[:, 1], [0.04, 0.08, 0.12])


def test_rates_follow_the_times_and_pictures_have_none(tmp_path):
    sink = TrcSink(tmp_path / "a.trc")
    for index in range(3):
        sink.write(frame(index, index / 10), person(0))
    sink.close()
    assert read(tmp_path / "a.trc")[0][2][0] == "10"
    sink = TrcSink(tmp_path / "b.trc")
    for index in range(3):
        sink.write(frame(index, 0), person(0))
    sink.close()
    head, rows = read(tmp_path / "b.trc")
    assert head[2][0] == "30"
    np.testing.assert_allclose(rows[:, 1], [0, 1 / 30, 2 / 30], atol=1e-6)


def test_nobody_at_all(tmp_path):
    sink = TrcSink(tmp_path / "none.trc", fps=25)
    sink.close()
    assert not list(tmp_path.iterdir())
    sink = TrcSink(tmp_path / "none.trc", fps=25)
    sink.write(frame(0), Poses.empty(HALPE26))
    sink.close()
    head, rows = read(tmp_path / "none.trc")
    assert head[2][2] == "0"
    assert len(rows) == 0


@pytest.mark.parametrize(
    ("name", "marker"),
    [("r_big_toe", "RBigToe"), ("left_heel", "LHeel"), ("nose", "Nose"), ("l_forefinger1", "LForefinger1"), ("neck", "Neck")],
)
def test_markers_have_pose2sims_names(name, marker):
    assert marker_name(name) == marker


def test_what_is_refused(tmp_path):
    with pytest.raises(edgepose.OutputError, match="trc may have a file a person"):
        TrcSink("-")
    with pytest.raises(edgepose.OutputError, match=r"markers go to a .trc"):
        TrcSink(tmp_path / "a.mp4")


def test_the_command_writes_markers(tmp_path):
    video = write_video(tmp_path / "v.avi", 3)
    model = tiny_models.save(tmp_path)
    assert main(["run", str(video), "--model", str(model), "--json", str(tmp_path / "v.trc"), "--track"]) == 0
    assert read(tmp_path / "v.trc")[0][0][3] == "v.trc"
