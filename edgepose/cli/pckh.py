"""`edgepose eval --metric pckh`: the accuracy on MPII's annotations."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any

from edgepose.cli.options import make_estimator
from edgepose.cli.tables import check_figures, count, write_figures


def measure(options: argparse.Namespace, models: list[Any], progress: Callable[[Any, int | None, str], Any]) -> int:
    """Measure and print PCKh; `models` are the model's files, none of which is written over."""
    from edgepose.pckh import evaluate_pckh

    if options.json:
        check_figures(options.json, [options.annotations], models)

    def listed(names: list[str]) -> Iterable[str]:
        if options.json:
            check_figures(options.json, [options.images / name for name in names], [])
        wrapped: Iterable[str] = progress(names, None, "images")
        return wrapped

    # Every joint counts wherever it is put, as in HRNet's code.
    estimator = make_estimator(options, min_score=0.0, min_confidence=0.0)
    boxes: Any = options.boxes or ("annotations" if estimator.model.task == "top-down" else "detector")
    scores = evaluate_pckh(
        estimator, options.annotations, options.images, boxes=boxes, max_images=options.max_images, progress=listed
    )
    protocol = {
        "metric": "PCKh@0.5",
        "model": estimator.model.name,
        "input_size": estimator.input_size,
        "boxes": boxes,
        "min_score": estimator.min_score,
        "flip_test": options.flip_test,
    }
    file = write_figures(options.json, {**scores.to_dict(), **protocol})
    for name, value in scores.figures.items():
        print(f"{name:8} {value:5.1f}", file=file)
    print(
        f"PCKh@0.5, {protocol['model']}, input height {protocol['input_size']}, {count(scores.people, 'person', 'people')} in "
        f"{count(scores.images, 'image')} of {options.annotations}, boxes of the {boxes}, "
        f"{'flip test' if options.flip_test else 'no flip test'}; percent, as HRNet's code has it",
        file=file,
    )
    return 0
