"""A sink of somebody's own: one new file, and one line in a table."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import cv2
import pytest
import tiny_models
from pictures import quadrants, write_video

import edgepose.media
from edgepose.cli.main import main
from edgepose.errors import InputError, OutputError, SourceError
from edgepose.media import kinds
from edgepose.media.frames import Frame, Picture
from edgepose.media.kinds import Kind
from edgepose.media.sinks import Sinks, open_sinks
from edgepose.media.sources import open_source
from edgepose.poses import Poses

# The new file.
COUNTS = '''
"""The number of people in each frame, as text."""


class CountsSink:
    def __init__(self, path, source, name):
        self.file = open(path, "w")

    def write(self, frame, poses, picture):
        self.file.write(f"{frame.index} {len(poses)}\\n")

    def close(self):
        self.file.close()


open_sink = CountsSink
'''


@pytest.fixture
def counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sink, in a folder that is part of the package."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "counts_sink.py").write_text(COUNTS)
    monkeypatch.setattr(edgepose.media, "__path__", [*edgepose.media.__path__, str(tmp_path / "package")])
    monkeypatch.setitem(kinds.POSES, "counts", Kind("counts_sink"))  # The line.


@pytest.mark.parametrize("arguments", [["o.counts"], ["o.txt", "--format", "counts"]], ids=["suffix", "format"])
def test_a_new_sink_is_chosen_by_its_suffix_or_format(
    counts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tiny_models.save(tmp_path)
    video = write_video(tmp_path / "v.avi", 3)
    assert main(["run", str(video), "--model", str(model), "--save", "o.mp4", "--json", *arguments]) == 0
    assert [line.split()[0] for line in (tmp_path / arguments[0]).read_text().splitlines()] == ["0", "1", "2"]
    assert cv2.VideoCapture("o.mp4").read()[0]


def test_a_new_sink_is_checked_as_the_others_are(counts: None, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.avi", 3)
    (tmp_path / "link.counts").symlink_to(video)
    with open_source(video) as source:
        with pytest.raises(OutputError, match="is the source itself"):
            open_sinks(source, poses=tmp_path / "link.counts")
        with pytest.raises(OutputError, match="each its own name"):
            open_sinks(source, poses=tmp_path / "o.counts", save=tmp_path / "o.counts" / "pictures")
        with pytest.raises(InputError, match="expected one of json, jsonl, coco, coco-results, openpose, counts"):
            open_sinks(source, poses=tmp_path / "o", format="xml")


FRAME = Frame(quadrants(), 0, 0.0, "camera 0")


class Recorder:
    """A sink that only remembers."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def write(self, frame: Frame, poses: Poses, picture: Picture) -> None:
        self.calls.append("write")

    def close(self) -> None:
        self.calls.append("close")


class Told(Recorder):
    """One that is a context manager, too."""

    def __enter__(self) -> Told:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.calls.append("fail" if error else "close")


@pytest.mark.parametrize("error", [None, SourceError("gone")])
def test_every_sink_is_closed_once_and_told_of_the_error_if_it_is_a_context_manager(error: Exception | None) -> None:
    plain, told = Recorder(), Told()
    sinks = Sinks([plain, told])
    with suppress(SourceError), sinks:
        sinks.write(FRAME, Poses.empty(), quadrants)
        if error is not None:
            raise error
    sinks.close()
    assert plain.calls == ["write", "close"]
    assert told.calls == ["write", "close" if error is None else "fail"]
    assert sinks.written == 1


def test_a_sink_that_cannot_be_opened_closes_those_before_it(
    counts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Recorder] = []

    def broken(*_: object, **__: object) -> None:
        raise OutputError("no room")

    def recorded(*_: object, **__: object) -> Recorder:
        opened.append(Recorder())
        return opened[0]

    monkeypatch.setattr("edgepose.media.poses_sink.open_sink", recorded)
    monkeypatch.setattr("edgepose.media.video_sink.open_sink", broken)
    with open_source([quadrants()]) as source, pytest.raises(OutputError, match="no room"):
        open_sinks(source, poses=tmp_path / "o.json", save=tmp_path / "o.mp4")
    assert opened[0].calls == ["close"]
