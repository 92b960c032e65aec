"""The life of an estimator: it is closed, and belongs to one process."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

import edgepose

IMAGE = np.full((64, 96, 3), 128, np.uint8)
USES: dict[str, Callable[[edgepose.PoseEstimator], Any]] = {
    "call": lambda estimator: estimator(IMAGE),
    "batch": lambda estimator: estimator.batch([IMAGE]),
    "start": lambda estimator: estimator.start([IMAGE]),
    "stream": lambda estimator: list(estimator.stream([IMAGE])),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_what_is_closed_says_so(tmp_path: Path, use: Callable[[edgepose.PoseEstimator], Any]) -> None:
    with edgepose.PoseEstimator(tiny_models.save(tmp_path)) as estimator:
        use(estimator)
    estimator.close()
    with pytest.raises(edgepose.InputError, match="this PoseEstimator is closed; make a new one"):
        use(estimator)


def test_closing_frees_the_network(tmp_path: Path) -> None:
    estimator = edgepose.PoseEstimator(tiny_models.save(tmp_path))
    estimator(IMAGE)
    engine = weakref.ref(estimator.engine)
    estimator.close()
    gc.collect()
    assert engine() is None
    assert len(edgepose.PoseEstimator(tiny_models.save(tmp_path))(IMAGE)) == 0  # The next one is as good as the first.


def test_closing_one_leaves_others_alone(tmp_path: Path) -> None:
    first, second = (edgepose.PoseEstimator(tiny_models.save(tmp_path)) for _ in range(2))
    second(IMAGE)
    first.close()
    second(IMAGE)
    second(np.full((96, 64, 3), 128, np.uint8))  # A shape that is compiled only now.


@pytest.mark.parametrize("use", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_it_belongs_to_one_process(tiny_estimator: edgepose.PoseEstimator, use: Callable[[object], object]) -> None:
    with pytest.raises(edgepose.InputError, match="make it in each process that uses it: after the fork, or use spawn"):
        use(tiny_estimator)


FORKED = """
import os, sys, numpy as np, edgepose
image = np.full((64, 96, 3), 128, np.uint8)
uses = {
    "call": lambda estimator: estimator(image),
    "batch": lambda estimator: estimator.batch([image]),
    "stream": lambda estimator: next(estimator.stream([image])),
}
estimator = edgepose.PoseEstimator(sys.argv[1])
if sys.argv[2] == "used":
    estimator(image)
child = os.fork()
if child == 0:
    for name, use in uses.items():
        try:
            print(name, use(estimator), flush=True)
        except edgepose.InputError as error:
            print(name, error, flush=True)
    print("a new one finds", len(edgepose.PoseEstimator(sys.argv[1])(image)), flush=True)
    os._exit(0)
print("status", os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("state", ["used", "made"])
def test_a_child_of_a_fork_is_told_and_makes_its_own(tmp_path: Path, state: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(tiny_models.save(tmp_path)), state]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    *told, own, status = done.stdout.splitlines()
    assert [line.split()[0] for line in told] == ["call", "batch", "stream"]
    assert all("make it after the fork, or use spawn" in line for line in told)
    assert (own, status) == ("a new one finds 0", "status 0")
