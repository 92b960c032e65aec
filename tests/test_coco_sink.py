"""COCO's data sets and results: numbers and names that differ, files that are whole, and what COCO's own tools make of them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import encode, quadrants, write_video

from edgepose.errors import OutputError
from edgepose.media.coco_sink import CocoResultsSink, CocoSink
from edgepose.media.frames import Frame, Source
from edgepose.media.naming import ImageNames
from edgepose.media.sinks import open_sinks
from edgepose.media.sources import open_source
from edgepose.poses import Poses
from edgepose.skeleton import COCO17, OPENPOSE18


def frame(path: str = "a.jpg", index: int = 0) -> Frame:
    return Frame(quadrants(), index, index / 25, path)


def people(count: int, ids: bool = False) -> Poses:
    random = np.random.default_rng(count)
    keypoints = random.uniform(0, 30, (count, 18, 2)).astype(np.float32)
    scores = random.uniform(0.1, 1, (count, 18)).astype(np.float32)
    keypoints[:, 4], scores[:, 4] = np.nan, 0
    return Poses(keypoints, scores, np.full(count, 0.5, np.float32), OPENPOSE18, np.arange(count) + 7 if ids else None)


def run(source: Any, path: Path, format: str = "coco", ids: bool = False) -> Any:
    """`edgepose run`, with a network that finds as many people as the frame's number."""
    with open_source(source) as frames, open_sinks(frames, poses=path, format=format) as sinks:
        for item in frames:
            sinks.write(item, people(item.index, ids), lambda: pytest.fail("drawn"))
    return json.loads(path.read_text())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("000000000002.png", "a.png", "b.png", "COCO_val2014_000000000139.jpg"):
        (folder / name).write_bytes(encode(Path(name).suffix, quadrants()))
    return folder


def test_a_data_set_has_all_its_parts(photos: Path, tmp_path: Path) -> None:
    found = run(photos, tmp_path / "o.json", ids=True)
    assert list(found) == ["info", "licenses", "images", "annotations", "categories"]
    assert [(image["id"], image["file_name"]) for image in found["images"]] == [
        (2, "000000000002.png"),
        (1, "a.png"),
        (3, "b.png"),
        (139, "COCO_val2014_000000000139.jpg"),
    ]
    assert {(image["width"], image["height"]) for image in found["images"]} == {(48, 32)}
    assert [annotation["id"] for annotation in found["annotations"]] == list(range(1, 7))
    assert [annotation["image_id"] for annotation in found["annotations"]] == [1, 3, 3, 139, 139, 139]
    (category,) = found["categories"]
    assert (category["id"], category["name"], len(category["keypoints"])) == (1, "person", 17)
    assert category["keypoints"][:3] == ["nose", "left_eye", "right_eye"]
    assert category["skeleton"][0] == [16, 14]
    assert {number for limb in category["skeleton"] for number in limb} <= set(range(1, 18))
    first = found["annotations"][0]
    poses = people(1).to(COCO17)
    assert first["iscrowd"] == 0
    assert first["category_id"] == 1
    assert first["track_id"] == first["attributes"]["track_id"] == 7
    assert first["num_keypoints"] == int((poses.scores > 0).sum())
    assert first["keypoints"][2::3] == [2 if score > 0 else 0 for score in poses.scores[0]]
    assert all(x == y == 0 for x, y, v in zip(*(first["keypoints"][i::3] for i in range(3)), strict=True) if v == 0)
    x0, y0, x1, y1 = people(1).boxes[0].tolist()
    assert first["bbox"] == pytest.approx([x0, y0, x1 - x0, y1 - y0], abs=0.001)
    assert first["area"] == pytest.approx(first["bbox"][2] * first["bbox"][3], abs=0.01)
    assert first["score"] == 0.5


def test_without_tracking_nobody_has_an_identity(photos: Path, tmp_path: Path) -> None:
    assert all("track_id" not in annotation for annotation in run(photos, tmp_path / "o.json")["annotations"])


def test_coco_tools_read_and_evaluate_it(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    run(photos, tmp_path / "set.json")
    run(photos, tmp_path / "results.json", "coco-results")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "set.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), "keypoints")
        evaluation.params.areaRng = evaluation.params.areaRng[:1]
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    assert precision[precision > -1].mean() == pytest.approx(1)
    assert [image["file_name"] for image in truth.loadImgs([2, 139])] == ["000000000002.png", "COCO_val2014_000000000139.jpg"]
    assert truth.getAnnIds(catIds=truth.getCatIds(["person"])) == list(range(1, 7))


def test_frames_of_a_video_have_names_of_their_own(tmp_path: Path) -> None:
    found = run(write_video(tmp_path / "2041.mp4", 4), tmp_path / "o.json")
    assert [(image["id"], image["file_name"]) for image in found["images"]] == [(i + 1, f"2041_{i:06d}.jpg") for i in range(4)]
    results = run(tmp_path / "2041.mp4", tmp_path / "r.json", "coco-results")
    assert [result["image_id"] for result in results] == [2, 3, 3, 4, 4, 4]


def test_no_two_images_have_the_same_number_or_name() -> None:
    paths = ["x/1.jpg", "y/1.jpg", "z/a.jpg", "z/A.jpg", "y/0001.png", "y/2.png", "clip.mp4", "clip.mp4", "z/a.jpg", "3.webp"]
    source = Source("many", "images", iter(()), files=[Path(path) for path in paths])
    names = ImageNames(source)
    given = [names(frame(path, index)) for index, path in enumerate(paths)]
    assert len({number for _, number in given}) == len({name.casefold() for name, _ in given}) == len(paths)
    assert given[0] == ("x/1.jpg", 1)
    assert given[5] == ("y/2.png", 2)
    assert given[-1] == ("3.webp", 3)
    assert min(number for _, number in given) == 1


def test_numbers_differ_even_if_no_name_is_known_beforehand() -> None:
    names = ImageNames()
    given = [names(frame(path))[1] for path in ("a.jpg", "1.jpg", "3.jpg", "b.jpg", "c.jpg", "2.jpg", "9.jpg", "4.jpg")]
    assert given == [1, 2, 3, 4, 5, 6, 9, 7]


def test_a_frame_that_comes_again_is_the_same_image(tmp_path: Path) -> None:
    with CocoSink(tmp_path / "o.json") as sink:
        for count in (2, 0, 1):
            sink.write(frame("a.jpg", 7), people(count))
    found = json.loads((tmp_path / "o.json").read_text())
    assert [image["id"] for image in found["images"]] == [1]
    assert [(each["id"], each["image_id"]) for each in found["annotations"]] == [(1, 1), (2, 1), (3, 1)]


def test_pictures_of_folders_in_a_folder_have_the_folder_in_their_name(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(encode(".png", quadrants()))
    found = run(tmp_path / "*" / "*.png", tmp_path / "o.json")
    assert [image["file_name"] for image in found["images"]] == ["a/1.png", "b/1.png"]


def test_results(tmp_path: Path) -> None:
    path = tmp_path / "new" / "o.json"
    with CocoResultsSink(path) as sink:
        for count in (2, 0, 1):
            sink.write(frame("val/000000000139.jpg", 7), people(count))
    assert json.loads(path.read_text()) == people(2).to_coco(139) + people(1).to_coco(139)
    for count in (0, 1):
        with CocoResultsSink(path) as sink:
            sink.write(frame(), people(count))
        assert json.loads(path.read_text()) == people(count).to_coco(1)


@pytest.mark.parametrize("sink", [CocoSink, CocoResultsSink])
def test_what_was_found_before_ctrl_c_is_kept(tmp_path: Path, sink: type[CocoSink]) -> None:
    path = tmp_path / "o.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), sink(path):
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    with pytest.raises(KeyboardInterrupt), sink(path) as opened:  # noqa: PT012
        for i in range(3):
            opened.write(frame(f"{i}.jpg", i), people(i))
            assert path.read_text() == "old"
        raise KeyboardInterrupt
    found = json.loads(path.read_text())
    assert len(found if isinstance(found, list) else found["annotations"]) == 3
    assert os.listdir(tmp_path) == ["o.json"]


def test_an_empty_run_is_a_data_set_too(tmp_path: Path) -> None:
    with CocoSink(tmp_path / "o.json"):
        pass
    found = json.loads((tmp_path / "o.json").read_text())
    assert (found["images"], found["annotations"], len(found["categories"])) == ([], [], 1)


def test_a_full_disk_keeps_the_older_file_and_what_was_found(
    tmp_path: Path, small_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "o.json"
    path.write_text("old")
    with (  # noqa: PT012
        small_disk(10_000),
        pytest.raises(OutputError, match=r"File too large.*; what was found is kept in .*\.part"),
        CocoSink(path) as sink,
    ):
        for i in range(60):
            sink.write(frame(f"{i}.jpg", i), people(1))
    assert path.read_text() == "old"
    (part,) = tmp_path.glob(".o.*.part")
    lines = [json.loads(line) for line in part.read_text().splitlines()]
    assert len(lines) > 3
    assert all(len(people) == 1 for _, people in lines)


def test_what_is_kept_of_a_killed_run_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".o.0123abcd.part").write_text("[]\n")
    (tmp_path / ".o.0123abcd.part.mp4").write_text("another's")
    (tmp_path / ".oo.0123abcd.part").write_text("another's")
    (tmp_path / ".o.4567abcd.part").touch()
    for sink in (CocoSink, CocoResultsSink):
        with sink(tmp_path / "o.json") as opened:  # type: ignore[attr-defined]
            opened.write(frame(), people(1))
    assert len(caplog.messages) == 2
    assert all(f"what it had written is in {tmp_path / '.o.0123abcd.part'};" in message for message in caplog.messages)


@pytest.mark.parametrize("target", ["-", "/dev/stdout", "fifo"])
def test_pipes_and_standard_output(tmp_path: Path, target: str) -> None:
    if target == "fifo":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no named pipes here")
        os.mkfifo(tmp_path / "fifo")
    program = (
        "import sys, numpy as np\n"
        "from edgepose.media.coco_sink import CocoSink\n"
        "from edgepose.media.frames import Frame\n"
        "from edgepose.poses import Poses\n"
        "with CocoSink(sys.argv[1]) as sink:\n"
        "    sink.write(Frame(np.zeros((8, 9, 3), np.uint8), 0, 0.0, 'a.jpg'), Poses.empty())\n"
    )
    command = f'{{ "$0" -c "$1" {target} & cat fifo; wait; }}' if target == "fifo" else f'"$0" -c "$1" {target}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, program],
        cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["images"] == [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 8}]
    assert done.stderr == b""


@pytest.mark.parametrize("sink", [CocoSink, CocoResultsSink])
def test_memory_stays_flat_over_a_long_video(tmp_path: Path, sink: type[CocoSink]) -> None:
    found = people(2)
    with sink(tmp_path / "o.json") as opened:
        for index in range(20):
            opened.write(frame("clip.mp4", index), found)
        tracemalloc.start()
        try:
            for index in range(20, 400):
                opened.write(frame("clip.mp4", index), found)
            opened.close()
            assert tracemalloc.get_traced_memory()[0] < 20_000
            assert tracemalloc.get_traced_memory()[1] < 500_000
        finally:
            tracemalloc.stop()


def test_a_picture_is_not_overwritten(tmp_path: Path) -> None:
    for sink in (CocoSink, CocoResultsSink):
        with pytest.raises(OutputError, match="has the suffix of a picture"):
            sink(tmp_path / "a.jpg")
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot be written"):
            sink(tmp_path / "file" / "o.json")
