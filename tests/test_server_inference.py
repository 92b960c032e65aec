from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import numpy as np
import pictures
import pytest

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from serving import Camera, sample

from edgepose.media.sources import open_source
from edgepose.server.inference import SourceInference
from edgepose.server.streams import newest

PHOTO = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)


def with_inference(inference: SourceInference, use: Callable[[SourceInference], Awaitable[None]]) -> None:
    """Run `use` while the inference does, and end both."""

    async def run() -> None:
        inference.start()
        try:
            await asyncio.wait_for(use(inference), 20)
        finally:
            inference.release_viewers()
            await asyncio.to_thread(inference.close)

    asyncio.run(run())


def test_a_viewer_that_is_ready_sees_every_frame_and_then_the_end(tiny_estimator, tmp_path):
    video = pictures.write_video(tmp_path / "clip.avi", 12, fps=50)
    seen = []

    async def use(inference: SourceInference) -> None:
        number = 0
        while (result := await inference.newer(number)) is not None:
            number = result.number
            seen.append(result.frame.index)

    with_inference(SourceInference(tiny_estimator, partial(open_source, str(video))), use)
    assert seen == list(range(12))


def test_one_that_comes_late_gets_the_newest_alone(tiny_estimator, tmp_path):
    video = pictures.write_video(tmp_path / "clip.avi", 12)

    async def use(inference: SourceInference) -> None:
        await asyncio.to_thread(inference._thread.join)
        result = await inference.newer(0)
        assert result is not None
        assert (result.number, result.frame.index, inference.state) == (12, 11, "ended")
        assert await inference.newer(12) is None
        assert [people.number for people in inference.between(9, 13)] == [10, 11, 12]
        assert result.people is inference.between(11, 13)[0]

    with_inference(SourceInference(tiny_estimator, partial(open_source, str(video)), paced=False), use)


def test_files_are_shown_at_their_own_rate(tiny_estimator, tmp_path):
    video = pictures.write_video(tmp_path / "clip.avi", 11, fps=50)

    async def use(inference: SourceInference) -> None:
        clock = asyncio.get_running_loop().time
        assert await inference.newer(0) is not None
        first = clock()
        while (await inference.newer(inference.frames)) is not None:
            pass
        # Ten frames of 20 ms lie between; this is no measure of speed, for nothing makes it faster.
        assert clock() - first >= 0.1

    with_inference(SourceInference(tiny_estimator, partial(open_source, str(video))), use)


def test_it_begins_again_and_counts_on(tiny_estimator, tmp_path):
    video = pictures.write_video(tmp_path / "clip.avi", 3)

    async def use(inference: SourceInference) -> None:
        number = 0
        indices = []
        while number < 7:
            result = await inference.newer(number)
            assert result is not None
            number = result.number
            indices.append(result.frame.index)
        assert max(indices) <= 2
        assert inference.state == "running"

    with_inference(SourceInference(tiny_estimator, partial(open_source, str(video)), loop=True, paced=False), use)


def test_an_empty_source_is_not_begun_again(tiny_estimator, tmp_path):
    video = pictures.write_video(tmp_path / "clip.avi", 3)

    async def use(inference: SourceInference) -> None:
        assert await inference.newer(0) is None
        assert inference.state == "ended"

    with_inference(SourceInference(tiny_estimator, partial(open_source, str(video), max_frames=0), loop=True), use)


def test_an_error_of_the_estimator_ends_the_hub_and_is_logged(tiny_estimator, caplog):
    class Broken:
        def stream(self, source, **_):
            raise RuntimeError("a bug")

    async def use(inference: SourceInference) -> None:
        assert await inference.newer(0) is None
        assert (inference.state, inference.reason) == ("failed", "an error in the server; its log says more")

    with_inference(SourceInference(Broken(), Camera().open), use)  # type: ignore[arg-type]
    assert "a bug" in caplog.text


def test_who_is_slow_gets_the_newest_and_misses_what_came_meanwhile(tiny_estimator):
    camera = Camera()

    async def use(inference: SourceInference) -> None:
        results = newest(inference, 1000.0, "poses")
        camera.show(PHOTO)
        result, since = await anext(results)
        assert (result.number, since) == (1, 0)
        await asyncio.sleep(0.01)
        for number in range(2, 6):
            camera.show(PHOTO)
            while inference.frames < number:
                await asyncio.sleep(0.001)
        result, since = await anext(results)
        assert (result.number, since) == (5, 4)
        assert sample(inference.metrics, "frames_skipped_total", kind="poses") >= 3
        await results.aclose()  # type: ignore[attr-defined]
        assert inference.busy == {}

    with_inference(SourceInference(tiny_estimator, camera.open), use)
