"""The search for an INT8 network: NNCF's plain recipe and, if the gate refuses that, parts in floating point.

The search is bounded: at most `MAX_CANDIDATES` networks are quantised and judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import openvino as ov

from converters.files import as_written
from converters.int8.gate import Gate, Result, Verdict
from converters.int8.graph import batch_normalisations, channels_first, transpositions, with_constant_statistics
from converters.int8.nncf import quantise
from converters.int8.recipe import Recipe
from converters.int8.sensitivity import by_sensitivity, weighted
from edgepose.arrays import Float
from edgepose.errors import ModelError

MAX_CANDIDATES = 8
# The largest part of the groups of operations that may stay in floating point. With less than a quarter in INT8, nothing is
# gained from it.
MAX_FLOAT_SHARE = 0.75


@dataclass(frozen=True)
class Attempt:
    """A network that was tried.

    Attributes:
        name: The way it was made, in words.
        network: The network as it comes back from a file.
        size: The size of that file and its weights, in bytes.
        verdict: The verdict of the gate.
        kept: Names of operations with weights that stay in floating point, by the search.
        where: Their places among all operations with weights, such as "1-5, 155-159".
        runs: Whether it runs at all.
    """

    name: str
    network: ov.Model
    size: int
    verdict: Verdict
    kept: tuple[str, ...] = ()
    where: str = ""
    runs: bool = True


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """The result of a search.

    Attributes:
        floating: The floating-point network that INT8 has to match: the one given, or the one with constant statistics.
        reference: The gate's measurement of it.
        folded: The gate's verdict on constant statistics, if the network computes statistics.
        attempts: INT8 networks, in the order of trial.
        chosen: The one that passed with the least in floating point; None if none did.
    """

    floating: ov.Model
    reference: Result
    folded: Verdict | None
    attempts: tuple[Attempt, ...]
    chosen: Attempt | None


def search(
    given: ov.Model, gate: Gate[Result], tensors: Sequence[Float], recipe: Recipe, say: Callable[[str], None]
) -> Outcome[Result]:
    """Find an INT8 network that passes the gate.

    First NNCF's plain recipe. If the gate refuses that: graphs with channels last are turned, statistics that are computed at
    run time become constants if the gate lets that pass, and the plain recipe gets a second chance. After that, the operations
    are ranked by the harm that INT8 does to each, and the least number of them kept in floating point that passes is found
    by halving.

    Args:
        given: The floating-point network.
        gate: Judges every candidate.
        tensors: Inputs to calibrate on.
        recipe: NNCF's options.
        say: Called with a line of text for every step.

    Raises:
        InputError: The pictures prove nothing about a network, or there are no inputs to calibrate on.
    """
    reference = gate.measure(given)
    say(f"FP32: {gate.describe(reference)}")
    gate.judge(reference, reference)  # raises an error where the pictures prove nothing
    attempts: list[Attempt] = []

    def attempt(name: str, network: ov.Model, kept: Sequence[str] = (), where: str = "") -> Attempt:
        written, size = as_written(quantise(network, tensors, recipe, kept), fp16=True)
        runs = True
        try:
            verdict = gate.judge(reference, gate.measure(written))
        except ModelError as error:
            verdict, runs = Verdict(False, f"does not run: {error}"), False
        attempts.append(Attempt(name, written, size, verdict, tuple(kept), where, runs))
        say(f"INT8, {name}: {verdict.figures}: {'passes' if verdict.passed else 'refused'}")
        return attempts[-1]

    plain = attempt("plain recipe", given)
    if plain.verdict.passed:
        return Outcome(given, reference, None, tuple(attempts), plain)

    folded = None
    base = channels_first(given)
    cleaned = transpositions(base) < transpositions(given)
    if batch_normalisations(base):
        constant = channels_first(with_constant_statistics(base, tensors))
        result = gate.measure(constant)
        folded = gate.judge(reference, result)
        say(f"FP32, statistics made constant: {folded.figures}: {'kept' if folded.passed else 'dropped'}")
        if folded.passed:
            base, cleaned = constant, True
            reference = gate.better(reference, result)
    floating = base if folded is not None and folded.passed else given
    if cleaned:
        plain = attempt("plain recipe on the cleaned graph", base)
        if plain.verdict.passed:
            return Outcome(floating, reference, folded, tuple(attempts), plain)

    groups = by_sensitivity(base, tensors, recipe)
    order = weighted(base)
    low, high, chosen = 0, int(len(groups) * MAX_FLOAT_SHARE) + 1, None
    while high - low > 1 and len(attempts) < MAX_CANDIDATES:
        middle = (low + high) // 2
        kept = [name for group in groups[:middle] for name in group]
        where = _spans(sorted(order.index(name) + 1 for name in kept))
        candidate = attempt(f"{len(kept)} of {len(order)} operations in floating point", base, kept, where)
        if candidate.verdict.passed:
            high, chosen = middle, candidate
        else:
            low = middle
    return Outcome(floating, reference, folded, tuple(attempts), chosen)


def _spans(places: list[int]) -> str:
    """Ascending whole numbers as text, such as "1-5, 9"."""
    starts = [place for place in places if place - 1 not in places]
    ends = [place for place in places if place + 1 not in places]
    return ", ".join(f"{start}-{end}" if start < end else str(start) for start, end in zip(starts, ends, strict=True))
