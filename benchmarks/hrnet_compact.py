"""Speed of small HRNets on a CPU: candidate layouts for the variant "w32-compact", measured against HRNet-W32.

    python benchmarks/hrnet_compact.py --threads 2 --rounds 60 --json hrnet_compact.json

Prints a Markdown table: parameters, multiply-accumulates, and the median latency with OpenVINO in FP32 and in INT8. The
weights are random, which changes no latency. All networks run in turns within one process, so that a busy moment of the
machine falls on all of them alike. Needs the extra "convert".
"""

from __future__ import annotations

import edgepose  # isort: skip  # noqa: F401 (before NNCF and OpenVINO, which call home otherwise)

import argparse
import contextlib
import json
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import nncf
import numpy as np
import openvino as ov
import torch
from torch import nn

from edgepose.cli.options import size
from edgepose.doctor import processor
from edgepose.networks.hrnet import VARIANTS, BlockKind, HRNet, HRNetConfig, Stage

W32 = VARIANTS["w32"]
CALIBRATION_IMAGES = 4  # of noise: enough for a graph of the right shape, whose speed is all that counts here


def candidate(low_blocks: BlockKind, bottlenecks: int, modules: tuple[int, int, int], blocks: int) -> HRNetConfig:
    """HRNet-W32 with another stem and other stages; the channels of all branches stay."""
    first, second, third = (Stage(count, blocks) for count in modules)
    return replace(W32, stages=(first, second, third), bottlenecks=bottlenecks, low_blocks=low_blocks)


CANDIDATES = (
    candidate("basic", 4, (1, 1, 1), 2),
    candidate("basic", 1, (1, 1, 1), 3),
    candidate("basic", 1, (1, 2, 1), 2),
    candidate("basic", 1, (1, 4, 2), 1),
    candidate("bottleneck", 1, (1, 2, 1), 4),
    candidate("bottleneck", 1, (1, 2, 2), 3),
    candidate("bottleneck", 1, (1, 4, 3), 2),
    candidate("separable", 1, (1, 2, 1), 4),
    candidate("separable", 1, (1, 2, 2), 2),
    candidate("separable", 1, (1, 2, 2), 3),
    candidate("separable", 1, (1, 4, 3), 1),
    candidate("separable", 1, (1, 4, 3), 2),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about = "of the input, in pixels (default: 192x256)"
    parser.add_argument("--input-size", type=size, default=(192, 256), metavar="WIDTHxHEIGHT", help=about)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=60, help="runs of every network (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    arguments = parser.parse_args()
    width, height = arguments.input_size
    nncf.set_log_level(logging.ERROR)
    torch.manual_seed(0)

    configs = (W32, *CANDIDATES)
    figures = [costs(HRNet(config), height, width) for config in configs]
    compiled = [compile_both(HRNet(config), height, width, arguments.threads) for config in configs]
    for figure, (fp32_ms, int8_ms) in zip(figures, latencies(compiled, height, width, arguments.rounds), strict=True):
        figure |= {"fp32_ms": fp32_ms, "int8_ms": int8_ms}

    print(f"{processor()}, {arguments.threads} threads, OpenVINO {ov.__version__}, input {width}x{height},")
    print(f"latency hint, median of {arguments.rounds} interleaved runs.\n")
    print("| low branches | bottlenecks | modules | blocks | exchanges | Mparams | GMACs | FP32 ms | INT8 ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    for config, figure in zip(configs, figures, strict=True):
        print(f"| {layout(config)} | " + " | ".join(f"{value:.2f}" for value in figure.values()) + " |")
    if arguments.json:
        rows = [{"layout": layout(config), **figure} for config, figure in zip(configs, figures, strict=True)]
        report = {"machine": processor(), "openvino": ov.__version__, "size": [height, width], "rows": rows}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def layout(config: HRNetConfig) -> str:
    """The layout as cells of the table, marked where it is a variant that `HRNet.variant` knows."""
    names = [f"**{name}**: " for name, known in VARIANTS.items() if known == config]
    modules = [stage.modules for stage in config.stages]
    blocks = config.stages[0].blocks
    kind = "".join(names) + config.low_blocks
    return " | ".join((kind, str(config.bottlenecks), "-".join(map(str, modules)), str(blocks), str(sum(modules))))


def costs(network: HRNet, height: int, width: int) -> dict[str, float]:
    """Millions of parameters and billions of multiply-accumulates in convolutions."""
    macs = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        macs += output.shape[-2] * output.shape[-1] * next(layer.parameters()).numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, height, width))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"mparams": parameters / 1e6, "gmacs": macs / 1e9}


def compile_both(network: HRNet, height: int, width: int, threads: int) -> tuple[ov.CompiledModel, ov.CompiledModel]:
    """The network in FP32 and, quantised by NNCF's mixed preset, in INT8."""
    example = torch.zeros(1, 3, height, width)
    model = ov.convert_model(network.eval(), example_input=example, input=[(1, 3, height, width)])
    random = np.random.default_rng(0)
    noise = [random.normal(size=tuple(example.shape)).astype(np.float32) for _ in range(CALIBRATION_IMAGES)]
    preset = nncf.QuantizationPreset.MIXED
    with contextlib.redirect_stdout(sys.stderr):  # NNCF's progress bars are no part of the table
        quantised = nncf.quantize(model, nncf.Dataset(noise), preset=preset, subset_size=CALIBRATION_IMAGES)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # or OpenVINO computes in bfloat16 where the processor has it
    }
    core = ov.Core()
    return core.compile_model(model, "CPU", settings), core.compile_model(quantised, "CPU", settings)


def latencies(
    compiled: list[tuple[ov.CompiledModel, ov.CompiledModel]], height: int, width: int, rounds: int
) -> list[tuple[float, float]]:
    """Median milliseconds of every pair of networks, which take turns."""
    image = np.random.default_rng(1).normal(size=(1, 3, height, width)).astype(np.float32)
    requests = [[model.create_infer_request() for model in pair] for pair in compiled]
    times_ms: list[list[list[float]]] = [[[], []] for _ in compiled]
    for turn in range(rounds + 1):
        for pair, pair_ms in zip(requests, times_ms, strict=True):
            for request, request_ms in zip(pair, pair_ms, strict=True):
                started = time.perf_counter()
                request.infer([image], share_inputs=True)
                if turn > 0:  # the first turn warms up
                    request_ms.append((time.perf_counter() - started) * 1e3)
    return [(median(fp32_ms), median(int8_ms)) for fp32_ms, int8_ms in times_ms]


if __name__ == "__main__":
    main()
