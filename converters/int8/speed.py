"""Speeds of several networks, measured in turns within one process, so that other load slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import openvino as ov

from converters.pictures import engine_for
from edgepose.engines.openvino import Precision
from edgepose.zoo.registry import Model

ROUNDS = 9
RUNS = 5  # one by one; at the throughput hint, times the number of requests that the device takes at a time


@dataclass(frozen=True)
class Speed:
    """Medians of a bare network: milliseconds alone, and runs a second with several at a time."""

    latency_ms: float
    per_second: float


def measure_speeds(networks: Sequence[tuple[ov.Model, Precision | None]], model: Model, size: tuple[int, int]) -> list[Speed]:
    """The speed of networks, each in its arithmetic, on the CPU for one input of (height, width) at a time."""
    shape = (1, *size)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    alone, together = [], []
    for network, precision in networks:
        alone.append(engine_for(network, model, precision).compiled(shape).create_infer_request())
        compiled = engine_for(network, model, precision, hint="throughput").compiled(shape)
        together.append(ov.AsyncInferQueue(compiled, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
    latencies: list[list[float]] = [[] for _ in networks]
    rates: list[list[float]] = [[] for _ in networks]
    for turn in range(ROUNDS + 1):
        for index, (request, queue) in enumerate(zip(alone, together, strict=True)):
            times = [_seconds_of(request, pixels) for _ in range(RUNS)]
            rate = _rate_of(queue, pixels)
            if turn:  # the first round only fills caches
                latencies[index] += times
                rates[index].append(rate)
    return [Speed(1000 * median(times), median(rate)) for times, rate in zip(latencies, rates, strict=True)]


def own_arithmetic(network: ov.Model, model: Model, size: tuple[int, int]) -> str:
    """The arithmetic that the processor chooses if nothing is prescribed, such as bf16."""
    compiled = engine_for(network, model, None).compiled((1, *size))
    return str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())


def _seconds_of(request: ov.InferRequest, pixels: np.ndarray) -> float:
    started = time.perf_counter()
    request.infer([pixels], share_inputs=True)
    return time.perf_counter() - started


def _rate_of(queue: ov.AsyncInferQueue, pixels: np.ndarray) -> float:
    runs = RUNS * len(queue)
    started = time.perf_counter()
    for _ in range(runs):
        queue.start_async([pixels], share_inputs=True)
    queue.wait_all()
    return runs / (time.perf_counter() - started)
