from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import tiny_models

import edgepose
from converters.files import core
from edgepose.engines import openvino as engine_module
from edgepose.engines.openvino import OpenVINOEngine, described, read_network, remove_oldest
from edgepose.zoo.registry import from_yaml, to_yaml

MODEL = from_yaml("tiny", tiny_models.DESCRIPTION, "tests")


def plain(network: ov.Model, tensor: np.ndarray) -> list[np.ndarray]:
    """The network on a float tensor, without any pre-processing of ours."""
    network.reshape(list(tensor.shape))
    return list(core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(tensor).values())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour", ["BGR", "RGB"])
def test_preprocessing_in_the_graph_equals_numpy(layout, colour):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (1, 32, 48, 3), np.uint8)
    mean, scale = (10.0, 20.0, 30.0), (50.0, 60.0, 70.0)
    text = tiny_models.DESCRIPTION.replace("BGR", colour).replace("NCHW", layout)
    text = text.replace("[128, 128, 128]", str(list(mean))).replace("[256, 256, 256]", str(list(scale)))
    engine = OpenVINOEngine(tiny_models.network(layout=layout), from_yaml("tiny", text, "tests"), precision="f32")

    pixels = image if colour == "BGR" else image[..., ::-1]
    tensor = ((pixels - np.float32(mean)) / np.float32(scale)).astype(np.float32)
    expected = plain(tiny_models.network(layout=layout), tensor if layout == "NHWC" else tensor.transpose(0, 3, 1, 2).copy())
    if layout == "NHWC":
        expected = [maps.transpose(0, 3, 1, 2) for maps in expected]

    outputs = engine.infer(image)
    assert [o.shape for o in outputs] == [(1, 19, 4, 6), (1, 38, 4, 6)]
    for got, want in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous


def test_results_outlive_later_runs_and_the_input_may_change():
    engine = OpenVINOEngine(tiny_models.network(), MODEL)
    image = np.full((1, 16, 16, 3), 200, np.uint8)
    pending = engine.submit(image)
    image[:] = 0
    first = pending.result()
    kept = [o.copy() for o in first]
    assert not np.array_equal(engine.infer(image)[0], first[0])
    assert all(np.array_equal(a, b) for a, b in zip(first, kept, strict=True))
    assert pending.result() is first


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (3, 4), (5, 8)])
def test_batches_come_in_few_sizes(count, size):
    engine = OpenVINOEngine(tiny_models.network(), MODEL)
    batch = np.random.default_rng(count).integers(0, 256, (count, 16, 24, 3), np.uint8)
    together = engine.infer(batch)[0]
    assert list(engine._compiled) == [(size, 16, 24)]
    np.testing.assert_allclose(together, [engine.infer(image[None])[0][0] for image in batch], atol=1e-5)


def test_threads_share_an_engine():
    engine = OpenVINOEngine(tiny_models.network(), MODEL)
    images = [np.full((1, 16, 24, 3), value, np.uint8) for value in range(0, 240, 10)]
    expected = [engine.infer(image)[0] for image in images]
    wrong = []

    def work(order):
        wrong.extend(i for i in order if not np.array_equal(engine.infer(images[i])[0], expected[i]))

    threads = [threading.Thread(target=work, args=(np.random.default_rng(n).permutation(24),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_shapes_are_compiled_once_and_the_oldest_goes(monkeypatch):
    engine = OpenVINOEngine(tiny_models.network(), MODEL)
    compiled = []
    original = OpenVINOEngine._compile
    monkeypatch.setattr(OpenVINOEngine, "_compile", lambda self, shape: compiled.append(shape) or original(self, shape))
    widths = [8 * (n + 1) for n in range(engine_module.MAX_COMPILED_SHAPES + 1)]
    for width in [*widths[:-1], widths[0]]:
        engine.infer(np.zeros((1, 16, width, 3), np.uint8))
    assert len(compiled) == engine_module.MAX_COMPILED_SHAPES
    engine.infer(np.zeros((1, 16, widths[-1], 3), np.uint8))  # drives out the least recently used: the second
    engine.infer(np.zeros((1, 16, widths[0], 3), np.uint8))
    assert len(compiled) == engine_module.MAX_COMPILED_SHAPES + 1
    engine.infer(np.zeros((1, 16, widths[1], 3), np.uint8))
    assert compiled[-1] == (1, 16, widths[1])


def test_rt_info_describes_a_model(tmp_path):
    network = tiny_models.network()
    network.set_rt_info(to_yaml(MODEL), engine_module.RT_INFO_KEY)
    ov.save_model(network, tmp_path / "tiny.xml")
    assert described(read_network(tmp_path / "tiny.xml"), tmp_path / "tiny.xml") == MODEL
    assert described(tiny_models.network(), Path("tiny.xml")) is None


def test_onnx_suffix_and_others():
    with pytest.raises(edgepose.ModelError, match=r"no model file .* \.xml, \.onnx, \.pb"):
        read_network(Path("model.pth"))
    with pytest.raises(edgepose.ModelError, match="there is no model file"):
        read_network(Path("nowhere.onnx"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_text("<net"), "cannot be read as a model"),
        (lambda p: p.write_bytes(b""), "cannot be read as a model"),
        (lambda p: p.write_bytes(p.read_bytes()[:500]), "cannot be read as a model"),
        (lambda p: p.with_suffix(".bin").unlink(), "lacks its weights"),
        (lambda p: p.with_suffix(".bin").write_bytes(b"short"), "cannot be read as a model"),
    ],
    ids=["not xml", "empty", "truncated xml", "no bin", "truncated bin"],
)
def test_broken_files(tmp_path, damage, message):
    path = tiny_models.save(tmp_path)
    damage(path)
    with pytest.raises(edgepose.ModelError, match=message) as caught:
        read_network(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["garbage.onnx", "garbage.pb"])
def test_garbage_in_other_formats(tmp_path, name):
    (tmp_path / name).write_bytes(b"no model at all" * 100)
    with pytest.raises(edgepose.ModelError, match="cannot be read as a model"):
        read_network(tmp_path / name)


def test_two_inputs_are_refused():
    with pytest.raises(edgepose.ModelError, match="expected one, NCHW with three channels"):
        OpenVINOEngine(tiny_models.network(inputs=2), MODEL)


def test_layout_that_does_not_fit_is_refused():
    with pytest.raises(edgepose.ModelError, match="does not fit its description"):
        OpenVINOEngine(tiny_models.network(layout="NHWC"), MODEL)


@pytest.mark.parametrize("device", ["NPU.7", "TOASTER", ""])
def test_absent_device(device):
    with pytest.raises(edgepose.DeviceError, match=r"OpenVINO finds here: .*CPU"):
        OpenVINOEngine(tiny_models.network(), MODEL, device=device)


def test_a_processor_that_is_not_there(monkeypatch):
    class OfNoProcessor:
        available_devices = ("GPU",)

        def get_property(self, device: str, name: str) -> str:
            raise RuntimeError(f"no plugin for {device} to ask for {name}")

    monkeypatch.setattr(engine_module, "_core", OfNoProcessor)
    with pytest.raises(edgepose.DeviceError, match="there is no device 'CPU'; OpenVINO finds here: GPU"):
        OpenVINOEngine(tiny_models.network(), MODEL)


@pytest.mark.parametrize(("option", "word"), [({"threads": 0}, "threads is 0"), ({"streams": -1}, "streams is -1")])
def test_counts_below_one(option, word):
    with pytest.raises(edgepose.InputError, match=word):
        OpenVINOEngine(tiny_models.network(), MODEL, **option)


def test_throughput_hint_allows_several_requests():
    engine = OpenVINOEngine(tiny_models.network(), MODEL, hint="throughput")
    assert engine.requests == 1
    assert engine.compiled((1, 16, 16)).input(0).shape == ov.Shape([1, 16, 16, 3])
    assert engine.requests >= 1


def test_a_quantised_network_runs_in_floats_where_int8_cannot_be_compiled(tmp_path, monkeypatch):
    network = tiny_models.network()
    for op in network.get_ops():
        if op.get_type_name() == "AvgPool":
            low, high = (ov.opset13.constant(np.array(v, np.float32)) for v in (-0.25, 0.25))
            users = list(op.output(0).get_target_inputs())
            quantised = ov.opset13.fake_quantize(op, low, high, low, high, 256)
            for user in users:
                user.replace_source_output(quantised.output(0))
    ov.save_model(network, tmp_path / "tiny.xml")
    model = from_yaml("tiny", tiny_models.DESCRIPTION, "tiny.yaml")
    picture = np.random.default_rng(3).integers(0, 256, (1, 64, 96, 3), np.uint8)
    usual = OpenVINOEngine(read_network(tmp_path / "tiny.xml"), model, precision="f32").infer(picture)

    network_again = read_network(tmp_path / "tiny.xml")
    core, tried = engine_module._core(), []

    class OfAnOldProcessor:
        available_devices = core.available_devices
        get_property = core.get_property

        def compile_model(self, network: ov.Model, device: str, properties: dict[str, object]) -> ov.CompiledModel:
            tried.append(properties.get("LP_TRANSFORMS_MODE"))
            if tried[-1] is None:
                raise RuntimeError("object is not initialized")
            return core.compile_model(network, device, properties)

    monkeypatch.setattr(engine_module, "_core", OfAnOldProcessor)
    engine = OpenVINOEngine(network_again, model, precision="f32")
    for there, here in zip(usual, engine.infer(picture), strict=True):
        np.testing.assert_allclose(here, there, atol=0.02)  # INT8 may round otherwise, by a step of 0.002 in three channels
        assert np.abs(here).max() > 0.1
    assert tried == [None, "NO"]
    plain = OpenVINOEngine(tiny_models.network(), model)
    with pytest.raises(edgepose.ModelError, match="object is not initialized"):
        plain.infer(picture)


def test_the_oldest_compiled_networks_go_first(tmp_path):
    for index, name in enumerate(("old", "older", "new")):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000, (2000, 1000, 3000)[index]))
    remove_oldest(tmp_path, 300)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new", "old", "older"]
    remove_oldest(tmp_path, 250)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new", "old"]
    remove_oldest(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


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


def test_folders_in_the_cache_keep_no_old_networks(tmp_path):
    """Plugins of OpenVINO may make some, and so may anybody else."""
    for index, name in enumerate(("a/old", "a/b/older", "new")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1000, (2000, 1000, 3000)[index]))
    (tmp_path / "gone").symlink_to("nowhere")
    remove_oldest(tmp_path, 299)
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()) == ["a/old", "new"]
    remove_oldest(tmp_path, 0)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_what_cannot_be_deleted_keeps_nothing_else(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (ord(name), ord(name)))
    unlink = os.unlink

    def refuse(path):
        if path.endswith("a"):
            raise PermissionError(path)
        unlink(path)

    monkeypatch.setattr(os, "unlink", refuse)
    remove_oldest(tmp_path, 150)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a"]


def test_openvino_is_loaded_once_even_if_threads_ask_at_the_same_time() -> None:
    program = """
import concurrent.futures, faulthandler, gc, os, signal, threading
from edgepose.engines import openvino as engine
faulthandler.enable()  # Signals have a stack of their own then.
together = threading.Barrier(8)
def load(_):
    together.wait()
    return engine._core()
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    cores = list(pool.map(load, range(8)))
assert all(each is cores[0] for each in cores)
engine.available_devices()
threading.Thread(target=lambda: (cores.clear(), gc.collect())).start()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
