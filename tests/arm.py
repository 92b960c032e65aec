"""The core of the suite on another processor, such as an emulated 64-bit ARM, and its poses against this machine's.

    python tests/arm.py --python "qemu-aarch64-static -L ROOT ROOT/usr/bin/python3.11" --photos photos/

`--python` is any command that acts as Python there: an emulator with its userland as here (PYTHONPATH, which is passed on, says
where its packages are), or `ssh` to a board that sees the same folders. It needs the core dependencies, pytest, hypothesis
and scipy there. With qemu, QEMU_CPU=cortex-a72 is the processor of a Raspberry Pi 4, and cortex-a76 that of a Pi 5,
on which OpenVINO takes FP16 by itself; emulated, FP16 is ten times as slow as the rest. An hour is nothing unusual, and says
nothing about a board: nothing here is timed.

Passes (status 0) if all tests do, `edgepose doctor` finds nothing wrong, and the poses of every `--model` are the same people
with the same keypoints within `--tolerance` pixels of the photo, at f32 on both sides. INT8 models do not pass: ARM computes
them in floats, and where a value is rounded to the other side doubtful keypoints come and go.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]

# Decoding against its NumPy twin, tracking, engine, estimator, embedded model, command line. Left out: what starts another
# Python (an emulated one can start none, unless the kernel knows of the emulator), and what only waits there for long.
CORE = {
    "resizing": None,
    "peaks": None,
    "grouping": None,
    "decode_poses": None,
    "heatmaps": None,
    "assignment": None,
    "tracking": None,
    "engine_openvino": None,
    "top_down": "not perfect_ap",
    "estimator": "people_of_real_photos or tiny_and_narrow or no_image or given_boxes or default_model",
    "embedded": None,
    "cli": "image_to_picture or formats or video_to_video or bad_models or doctor",
}  # module of tests/ -> pytest -k

# By name: the default model need not be the same on both sides.
MODEL = "lightweight-openpose-075"

Points = NDArray[np.float64]  # (N, K, 3) x, y in pixels, score; NaN where not found


def environment(folder: Path) -> dict[str, str]:
    """This one's, with caches of its own: compiled kernels and networks are for one kind of processor."""
    caches = {"NUMBA_CACHE_DIR": "numba", "XDG_CACHE_HOME": "cache", "HYPOTHESIS_STORAGE_DIRECTORY": "hypothesis"}
    return {"PYTHONDONTWRITEBYTECODE": "1", **os.environ, **{name: str(folder / place) for name, place in caches.items()}}


def run_tests(python: list[str], modules: list[str], env: dict[str, str]) -> dict[str, bool]:
    """Whether the tests of each module pass there; their output is shown as it comes."""
    passed = {}
    for module in modules:
        command = [*python, "-m", "pytest", "-p", "no:cacheprovider", "-ra", f"tests/test_{module}.py"]
        if CORE.get(module):
            command += ["-k", str(CORE[module])]
        print(f"\ntests/test_{module}.py", flush=True)
        passed[module] = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode == 0
    return passed


def poses(python: list[str], model: str, options: argparse.Namespace, env: dict[str, str], path: Path) -> dict[str, Points]:
    """The people that `edgepose run` finds there on each of the photos, by file name; nothing at all if it fails."""
    command = [*python, "-m", "edgepose", "run", str(options.photos), "--model", model, "--json", str(path)]
    command += ["--precision", options.precision, "--max-frames", str(options.count), "--height", str(options.height)]
    if subprocess.run(command, cwd=ROOT, env=env, check=False).returncode:
        return {}
    people = {}
    for entry in json.loads(path.read_text()):
        found = [[point or [np.nan] * 3 for point in person["keypoints"]] for person in entry["poses"]]
        keypoints = len(found[0]) if found else 18
        people[Path(entry["image"]["path"]).name] = np.array(found, np.float64).reshape(len(found), keypoints, 3)
    return people


def compare(here: Points, there: Points) -> dict[str, Any]:
    """People of one photo, N here and M there, paired by where they are.

    Returns:
        people_here, people_there; alone: keypoints that one side found and the other did not, in pairs and in those without a
        partner; median_px, pixels: the median and largest distance of the keypoints that both found; score: their largest
        difference in score.
    """
    alone, scores = 0, [0.0]
    distances: list[float] = []
    left = list(range(len(there)))
    for person in here:
        gaps = [np.linalg.norm(there[m, :, :2] - person[:, :2], axis=-1) for m in left]  # (K,) each
        means = [float(gap[np.isfinite(gap)].mean()) if np.isfinite(gap).any() else np.inf for gap in gaps]
        if min(means, default=np.inf) == np.inf:
            alone += int(np.isfinite(person[:, 0]).sum())
            continue
        best = means.index(min(means))
        gap, partner = gaps[best], there[left.pop(best)]
        both = np.isfinite(gap)
        alone += int((np.isfinite(person[:, 0]) != np.isfinite(partner[:, 0])).sum())
        distances += gap[both].tolist()
        scores.append(float(np.abs(person[both, 2] - partner[both, 2]).max()))
    alone += int(np.isfinite(there[left, :, 0]).sum())
    places = {"median_px": float(np.median(distances or [0.0])), "pixels": max(distances, default=0.0)}
    return {"people_here": len(here), "people_there": len(there), "alone": alone, **places, "score": max(scores)}


def agree(row: dict[str, Any], tolerance: float) -> bool:
    """Whether a row of `compare` is good enough."""
    return bool(row["alone"] == 0 and row["pixels"] <= tolerance)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, type=shlex.split, metavar="COMMAND", help="that acts as the other Python")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="a folder of photos; without it no poses are compared")
    parser.add_argument("--count", type=int, default=4, help="how many of them, in order of name (default: %(default)s)")
    parser.add_argument("--model", action="append", metavar="M", help=f"a name or file; may be repeated (default: {MODEL})")
    parser.add_argument("--height", type=int, default=256, help="of the network's input (default: %(default)s)")
    parser.add_argument("--precision", default="f32", choices=("f32", "f16"), help="of the other side (default: %(default)s)")
    parser.add_argument("--tolerance", type=float, default=0.5, help="pixels of the photo (default: %(default)s)")
    parser.add_argument("--tests", nargs="*", default=list(CORE), metavar="MODULE", help=f"of {' '.join(CORE)} (default: all)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep caches and poses here; the next run starts faster")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write what came out")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        work = (options.work or Path(scratch)).resolve()
        env = environment(work)
        said = [*options.python, "-c", "import platform; print(platform.machine(), platform.python_version())"]
        machine = subprocess.run(said, env=env, check=True, capture_output=True, text=True).stdout.strip()
        print(f"here {platform.machine()} {platform.python_version()}, there {machine}", flush=True)
        work.mkdir(parents=True, exist_ok=True)

        passed = run_tests(options.python, options.tests, env)
        doctor = [*options.python, "-m", "edgepose", "doctor"]
        print("\nedgepose doctor", flush=True)
        passed["doctor"] = subprocess.run(doctor, cwd=ROOT, env=env, check=False).returncode == 0

        rows: list[dict[str, Any]] = []
        models = (options.model or [MODEL]) if options.photos else []
        for number, model in enumerate(models):
            print(f"\nposes of {model}", flush=True)
            there = poses(options.python, model, options, env, work / f"there-{number}.json")
            options_here = argparse.Namespace(**{**vars(options), "precision": "f32"})
            here = poses([sys.executable], model, options_here, dict(os.environ), work / f"here-{number}.json")
            name = Path(model).stem
            found = [{"model": name, "photo": p, **compare(here[p], there[p])} for p in here if p in there]
            passed[f"poses of {name}"] = len(found) > 0 and all(agree(row, options.tolerance) for row in found)
            rows += found

    print("\n| model | photo | people here | there | keypoints on one side alone | median px | largest px | score |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    print("\n" + ", ".join(f"{name} {'passed' if ok else 'FAILED'}" for name, ok in passed.items()))
    if options.json:
        options.json.write_text(json.dumps({"there": machine, "passed": passed, "poses": rows}, indent=1) + "\n")
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
