"""The record of a run: a CSV file with a row per interval, and a picture of its curves."""

from __future__ import annotations

import csv
import logging
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from edgepose.training.state import replace_file

_log = logging.getLogger(__name__)

LOG = "log.csv"
PLOT = "curves.png"


@dataclass(frozen=True)
class Row:
    """An interval of a run: where it ended, its mean loss, and the held-out AP if it was measured there."""

    step: int
    seconds: float
    learning_rate: float
    loss: float
    crops_per_second: float
    ap: float | None = None


def read_rows(folder: Path, *, until_step: int) -> list[Row]:
    """The rows that a run has written, up to a step; those beyond its checkpoint are to be trained again."""
    path = folder / LOG
    if not path.is_file():
        return []
    rows = []
    with path.open(newline="") as file:
        for values in csv.DictReader(file):
            numbers = {name: float(value) for name, value in values.items() if value}
            if numbers["step"] <= until_step:
                rows.append(Row(int(numbers.pop("step")), **numbers))
    return rows


def write_rows(folder: Path, rows: list[Row]) -> None:
    """Write all rows of a run, in place of what is there.

    Raises:
        OutputError: They cannot be written.
    """

    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(field.name for field in fields(Row))
            for row in rows:
                writer.writerow("" if value is None else f"{value:.6g}" for value in astuple(row))

    replace_file(folder / LOG, write)


def plot_rows(folder: Path, rows: list[Row]) -> None:
    """Draw loss, held-out AP and learning rate over the steps, if matplotlib is installed.

    Raises:
        OutputError: The picture cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        _log.warning("matplotlib is not installed, so there is no %s; %s has the figures", PLOT, LOG)
        return
    figure = Figure(figsize=(8, 9), layout="constrained")
    loss, ap, rate = figure.subplots(3, 1, sharex=True)
    steps = [row.step for row in rows]
    loss.plot(steps, [row.loss for row in rows])
    loss.set(ylabel="loss", yscale="log")
    measured = [(row.step, row.ap) for row in rows if row.ap is not None]
    ap.plot([step for step, _ in measured], [value for _, value in measured], marker="o")
    ap.set(ylabel="held-out AP of the EMA, %")
    rate.plot(steps, [row.learning_rate for row in rows])
    rate.set(ylabel="learning rate", xlabel="step")
    replace_file(folder / PLOT, lambda path: figure.savefig(path, dpi=100, format="png"))
