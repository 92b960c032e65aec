"""The report on a search for INT8: Markdown, beside the model if one passed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import nncf
import openvino as ov

from converters.files import as_written
from converters.int8.recipe import Recipe
from converters.int8.search import Attempt, Outcome
from converters.int8.speed import ROUNDS, RUNS, Speed, measure_speeds, own_arithmetic
from converters.trial import Trial
from edgepose.doctor import processor
from edgepose.engines.openvino import Precision


@dataclass(frozen=True)
class Row:
    """A row of the table: a network, its arithmetic (None: the device's choice), its size in bytes, and the gate's figures."""

    name: str
    network: ov.Model
    precision: Precision | None
    size: int
    figures: str
    status: str


def write_report(name: str, trial: Trial, outcome: Outcome[Any], recipe: Recipe) -> str:
    """A report that compares FP32, FP16 and INT8, and lists the attempts and the operations that stay in floating point."""
    own = own_arithmetic(outcome.floating, trial.model, trial.size)
    rows = _rows(trial, outcome, own)
    speeds = measure_speeds([(row.network, row.precision) for row in rows], trial.model, trial.size)
    chosen = outcome.chosen
    height, width = trial.size
    correction = "fast" if recipe.fast_bias_correction else "thorough"
    lines = [
        f"# {name}",
        "",
        f"{trial.model.name} in INT8: {'passes, ' + chosen.verdict.figures if chosen else 'no INT8 model passes'}.",
        "",
        f"- Gate: {trial.gate.protocol}; input height {height}; FP32 arithmetic in whatever is not INT8.",
        f"- Recipe: NNCF {nncf.__version__}, {recipe.preset} preset, {len(trial.tensors)} inputs to calibrate on, "
        f"{correction} bias correction, ranges of activations times {recipe.headroom:g}.",
        f"- Speed: {processor()}, {os.cpu_count()} logical processors, OpenVINO {ov.__version__.split('-')[0]}, input "
        f"{width}x{height}. Medians of {ROUNDS * RUNS} runs one by one and of {ROUNDS} bursts at the throughput hint, all "
        "networks in turns in one process.",
        "",
        "| network | arithmetic | accuracy | MB | latency, ms | runs/s | times FP32 | status |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, speed in zip(rows, speeds, strict=True):
        lines.append(
            f"| {row.name} | {row.precision or own} | {row.figures} | {row.size / 1e6:.1f} | {speed.latency_ms:.2f} | "
            f"{speed.per_second:.1f} | {speeds[0].latency_ms / speed.latency_ms:.2f} | {row.status} |"
        )
    lines += ["", "Tried, in this order:", "", "| what | accuracy | verdict |", "|---|---|---|"]
    if outcome.folded is not None:
        lines.append(f"| statistics made constant, in FP32 | {outcome.folded.figures} | {_word(outcome.folded.passed)} |")
    lines += [f"| INT8, {it.name} | {it.verdict.figures} | {_word(it.verdict.passed)} |" for it in outcome.attempts]
    if chosen and chosen.kept:
        lines += ["", *_cost(chosen, rows, speeds)]
    return "\n".join(lines) + "\n"


def _rows(trial: Trial, outcome: Outcome[Any], own: str) -> list[Row]:
    gate, reference = trial.gate, outcome.reference
    given, given_size = as_written(trial.network, fp16=False)
    half, half_size = as_written(outcome.floating, fp16=True)
    rows = [Row("FP32", given, "f32", given_size, gate.describe(gate.measure(given)), "given")]
    if outcome.floating is not trial.network:
        constant, size = as_written(outcome.floating, fp16=False)
        rows.append(Row("FP32, statistics made constant", constant, "f32", size, gate.describe(reference), "reference"))
    rows.append(Row("FP16", half, None, half_size, gate.judge(reference, gate.measure(half, None)).figures, "for ARM, GPU"))
    whole = [it for it in outcome.attempts if not it.kept and it is not outcome.chosen and it.runs]
    if whole:
        rows.append(_row("INT8, all of it", whole[-1], "refused"))
    if outcome.chosen is not None:
        rows.append(_row("INT8", outcome.chosen, "passes"))
        if own != "f32":
            figures = gate.judge(reference, gate.measure(outcome.chosen.network, None)).figures
            rows.append(Row("INT8", outcome.chosen.network, None, outcome.chosen.size, figures, "passes in f32"))
    return rows


def _row(name: str, attempt: Attempt, status: str) -> Row:
    return Row(name, attempt.network, "f32", attempt.size, attempt.verdict.figures, status)


def _cost(chosen: Attempt, rows: list[Row], speeds: list[Speed]) -> list[str]:
    """The operations that stay in floating point, and their cost compared with the refused network that is all INT8."""
    time = {row.name: speed.latency_ms for row, speed in zip(rows, speeds, strict=True) if row.precision == "f32"}
    everything = time.get("INT8, all of it")
    cost = f", which costs {100 * (time['INT8'] / everything - 1):.0f} % of latency beside INT8 alone" if everything else ""
    kept = f"{len(chosen.kept)} of the operations with weights stay in floating point{cost}"
    return [f"{kept}. Their places, counted from the input: {chosen.where}."]


def _word(passed: bool) -> str:
    return "passes" if passed else "refused"
