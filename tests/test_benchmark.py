from __future__ import annotations

import itertools
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from pictures import write_video

import edgepose
from edgepose import benchmark as module
from edgepose.benchmark import STAGES, benchmark, synthetic_frames
from edgepose.cli.main import main
from edgepose.cli.tables import benchmark_table
from edgepose.errors import InputError
from edgepose.estimator import PoseEstimator
from edgepose.pipelines.scheduling import Started

KEYS = {"end_to_end_fps", "network_fps", "ratio", "peak_memory_mb", "stages", "machine", "model"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_models.save(tmp_path)


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_figures_of_a_video_that_is_shorter_than_the_run(model: Path, tmp_path: Path, hint: str) -> None:
    video = write_video(tmp_path / "clip.avi", 7)
    measured = benchmark(PoseEstimator(model, hint=hint), video, frames=30)  # type: ignore[arg-type]
    assert measured.end_to_end_fps > 0
    assert measured.network_fps > 0
    assert measured.ratio == measured.end_to_end_fps / measured.network_fps
    assert {len(times) for times in measured.stages.values()} == {10}
    assert all((times > 0).all() for times in measured.stages.values())
    report = measured.to_dict()
    assert report.keys() == KEYS
    assert list(report["stages"]) == list(STAGES)
    for quantiles in report["stages"].values():
        assert list(quantiles) == ["p50_ms", "p90_ms", "p99_ms"]
        assert 0 <= quantiles["p50_ms"] <= quantiles["p90_ms"] <= quantiles["p99_ms"]
    assert report["machine"].keys() >= {"processor", "system", "device", "openvino", "edgepose"}
    assert "CPU, input 8" in report["machine"]["device"]
    json.dumps(report, allow_nan=False)


def test_the_clock_of_a_video_begun_again_goes_on(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.avi", 5, fps=25)
    frames = list(itertools.islice(module.repeated(lambda: module.open_source(video)), 12))
    assert [frame.index for frame in frames] == list(range(12))
    assert all(b.timestamp > a.timestamp for a, b in itertools.pairwise(frames))


def test_the_figures_are_those_of_the_stages(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that moves by 1 ms in every stage's call, by its own amount.
    now = 0.0

    def takes(milliseconds: float, function):  # type: ignore[no-untyped-def]
        def slow(*arguments, **options):  # type: ignore[no-untyped-def]
            nonlocal now
            now += milliseconds / 1000
            return function(*arguments, **options)

        return slow

    estimator = PoseEstimator(model)
    start = estimator.start

    def starts(images):  # type: ignore[no-untyped-def]
        nonlocal now
        now += 0.002
        (started,) = start(images)
        poses = started.result()
        return [Started(takes(4, lambda: poses), wait=takes(30, lambda: None))]

    monkeypatch.setattr(estimator, "start", starts)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    monkeypatch.setattr(module, "draw_poses", takes(6, module.draw_poses))
    monkeypatch.setattr(module.Tracker, "update", takes(5, module.Tracker.update))
    frames = synthetic_frames(3, height=48, width=64)
    stages = module.time_stages(estimator, lambda: module.open_source(frames), 4)
    expected = {"read": 0, "pre": 2, "network": 30, "decode": 4, "track": 5, "draw": 6}
    assert {name: times.tolist() for name, times in stages.items()} == {
        name: pytest.approx([value] * 4) for name, value in expected.items()
    }


def test_synthetic_frames_move() -> None:
    frames = synthetic_frames(5, height=80, width=120)
    assert {frame.shape for frame in frames} == {(80, 120, 3)}
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


def test_a_table_of_two_models(model: Path) -> None:
    frames = synthetic_frames(3, height=48, width=64)
    figures = [benchmark(PoseEstimator(model, hint=hint), frames, frames=10) for hint in ("latency", "throughput")]  # type: ignore[arg-type]
    lines = benchmark_table(figures).splitlines()
    assert lines[0].split() == ["tiny", "tiny"]
    assert [line.split("  ")[0] for line in lines[1:5]] == [
        "end to end, FPS",
        "bare network, FPS",
        "ratio",
        "peak memory, MB",
    ]
    assert [line.split(",")[0] for line in lines[5:11]] == list(STAGES)
    assert f"{figures[1].end_to_end_fps:.1f}" in lines[1]


@pytest.mark.parametrize(
    ("source", "frames", "message"),
    [
        ([], 10, "has no frames to measure with"),
        (None, 0, "frames is 0; expected 1 or more"),
    ],
    ids=["no frames", "none asked for"],
)
def test_what_cannot_be_measured(model: Path, source: list[np.ndarray] | None, frames: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        benchmark(PoseEstimator(model), source, frames=frames)


def test_a_camera_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.open_source

    def live(*arguments: object, **options: object) -> object:
        source = real(synthetic_frames(2, height=8, width=8))
        source.is_live = True
        return source

    monkeypatch.setattr(module, "open_source", live)
    with pytest.raises(InputError, match="is live and would be what is measured"):
        benchmark(PoseEstimator(model), "0")


def test_the_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    assert main(["benchmark", "--model", str(model), "--frames", "10", "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert report.keys() == KEYS
    assert report["model"] == "tiny"
    assert "bare network, FPS" in capsys.readouterr().out
    assert main(["benchmark", "--compare", str(model), str(model), "--frames", "10", "--json", str(path)]) == 0
    assert [each.keys() for each in json.loads(path.read_text())["models"]] == [KEYS, KEYS]


def test_the_webcam_demo_says_what_is_wrong(
    models_in_reach: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = Path(__file__).parents[1] / "demos" / "webcam.py"
    assert len(demo.read_text().splitlines()) < 60
    monkeypatch.setattr(edgepose, "check_screen", lambda: None, raising=False)  # As on a desktop.
    assert runpy.run_path(str(demo))["main"]("57") == 1
    assert "camera 57 cannot be opened" in capsys.readouterr().err


@pytest.fixture
def top_down(tmp_path: Path) -> Path:
    (tmp_path / "top_down").mkdir()
    return tiny_models.save(tmp_path / "top_down", (17,), description=tiny_models.TOP_DOWN, stride=4)


@pytest.mark.parametrize(("every", "most"), [(1, 10), (None, 9)])
def test_the_detector_of_a_top_down_model_is_a_stage_of_its_own(
    top_down: Path, tmp_path: Path, every: int | None, most: int
) -> None:
    video = write_video(tmp_path / "clip.avi", 7)
    calls: list[int] = []

    def detect(image: np.ndarray) -> list[list[float]]:
        calls.append(1)
        return [[5, 5, 40, 40], [20, 5, 60, 45]]

    options: dict[str, Any] = {"detector": detect, "detect_every": every, "min_score": 0.0, "min_confidence": 0.0}
    estimator = PoseEstimator(top_down, **options)
    measured = benchmark(estimator, video, frames=30)
    assert list(measured.stages) == [*STAGES, "detect"]
    assert measured.detections is not None
    assert measured.detections[1] == 10
    assert (measured.detections[0] == most) if every == 1 else (0 <= measured.detections[0] <= most)
    report = measured.to_dict()
    assert report.keys() == KEYS | {"detections"}
    assert report["detections"] == {"runs": measured.detections[0], "frames": 10}
    assert list(report["stages"]["detect"]) == ["p50_ms", "p90_ms", "p99_ms"]
    assert all((times >= 0).all() for times in measured.stages.values())
    json.dumps(report, allow_nan=False)
    assert f"in {measured.detections[0]} of 10 frames" in benchmark_table([measured])
    assert estimator.pipeline.detector is detect  # type: ignore[attr-defined]


def test_a_top_down_model_needs_people(top_down: Path) -> None:
    estimator = PoseEstimator(top_down, detector=lambda image: [])
    with pytest.raises(InputError, match="tiny finds nobody in it"):
        benchmark(estimator, synthetic_frames(3, height=48, width=64), frames=10)


def test_models_of_both_kinds_in_one_table(model: Path, top_down: Path) -> None:
    frames = synthetic_frames(3, height=48, width=64)
    people: dict[str, Any] = {"detector": lambda image: [[5, 5, 40, 40]], "min_score": 0.0, "min_confidence": 0.0}
    figures = [
        benchmark(PoseEstimator(model), frames, frames=10),
        benchmark(PoseEstimator(top_down, **people), frames, frames=10),
    ]
    lines = benchmark_table(figures).splitlines()
    assert next(line for line in lines if line.startswith("detect, ms")).split()[2] == "-"
    assert next(line for line in lines if line.startswith("detector ran")).split()[2] == "-"


def test_windows_are_measured(tmp_path: Path) -> None:
    estimator = PoseEstimator(tiny_models.save(tmp_path), follow=True)
    assert set(benchmark(estimator, write_video(tmp_path / "clip.avi", 7), frames=10).stages) == set(STAGES)


def test_portraits_move() -> None:
    frames = module.portrait_frames(5, height=80, width=120)
    assert {frame.shape for frame in frames} == {(80, 120, 3)}
    assert all((a != b).any() for a, b in itertools.pairwise(frames))
