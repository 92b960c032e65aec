"""The PyTorch engine on the CPU: the same answers as OpenVINO's, few batch sizes, and clear refusals."""

from __future__ import annotations

import functools
import threading

import numpy as np
import openvino as ov
import pytest
import tiny_models
import torch
from torch import nn

import edgepose
from edgepose.engines.openvino import OpenVINOEngine
from edgepose.engines.torch import TorchEngine, available_devices, read_network
from edgepose.networks import HRNet
from edgepose.zoo import registry

MODEL = registry.from_yaml("tiny", tiny_models.TOP_DOWN, "tests")


class Tiny(nn.Module):
    """Seventeen maps at stride 4, and a note of every batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(4)
        self.head = nn.Conv2d(3, 17, 1)
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(x.shape[0])
        return self.head(self.pool(x))


@pytest.fixture
def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


def pictures(count: int, height: int = 64, width: int = 32) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8)


# OpenVINO converts by way of torch.jit, which PyTorch has deprecated.
converts = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@converts
@pytest.mark.parametrize("colour", ["BGR", "RGB"])
def test_answers_are_those_of_openvino(tiny, colour):
    model = registry.from_yaml("tiny", tiny_models.TOP_DOWN.replace("RGB", colour), "tests")
    network = ov.convert_model(tiny.eval(), example_input=torch.zeros(1, 3, 64, 32), input=[(-1, 3, -1, -1)])
    batch = pictures(3)
    expected = OpenVINOEngine(network, model, precision="f32").infer(batch)
    engine = TorchEngine(tiny, model, device="cpu")
    outputs = engine.submit(batch).result()
    assert engine.output_channels == (17,)
    assert [o.shape for o in outputs] == [(3, 17, 16, 8)]
    assert outputs[0].dtype == np.float32
    np.testing.assert_allclose(outputs[0], expected[0], atol=1e-4)


@pytest.mark.slow
@converts
def test_hrnet_answers_as_on_openvino():
    torch.manual_seed(1)
    network = HRNet.variant("w32-compact").eval()
    batch = pictures(1)
    converted = ov.convert_model(network, example_input=torch.zeros(1, 3, 64, 32), input=[(1, 3, 64, 32)])
    expected = OpenVINOEngine(converted, MODEL, precision="f32").infer(batch)[0]
    found = TorchEngine(network, MODEL, device="cpu").submit(batch).result()[0]
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(("people", "size"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (9, 16)])
def test_batches_come_in_few_sizes(tiny, people, size):
    engine = TorchEngine(tiny, MODEL, device="cpu")
    assert engine.submit(pictures(people)).result()[0].shape[0] == people
    assert tiny.sizes[-1] == size


def test_a_batch_of_nobody_is_empty(tiny):
    assert TorchEngine(tiny, MODEL, device="cpu").submit(pictures(0)).result()[0].shape == (0, 17, 16, 8)


def test_padding_changes_no_answer(tiny):
    engine = TorchEngine(tiny, MODEL, device="cpu")
    batch = pictures(5)
    together = engine.submit(batch).result()[0]
    alone = [engine.submit(picture[None]).result()[0][0] for picture in batch]
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_half_precision_stays_near_full(tiny, precision):
    batch = pictures(2)
    exact = TorchEngine(tiny, MODEL, device="cpu").submit(batch).result()[0]
    half = TorchEngine(tiny, MODEL, device="cpu", precision=precision).submit(batch).result()[0]
    assert half.dtype == np.float32
    assert not np.array_equal(half, exact)
    np.testing.assert_allclose(half, exact, atol=0.05 * np.abs(exact).max())


def test_a_network_is_compiled_once_a_size(monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(inputs)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    torch.manual_seed(0)
    network = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 17, 1))
    plain = TorchEngine(network, MODEL, device="cpu")
    engine = TorchEngine(network, MODEL, device="cpu", compile=True)
    for people in (1, 3, 4, 3, 1, 4):
        batch = pictures(people)
        np.testing.assert_allclose(engine.submit(batch).result()[0], plain.submit(batch).result()[0], atol=1e-5)
    assert len(graphs) == 2


def test_results_outlive_later_runs_and_the_input_may_change(tiny):
    engine = TorchEngine(tiny, MODEL, device="cpu")
    batch = pictures(2)
    expected = engine.submit(batch.copy()).result()[0].copy()
    pending = engine.submit(batch)
    batch[:] = 0
    engine.submit(batch)
    np.testing.assert_array_equal(pending.result()[0], expected)
    assert pending.result() is pending.result()


def test_threads_share_an_engine():
    torch.manual_seed(0)
    engine = TorchEngine(nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 17, 1)), MODEL, device="cpu")
    batches = [pictures(n) for n in range(1, 6)]
    expected = [engine.submit(batch).result()[0] for batch in batches]
    same = []

    def work() -> None:
        same.extend(np.allclose(engine.submit(b).result()[0], e, atol=1e-5) for b, e in zip(batches, expected, strict=True))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 15


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "", "CPU:3"])
def test_an_absent_device_is_refused(tiny, device):
    with pytest.raises(edgepose.DeviceError, match=r"there is no device .*; PyTorch finds here: cpu"):
        TorchEngine(tiny, MODEL, device=device)


def test_cuda_is_refused_where_there_is_none(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert available_devices() == ["cpu"]
    with pytest.raises(edgepose.DeviceError, match="'cuda'; PyTorch finds here: cpu; CUDA needs an NVIDIA GPU"):
        TorchEngine(tiny, MODEL, device="cuda")
    # By name, too, and before anything is fetched.
    monkeypatch.setattr("edgepose.loading.fetch", lambda model: pytest.fail("fetched"))
    with pytest.raises(edgepose.DeviceError, match="CUDA needs an NVIDIA GPU"):
        edgepose.PoseEstimator("hrnet-w32", device="cuda", detector=lambda image: [])


def test_a_precision_and_a_network_that_do_not_fit_are_refused(tiny):
    with pytest.raises(edgepose.InputError, match="precision is 'int4'; expected one of f32, f16, bf16"):
        TorchEngine(tiny, MODEL, device="cpu", precision="int4")
    with pytest.raises(edgepose.ModelError, match="tiny cannot run on cpu") as caught:
        TorchEngine(nn.Conv2d(5, 17, 1), MODEL, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_tells_its_variant(tmp_path, prefix):
    torch.manual_seed(2)
    network = HRNet.variant("w32-compact")
    torch.save({prefix + name: tensor for name, tensor in network.state_dict().items()}, tmp_path / "own.pth")
    read = read_network(tmp_path / "own.pth")
    x = torch.rand(1, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(read.eval()(x), network.eval()(x))


def test_checkpoints_of_other_networks_are_refused(tmp_path):
    torch.save({"conv.weight": torch.zeros(3, 3, 1, 1)}, tmp_path / "other.pth")
    with pytest.raises(edgepose.ModelError, match="runs on PyTorch here; expected HRNet or HigherHRNet: w32, w48"):
        read_network(tmp_path / "other.pth")
    (tmp_path / "garbage.pth").write_bytes(b"no checkpoint" * 50)
    with pytest.raises(edgepose.ModelError, match=r"garbage\.pth"):
        read_network(tmp_path / "garbage.pth")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_cuda_answers_as_the_cpu(tiny):
    batch = pictures(3)
    expected = TorchEngine(tiny, MODEL, device="cpu").submit(batch).result()[0]
    found = TorchEngine(tiny, MODEL, device="cuda").submit(batch).result()[0]
    np.testing.assert_allclose(found, expected, atol=1e-2 * np.abs(expected).max())


def fail(_: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("CUDA out of memory\nand much more about it")


def test_a_failed_run_fails_the_same_whenever_it_is_asked(tiny, monkeypatch):
    engine = TorchEngine(tiny, MODEL, device="cpu")
    pending, errors = engine.submit(pictures(1)), []
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "cpu", fail)
        for _ in range(3):
            with pytest.raises(edgepose.ModelError, match=r"tiny cannot run on cpu: CUDA out of memory$") as caught:
                pending.result()
            errors.append(caught.value)
    assert errors[0] is errors[1] is errors[2]
    with pytest.raises(edgepose.ModelError):
        pending.result()  # What failed stays so.
    assert len(engine.submit(pictures(1)).result()) == 1


def test_a_run_that_does_not_start_says_so_in_one_line(tiny, monkeypatch):
    engine = TorchEngine(tiny, MODEL, device="cpu")
    monkeypatch.setattr(tiny, "forward", fail)
    with pytest.raises(edgepose.ModelError, match=r"tiny cannot run on cpu: CUDA out of memory$"):
        engine.submit(pictures(1))


def test_threads_may_ask_for_the_same_result(tiny):
    engine = TorchEngine(tiny, MODEL, device="cpu")
    for _ in range(20):
        pending, got = engine.submit(pictures(1)), []
        threads = [threading.Thread(target=lambda pending=pending, got=got: got.append(pending.result())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(outputs) for outputs in got}) == 1
