"""Requests of the OpenVINO engine: each is one run's alone, and comes back whatever happens to the run."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tiny_models

import edgepose
from edgepose.engines import openvino as engine_module
from edgepose.engines.openvino import OpenVINOEngine
from edgepose.zoo.registry import from_yaml

MODEL = from_yaml("tiny", tiny_models.DESCRIPTION, "tests")


def idle(engine: OpenVINOEngine) -> list[Any]:
    """The requests that wait to be used, of the only shape there is; each there once."""
    ((_, free),) = engine._compiled.values()
    assert len(set(map(id, free))) == len(free)
    return free


def interrupt_once(monkeypatch, method: str, error: BaseException) -> None:
    """Let the next call of a method of the requests end in an error, after all that it does."""
    original, errors = getattr(engine_module._Request, method), [error]

    def changed(self, *args):
        answer = original(self, *args)
        if errors:
            raise errors.pop()
        return answer

    monkeypatch.setattr(engine_module._Request, method, changed)


def test_threads_may_ask_for_the_same_result(monkeypatch):
    engine = OpenVINOEngine(tiny_models.network(), MODEL)
    images = np.random.default_rng(1).integers(0, 256, (6, 1, 16, 24, 3), np.uint8)
    expected = [engine.infer(image) for image in images]
    everybody = threading.Barrier(4)
    original = engine_module._Request.wait

    def wait(self, count):
        outputs = original(self, count)
        threading.Event().wait(0.001)  # So that the others come in the middle.
        return outputs

    monkeypatch.setattr(engine_module._Request, "wait", wait)

    def ask(pending: engine_module.Pending) -> list[np.ndarray]:
        everybody.wait(20)
        return pending.result()

    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for image, outputs in zip(images, expected, strict=True):
                pending, beside = engine.submit(image), engine.submit(images[0])
                got = [future.result() for future in [pool.submit(ask, pending) for _ in range(4)]]
                assert len({id(answer) for answer in got}) == 1
                np.testing.assert_array_equal(got[0][0], outputs[0])
                np.testing.assert_array_equal(beside.result()[0], expected[0][0])
                assert len(idle(engine)) == 2


def test_a_run_that_nobody_asks_for_gives_its_request_back():
    engine = OpenVINOEngine(tiny_models.network(), MODEL)
    images = np.random.default_rng(2).integers(0, 256, (20, 1, 320, 480, 3), np.uint8)
    expected = engine.infer(images[-1])
    for image in images:
        engine.submit(image)  # Dropped as it runs.
    assert len(idle(engine)) <= 2
    np.testing.assert_array_equal(engine.infer(images[-1])[0], expected[0])
    pending = [engine.submit(image) for image in images]
    del pending
    assert len(idle(engine)) == 20
    for image in images:
        engine.submit(image)
        np.testing.assert_array_equal(engine.infer(images[-1])[0], expected[0])
    assert len(idle(engine)) == 20


@pytest.mark.parametrize("method", ["wait", "start"])
def test_who_is_interrupted_harms_nobody(monkeypatch, method):
    engine = OpenVINOEngine(tiny_models.network(), MODEL)
    images = np.random.default_rng(3).integers(0, 256, (2, 1, 320, 480, 3), np.uint8)
    expected = [engine.infer(image) for image in images]
    interrupt_once(monkeypatch, method, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        engine.infer(images[0])

    gc.collect()
    assert len(idle(engine)) == 1
    for _ in range(3):
        both = [engine.submit(image) for image in images]
        for pending, outputs in zip(both, expected, strict=True):
            np.testing.assert_array_equal(pending.result()[0], outputs[0])


def test_who_is_interrupted_can_ask_again(monkeypatch):
    engine = OpenVINOEngine(tiny_models.network(), MODEL)
    image = np.random.default_rng(4).integers(0, 256, (1, 16, 24, 3), np.uint8)
    expected = engine.infer(image)
    pending = engine.submit(image)
    interrupt_once(monkeypatch, "wait", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pending.result()
    engine.infer(np.zeros_like(image))  # By another request: this one is still the run's.
    np.testing.assert_array_equal(pending.result()[0], expected[0])
    assert len(idle(engine)) == 2


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), MemoryError("out of memory"), ValueError("out of memory")])
def test_a_failed_run_fails_the_same_whenever_it_is_asked_and_the_engine_goes_on(monkeypatch, error):
    engine = OpenVINOEngine(tiny_models.network(), MODEL)
    image = np.random.default_rng(5).integers(0, 256, (1, 16, 24, 3), np.uint8)
    expected = engine.infer(image)
    interrupt_once(monkeypatch, "wait", error)
    pending = engine.submit(image)
    errors = []
    for _ in range(3):
        with pytest.raises(Exception, match="out of memory") as caught:
            pending.result()
        errors.append(caught.value)
        assert len(idle(engine)) == 1
    assert len(set(map(id, errors))) == 1
    assert isinstance(errors[0], ValueError if isinstance(error, ValueError) else edgepose.ModelError)
    np.testing.assert_array_equal(engine.infer(image)[0], expected[0])


def test_what_cannot_be_started_gives_its_request_back(monkeypatch):
    engine = OpenVINOEngine(tiny_models.network(), MODEL)
    image = np.random.default_rng(6).integers(0, 256, (1, 16, 24, 3), np.uint8)
    expected = engine.infer(image)
    with pytest.raises(TypeError):
        engine.infer(image.astype(np.float32))
    gc.collect()
    assert len(idle(engine)) == 1
    interrupt_once(monkeypatch, "start", RuntimeError("out of memory"))
    with pytest.raises(edgepose.ModelError, match=r"tiny failed as it ran; .* out of memory"):
        engine.infer(image)
    gc.collect()
    assert len(idle(engine)) == 1
    np.testing.assert_array_equal(engine.infer(image)[0], expected[0])
