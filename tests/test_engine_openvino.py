"""Networks on OpenVINO: their pre-processing, their shapes, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import tiny_models

import edgepose
from converters.files import core
from edgepose.engines import openvino as engine_module
from edgepose.engines import openvino_core
from edgepose.engines.openvino import OpenVINOEngine, described, read_network
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

    def work(seed):
        order = np.random.default_rng(seed).permutation(24)
        wrong.extend(i for i in order if not np.array_equal(engine.infer(images[i])[0], expected[i]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny.pth", r"no model file .* \.xml, \.onnx, \.pb"),
        ("nowhere.onnx", "there is no model file"),
        ("tiny.onnx", "cannot be read as a model"),
        ("tiny.pb", "cannot be read as a model"),
    ],
)
def test_what_is_no_model_file_is_refused(tmp_path, name, message):
    for suffix in ("pth", "onnx", "pb"):
        (tmp_path / f"tiny.{suffix}").write_bytes(b"no model at all" * 100)
    with pytest.raises(edgepose.ModelError, match=message):
        read_network(tmp_path / name)


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
def test_broken_files_are_refused_in_one_line(tmp_path, damage, message):
    path = tiny_models.save(tmp_path)
    damage(path)
    with pytest.raises(edgepose.ModelError, match=message) as caught:
        read_network(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "message"),
    [({"inputs": 2}, "expected one, NCHW with three channels"), ({"layout": "NHWC"}, "does not fit its description")],
)
def test_a_network_that_does_not_fit_its_description_is_refused(network, message):
    with pytest.raises(edgepose.ModelError, match=message):
        OpenVINOEngine(tiny_models.network(**network), MODEL)


@pytest.mark.parametrize("device", ["NPU.7", "TOASTER", ""])
def test_an_absent_device_is_refused(device):
    with pytest.raises(edgepose.DeviceError, match=r"OpenVINO finds here: .*CPU"):
        OpenVINOEngine(tiny_models.network(), MODEL, device=device)


def test_an_absent_processor_is_refused(monkeypatch):
    class OfNoProcessor:
        available_devices = ("GPU",)

        def get_property(self, device: str, name: str) -> str:
            raise RuntimeError(f"no plugin for {device} to ask for {name}")

    monkeypatch.setattr(engine_module, "core", OfNoProcessor)
    with pytest.raises(edgepose.DeviceError, match="there is no device 'CPU'; OpenVINO finds here: GPU"):
        OpenVINOEngine(tiny_models.network(), MODEL)


@pytest.mark.parametrize(("option", "word"), [({"threads": 0}, "threads is 0"), ({"streams": -1}, "streams is -1")])
def test_counts_below_one_are_refused(option, word):
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
    usual_core, tried = engine_module.core(), []

    class OfAnOldProcessor:
        available_devices = usual_core.available_devices
        get_property = usual_core.get_property

        def compile_model(self, network: ov.Model, device: str, properties: dict[str, object]) -> ov.CompiledModel:
            tried.append(properties.get("LP_TRANSFORMS_MODE"))
            if tried[-1] is None:
                raise RuntimeError("object is not initialized")
            return usual_core.compile_model(network, device, properties)

    monkeypatch.setattr(openvino_core, "core", OfAnOldProcessor)
    engine = OpenVINOEngine(network_again, model, precision="f32")
    for there, here in zip(usual, engine.infer(picture), strict=True):
        np.testing.assert_allclose(here, there, atol=0.02)  # INT8 may round otherwise, by a step of 0.002 in three channels
        assert np.abs(here).max() > 0.1
    assert tried == [None, "NO"]
    plain = OpenVINOEngine(tiny_models.network(), model)
    with pytest.raises(edgepose.ModelError, match="object is not initialized"):
        plain.infer(picture)
