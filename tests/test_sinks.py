"""Sinks: names of pictures, the formats of keypoints, and the results that stay when a run ends early."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import encode, quadrants, video_frame, write_video

from edgepose.errors import InputError, OutputError
from edgepose.media.images import read_image
from edgepose.media.sinks import ImageSink, PosesSink, VideoSink, open_sinks
from edgepose.media.sources import Frame, open_source
from edgepose.poses import Poses
from edgepose.skeleton import COCO17, OPENPOSE18


def frame(path: str = "a.jpg", index: int = 0, timestamp: float = 0.0) -> Frame:
    return Frame(quadrants(), index, timestamp, path)


def put(sink: ImageSink, frame: Frame, image: NDArray[np.uint8]) -> None:
    """Write a picture in which nobody was found."""
    sink.write(frame, Poses.empty(OPENPOSE18), lambda: image)


def people(count: int, ids: bool = False) -> Poses:
    random = np.random.default_rng(count)
    keypoints = random.uniform(0, 30, (count, 18, 2)).astype(np.float32)
    scores = random.uniform(0.1, 1, (count, 18)).astype(np.float32)
    keypoints[:, 4], scores[:, 4] = np.nan, 0
    return Poses(keypoints, scores, np.full(count, 0.5, np.float32), OPENPOSE18, np.arange(count) if ids else None)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.png"
    with ImageSink(path) as sink:
        put(sink, frame(), quadrants())
        with pytest.raises(OutputError, match=r"out\.png: holds one picture already; give a folder"):
            put(sink, frame(), quadrants())
    np.testing.assert_array_equal(read_image(path), quadrants())


def test_pictures_of_a_folder_keep_their_names(tmp_path: Path) -> None:
    with ImageSink(tmp_path / "out") as sink:
        for name in ("a.jpg", "a.png", "b/a.jpg", "c/A.JPG", "Größe.webp"):
            put(sink, frame(name), quadrants())
    assert files(tmp_path / "out") == ["A_3.JPG", "Größe.webp", "a.jpg", "a.png", "a_2.jpg"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("videos/clip.mp4", "clip_000012.jpg"),
        ("camera 0", "camera_0_000012.jpg"),
        ("/dev/video0", "video0_000012.jpg"),
        ("rtsp://10.0.0.1:554/live?channel=1", "live_channel_1_000012.jpg"),
        ("images", "images_000012.jpg"),
    ],
)
def test_frames_of_anything_else_are_numbered(tmp_path: Path, source: str, expected: str) -> None:
    with ImageSink(tmp_path / "out") as sink:
        put(sink, frame(source, 12), quadrants())
    assert files(tmp_path / "out") == [expected]


def test_a_folder_that_exists_may_be_called_anything(tmp_path: Path) -> None:
    (tmp_path / "run.v2").mkdir()
    with ImageSink(tmp_path / "run.v2") as sink:
        put(sink, frame(), quadrants())
    assert files(tmp_path) == ["run.v2/a.jpg"]


def test_a_suffix_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"out\.gif: unknown suffix '\.gif'; expected one of \.jpg, .*\.mp4, .*or a folder"):
        ImageSink(tmp_path / "out.gif")


def test_pictures_are_not_written_over_their_sources(tmp_path: Path) -> None:
    data = encode(".png", quadrants())
    (tmp_path / "a.png").write_bytes(data)
    for target in (tmp_path, tmp_path / "a.png"):
        with ImageSink(target) as sink, pytest.raises(OutputError, match=r"a\.png: is the source itself"):
            put(sink, frame(str(tmp_path / "a.png")), quadrants() // 2)
    assert (tmp_path / "a.png").read_bytes() == data


def expected_object(path: str, poses: Poses) -> dict[str, Any]:
    image = {"path": path, "width": 48, "height": 32}
    return {"image": image, **poses.to_dict(), "keypoint_names": list(poses.skeleton.keypoints)}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json(tmp_path: Path, count: int) -> None:
    path = tmp_path / "new" / "out.json"
    with PosesSink(path) as sink:
        for i in range(count):
            sink.write(frame(f"{i}.jpg", i), people(i))
    objects = [expected_object(f"{i}.jpg", people(i)) for i in range(count)]
    assert json.loads(path.read_text()) == (objects[0] if count == 1 else objects)


def test_json_has_the_agreed_shape(tmp_path: Path) -> None:
    with PosesSink(tmp_path / "out.json") as sink:
        sink.write(frame("a.jpg"), people(2, ids=True))
    content = json.loads((tmp_path / "out.json").read_text())
    assert list(content) == ["image", "skeleton", "poses", "keypoint_names"]
    assert content["keypoint_names"][:3] == ["nose", "neck", "r_shoulder"]
    assert len(content["keypoint_names"]) == len(content["poses"][0]["keypoints"])
    assert content["image"] == {"path": "a.jpg", "width": 48, "height": 32}
    assert list(content["poses"][0]) == ["id", "confidence", "box", "keypoints"]
    assert content["poses"][1]["id"] == 1
    assert content["poses"][0]["keypoints"][4] is None
    assert len(content["poses"][0]["keypoints"][3]) == 3


def test_json_lines_of_a_video_have_frame_and_time(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with PosesSink(path, "jsonl", timed=True) as sink:
        for i in range(3):
            sink.write(frame("clip.mp4", i, i / 30), people(i))
            (part,) = tmp_path.glob(".out.*.part")
            assert len(part.read_text().splitlines()) == i + 1
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"frame": i, "timestamp": round(i / 30, 6), **expected_object("clip.mp4", people(i))} for i in range(3)]


def test_openpose_has_a_file_per_frame(tmp_path: Path) -> None:
    with PosesSink(tmp_path / "images", "openpose") as sink:
        for name in ("a.jpg", "a.png", "b.jpg"):
            sink.write(frame(name), people(2))
    assert files(tmp_path / "images") == ["a_keypoints.json", "a_keypoints_2.json", "b_keypoints.json"]
    assert json.loads((tmp_path / "images" / "b_keypoints.json").read_text()) == people(2).to_openpose()
    with PosesSink(tmp_path / "video", "openpose") as sink:
        sink.write(frame("clip.mp4", 12), people(1))
    assert files(tmp_path / "video") == ["clip_000000000012_keypoints.json"]


def test_openpose_of_one_image_may_be_one_file(tmp_path: Path) -> None:
    with PosesSink(tmp_path / "out.json", "openpose") as sink:
        sink.write(frame(), people(1))
        with pytest.raises(OutputError, match=r"out\.json: holds one frame already; give a folder"):
            sink.write(frame(), people(1))
    assert json.loads((tmp_path / "out.json").read_text()) == people(1).to_openpose()


@pytest.mark.parametrize(
    ("format", "read"), [("json", json.loads), ("jsonl", lambda t: [json.loads(line) for line in t.splitlines()])]
)
def test_what_was_found_before_ctrl_c_is_kept(tmp_path: Path, format: Any, read: Any) -> None:
    path = tmp_path / "out"

    def run() -> None:
        with PosesSink(path, format) as sink:
            for i in range(5):
                sink.write(frame(f"{i}.jpg", i), people(i))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert read(path.read_text()) == [expected_object(f"{i}.jpg", people(i)) for i in range(5)]


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_a_full_disk_keeps_the_frames_before_or_else_the_older_file(
    tmp_path: Path, small_disk: Callable[[int], AbstractContextManager[None]], format: Any
) -> None:
    def run(room: int) -> None:
        with small_disk(room), PosesSink(tmp_path / "out", format) as sink:
            for i in range(10):
                sink.write(frame(f"{i}.jpg", i), people(3))

    (tmp_path / "out").write_text("old")
    with pytest.raises(OutputError, match="File too large"):
        run(500)
    assert (tmp_path / "out").read_text() == "old"
    with pytest.raises(OutputError, match="File too large"):
        run(10_000)
    text = (tmp_path / "out").read_text()
    kept = [json.loads(line) for line in text.splitlines()] if format == "jsonl" else json.loads(text)
    assert len(kept) > 2
    assert files(tmp_path) == ["out"]


def test_keypoints_never_overwrite_a_picture(tmp_path: Path) -> None:
    for name in ("a.jpg", "clip.MP4"):
        (tmp_path / name).write_text("precious")
        with pytest.raises(OutputError, match="has the suffix of a picture or video"):
            PosesSink(tmp_path / name, "json")
        assert (tmp_path / name).read_text() == "precious"


def test_an_unknown_format() -> None:
    with pytest.raises(InputError, match="format is 'xml'; expected one of json, jsonl, openpose"):
        PosesSink("out.xml", "xml")  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["json", "jsonl", "openpose"])
def test_an_unwritable_place_is_found_at_once(tmp_path: Path, format: Any) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        PosesSink(tmp_path / "file" / "out", format)


def test_openpose_on_standard_output_is_refused() -> None:
    with pytest.raises(OutputError, match="openpose has a file per frame; give a folder"):
        PosesSink("-", "openpose")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", 4)


def run(source: Any, count: int | None = None, **outputs: Any) -> None:
    """`edgepose run`, with a network that finds as many people as the frame's number."""
    with open_source(source, max_frames=count) as frames, open_sinks(frames, **outputs) as sinks:
        for item in frames:
            sinks.write(item, people(item.index), partial(np.subtract, 255, item.image))


def test_a_video_in_a_video_and_json_lines_out(clip: Path, tmp_path: Path) -> None:
    run(clip, save=tmp_path / "out.avi", poses=tmp_path / "out.json")
    with open_source(tmp_path / "out.avi") as written:
        assert written.fps == 25
        np.testing.assert_allclose([np.median(f.image) for f in written], [255, 251, 247, 243], atol=4)
    lines = [json.loads(line) for line in (tmp_path / "out.json").read_text().splitlines()]
    assert [(line["frame"], line["timestamp"], len(line["poses"])) for line in lines] == [
        (0, 0, 0),
        (1, 0.04, 1),
        (2, 0.08, 2),
        (3, 0.12, 3),
    ]


def test_a_video_in_pictures_and_a_list_out(clip: Path, tmp_path: Path) -> None:
    run(clip, save=tmp_path / "out", poses=tmp_path / "out.json", format="json")
    assert files(tmp_path / "out") == [f"clip_{i:06d}.jpg" for i in range(4)]
    assert [item["frame"] for item in json.loads((tmp_path / "out.json").read_text())] == [0, 1, 2, 3]


def test_a_picture_in_a_picture_and_an_object_out(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(".png", quadrants()))
    run(tmp_path / "a.png", save=tmp_path / "out.png", poses=tmp_path / "out.json")
    np.testing.assert_array_equal(read_image(tmp_path / "out.png"), 255 - quadrants())
    assert json.loads((tmp_path / "out.json").read_text()) == expected_object(str(tmp_path / "a.png"), people(0))


def test_pictures_in_a_video_out(tmp_path: Path) -> None:
    run([video_frame(i) for i in range(3)], save=tmp_path / "out.mp4")
    with open_source(tmp_path / "out.mp4") as written:
        assert len(list(written)) == 3


def test_many_frames_do_not_fit_into_one_picture(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"out\.jpg: is one picture, and .*clip\.mp4 may have more; give a folder, or a video"
    ):
        run(clip, save=tmp_path / "out.jpg")
    run(clip, 1, save=tmp_path / "out.jpg")
    run(clip, 0, save=tmp_path / "none.jpg", poses=tmp_path / "none.jsonl")
    assert files(tmp_path) == ["clip.mp4", "none.jsonl", "out.jpg"]
    assert (tmp_path / "none.jsonl").read_text() == ""


def test_frames_of_a_video_do_not_fit_into_one_file_of_openpose(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"out\.json: is one file for one frame, and .*clip\.mp4 may have more"):
        run(clip, save=tmp_path / "out.mp4", poses=tmp_path / "out.json", format="openpose")
    assert files(tmp_path) == ["clip.mp4"]
    run(clip, 1, poses=tmp_path / "out.JSON", format="openpose")
    assert json.loads((tmp_path / "out.JSON").read_text()) == people(0).to_openpose()


def test_a_suffix_that_is_the_name_of_a_format_chooses_it(clip: Path, tmp_path: Path) -> None:
    pictures = [video_frame(i) for i in range(3)]
    for name in ("out.json", "out"):
        run(pictures, poses=tmp_path / name)
        assert len(json.loads((tmp_path / name).read_text())) == 3
    run(pictures, poses=tmp_path / "out.jsonl")
    assert [len(json.loads(line)["poses"]) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [0, 1, 2]
    run(clip, poses=tmp_path / "clip.json")
    assert len((tmp_path / "clip.json").read_text().splitlines()) == 4
    run(clip, poses=tmp_path / "clip.coco")
    assert json.loads((tmp_path / "clip.coco").read_text()).keys() >= {"images", "annotations", "categories"}
    run(clip, poses=tmp_path / "clip.coco-results")
    assert json.loads((tmp_path / "clip.coco-results").read_text())[0].keys() >= {"image_id", "keypoints"}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_json_of_a_folder_or_a_pattern_is_a_list_and_of_one_file_an_object(tmp_path: Path, count: int) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        (tmp_path / "photos" / f"{i}.png").write_bytes(encode(".png", quadrants()))
    for source in (tmp_path / "photos", tmp_path / "photos" / "*.png"):
        run(source, count, poses=tmp_path / "out.json")
        assert len(json.loads((tmp_path / "out.json").read_text())) == count
        assert isinstance(json.loads((tmp_path / "out.json").read_text()), list)
    run(tmp_path / "photos" / "1.png", poses=tmp_path / "out.json")
    assert isinstance(json.loads((tmp_path / "out.json").read_text()), dict)
    run(tmp_path / "photos" / "1.png", poses=tmp_path / "out.json", many=True)
    assert len(json.loads((tmp_path / "out.json").read_text())) == 1


def test_json_of_a_folder_with_one_picture_and_of_a_video_with_one_frame_is_a_list(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(encode(".png", quadrants()))
    for source in (tmp_path / "photos", tmp_path / "p*tos" / "*.png", clip):
        run(source, 1, poses=tmp_path / "out.json", format="json")
        assert len(json.loads((tmp_path / "out.json").read_text())) == 1


def test_options_of_videos_need_a_video(clip: Path, tmp_path: Path) -> None:
    for options in ({"codec": "h264"}, {"crf": 0}):
        with pytest.raises(InputError, match="and no video is saved"):
            run(clip, poses=tmp_path / "out.json", save=tmp_path / "out", **options)
    run(clip, poses=tmp_path / "out.json", audio=False)
    run(clip, save=tmp_path / "out.mkv", codec="mpeg4")
    with av.open(str(tmp_path / "out.mkv")) as written:
        assert written.streams.video[0].codec_context.name == "mpeg4"


def test_a_name_that_is_too_long_is_an_error_in_a_line(clip: Path, tmp_path: Path) -> None:
    for output in ({"save": "x" * 300 + ".jpg"}, {"poses": "x" * 300}, {"poses": "x" * 300 + ".json", "format": "openpose"}):
        with pytest.raises(OutputError, match="cannot be written"):
            run(clip, 1, **output)


def test_nothing_is_drawn_that_nobody_wants(clip: Path, tmp_path: Path) -> None:
    with open_source(clip) as frames, open_sinks(frames, poses=tmp_path / "out.jsonl") as sinks:
        sinks.write(next(frames), people(1), lambda: pytest.fail("drawn"))
    with open_source(clip) as frames, open_sinks(frames) as sinks:
        sinks.write(next(frames), people(1), lambda: pytest.fail("drawn"))


def test_ctrl_c_leaves_a_video_that_plays_and_json_that_reads(clip: Path, tmp_path: Path) -> None:
    def interrupted() -> None:
        with open_source(clip) as frames, open_sinks(frames, save=tmp_path / "out.mp4", poses=tmp_path / "out.json") as sinks:
            for item in frames:
                if item.index == 2:
                    raise KeyboardInterrupt
                sinks.write(item, people(1), lambda image=item.image: image)  # type: ignore[misc]

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with open_source(tmp_path / "out.mp4") as written:
        assert len(list(written)) == 2
    assert len((tmp_path / "out.json").read_text().splitlines()) == 2


def test_one_sink_that_fails_does_not_keep_the_other_open(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    close = PosesSink.close

    def fail(sink: PosesSink) -> None:
        close(sink)
        closed.append("poses")
        raise OutputError("the disk is full")

    monkeypatch.setattr(PosesSink, "close", fail)
    monkeypatch.setattr(VideoSink, "close", lambda _: closed.append("video"))
    monkeypatch.setattr(VideoSink, "_end", lambda *_: closed.append("video"))
    with pytest.raises(OutputError, match="the disk is full"):
        run(clip, save=tmp_path / "out.mp4", poses=tmp_path / "out.jsonl")
    assert closed == ["poses", "video"]


def test_skeletons_of_any_kind(tmp_path: Path) -> None:
    with PosesSink(tmp_path / "out.json") as sink:
        sink.write(frame(), people(1).to(COCO17))
    assert json.loads((tmp_path / "out.json").read_text())["skeleton"] == "coco17"


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "x" * 300 + "/a.jpg", "x" * 300 + ".mp4", "x" * 300, "x" * 300 + ".txt"])
def test_a_name_that_is_too_long_is_an_output_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with open_source([np.zeros((20, 20, 3), np.uint8)]) as source, pytest.raises(OutputError):
        open_sinks(source, save=tmp_path / name)


def test_pictures_are_written_without_loading_ffmpeg(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from edgepose.media import sinks\n"
        "from edgepose.media.frames import Frame, Source\n"
        "with sinks.open_sinks(Source('a.png', 'images', iter(()), total=1), save='o.png', poses='o.json') as opened: pass\n"
        "assert 'av' not in sys.modules\n"
        "assert sinks.VideoSink.__name__ == 'VideoSink'\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
