"""Cost of everything but the network in top-down estimation, and the gain of batches.

    python benchmarks/top_down.py --model hrnet_w32_int8.xml [--people 1 4 12] [--batches 1 4] [--precision f32] [--device cuda]
        [--json PATH]

The network runs as it is and within the whole pipeline in turns, so that a busy moment of the machine falls on both alike:
milliseconds a frame are medians, and the share of the pipeline the median of each turn's ratio. The work is also timed by
itself: cutting out, and decoding with either refinement. On CUDA the model is a checkpoint, and a second table has crops a
second in bfloat16 against plain eager float32 of the same network.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import edgepose
from edgepose.arrays import Image
from edgepose.decoding.heatmaps import decode_heatmaps
from edgepose.doctor import processor
from edgepose.engines import Engine
from edgepose.geometry import fit_crops
from edgepose.pipelines.top_down import TopDown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="CPU")
    parser.add_argument("--precision", choices=("f32", "f16", "bf16"), help="of the arithmetic (default: the device's choice)")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 4, 12])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    print(f"{options.model} on {options.device}, {processor()}, medians of {options.turns} turns\n")
    rows = []
    for batch_size in options.batches:
        estimator = edgepose.PoseEstimator(
            options.model, device=options.device, batch_size=batch_size, precision=options.precision
        )
        for people in options.people:
            rows.append({"batch_size": batch_size, "people": people, **shares(estimator, batch_size, people, options.turns)})
            _print_row(rows)
    report: dict[str, Any] = {"model": options.model, "device": options.device, "machine": processor(), "rows": rows}
    if options.device.startswith("cuda"):
        report["throughput"] = throughput(options.model, options.device, options.turns)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))


def shares(estimator: edgepose.PoseEstimator, batch_size: int, people: int, turns: int) -> dict[str, float]:
    """Milliseconds a frame of the bare network and of the pipeline, the share of the rest, and the rest by itself."""
    pipeline: Any = estimator.pipeline
    assert isinstance(pipeline, TopDown)
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (720, 1280, 3), np.uint8)
    corners = random.uniform((0, 0), (1100, 300), (people, 2))
    boxes = np.concatenate([corners, corners + random.uniform((80, 200), (180, 420), (people, 2))], axis=1)
    matrices = fit_crops(boxes, pipeline._height, pipeline._width).matrices
    crops = pipeline._cut([(image, matrix) for matrix in matrices])
    heatmaps = pipeline._engine.submit(crops[:1]).result()[0].repeat(people, axis=0)

    def network() -> None:
        # Two under way at a time, as in the pipeline.
        pending = []
        for at in range(0, people, batch_size):
            pending.append(pipeline._engine.submit(crops[at : at + batch_size]))
            if len(pending) > 1:
                pending.pop(0).result()
        for run in pending:
            run.result()

    work = {
        "network_ms": network,
        "pipeline_ms": lambda: estimator(image, boxes=boxes),
        "crops_ms": lambda: pipeline._cut([(image, matrix) for matrix in matrices]),
        "quarter_ms": lambda: decode_heatmaps(heatmaps),
        "dark_ms": lambda: decode_heatmaps(heatmaps, refinement="dark"),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(turns + 1):
        for name, function in work.items():
            spent = milliseconds(function)
            if turn:  # the first compiles
                times[name].append(spent)
    ratios = [whole / bare - 1 for whole, bare in zip(times["pipeline_ms"], times["network_ms"], strict=True)]
    return {name: median(spent) for name, spent in times.items()} | {"rest_percent": 100 * median(ratios)}


def throughput(checkpoint: str, device: str, turns: int) -> list[dict[str, float]]:
    """Crops a second at several batch sizes: bfloat16 on the engine, compiled and not, and plain eager float32."""
    import torch

    from edgepose.engines.torch import TorchEngine, read_network
    from edgepose.zoo.registry import describe_file

    path = Path(checkpoint)
    model = describe_file(path)
    assert model is not None
    half = TorchEngine(read_network(path), model, device=device, precision="bf16")
    compiled = TorchEngine(read_network(path), model, device=device, precision="bf16", compile=True)
    plain = read_network(path).eval().to(device)
    rows = []
    for count in (1, 8, 32, 128):
        crops = np.random.default_rng(count).integers(0, 256, (count, *model.size, 3), np.uint8)
        tensor = torch.rand(count, 3, *model.size, device=device)

        def eager(tensor: torch.Tensor = tensor) -> None:
            with torch.inference_mode():
                plain(tensor).cpu()

        work: dict[str, Callable[[], Any]] = {
            "eager_f32": eager,
            "bf16": partial(infer, half, crops),
            "bf16_compiled": partial(infer, compiled, crops),
        }
        for function in work.values():
            function()
        times = {name: median(milliseconds(function) for _ in range(turns)) for name, function in work.items()}
        rows.append({"batch": count, **{name: 1000 * count / spent for name, spent in times.items()}})
        _print_row(rows)
    return rows


def infer(engine: Engine, batch: Image) -> None:
    engine.submit(batch).result()


def milliseconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000


def _print_row(rows: list[dict[str, float]]) -> None:
    if len(rows) == 1:
        print(f"\n| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    print(f"| {' | '.join(f'{value:.4g}' for value in rows[-1].values())} |", flush=True)


if __name__ == "__main__":
    main()
