"""The training loop: it learns, stops, and goes on exactly where it was."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import training_data

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("pycocotools", reason="training needs pycocotools")
pytest.importorskip("safetensors", reason="training writes safetensors")

import torch

from edgepose.errors import EdgePoseError, InputError, ModelError, OutputError
from edgepose.networks import LightweightOpenPose
from edgepose.networks.checkpoints import load_lightweight_openpose, read_state_dict
from edgepose.training import __main__ as command
from edgepose.training import curves, loop, state
from edgepose.training.annotations import read_annotations
from edgepose.training.dataset import Batches
from edgepose.training.images import ImageCache, ImageStore
from edgepose.training.teacher import Teacher

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SMALL = loop.Recipe(width=0.05, batch_size=2, crop=32, steps=6, validate_every=3, learning_rate=3e-3)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path):
    training_data.make(tmp_path)
    cache = ImageCache(ImageStore(tmp_path), max_side=64, max_bytes=1 << 20)
    return read_annotations(tmp_path / "annotations.json"), cache


def run(data, output: Path, recipe: loop.Recipe = SMALL, **more):
    output.mkdir(exist_ok=True)
    photos, cache = data
    return loop.train(recipe, photos[1:], photos[:1], cache, output, device=CPU, **more)


def weights(folder: Path, name: str = loop.LAST) -> dict[str, torch.Tensor]:
    return read_state_dict(folder / name)


def after(steps: int):
    """Asks to stop after so many steps."""
    calls = iter(range(steps))
    return lambda: next(calls, None) is None


def test_a_run_leaves_weights_a_log_and_a_checkpoint(data, tmp_path):
    progress = run(data, tmp_path / "run")
    assert progress.step == 6
    network = LightweightOpenPose(1, 0.05)
    for name in (loop.BEST, loop.LAST):
        load_lightweight_openpose(network, tmp_path / "run" / name)
    rows = curves.read_rows(tmp_path / "run", until_step=99)
    assert [row.step for row in rows] == [3, 6]
    assert all(row.ap is not None and np.isfinite(row.loss) for row in rows)
    assert not list((tmp_path / "run").glob("*.partial"))


def test_the_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    curves.plot_rows(tmp_path, [curves.Row(1, 1.0, 1e-3, 5.0, 10.0), curves.Row(2, 2.0, 1e-3, 4.0, 10.0, 1.5)])
    assert (tmp_path / curves.PLOT).read_bytes().startswith(b"\x89PNG")


def test_the_loss_of_one_batch_decreases(data):
    photos, cache = data
    batch = Batches(photos, cache, batch_size=2, crop=32, seed=0, shares={}).at(0)
    torch.manual_seed(0)
    network = LightweightOpenPose(1, 0.1)
    loop.initialise(network)
    optimiser = loop.make_optimiser(network)
    losses = [float(loop.train_step(network, optimiser, batch, 3e-3, CPU, 32)) for _ in range(30)]
    assert np.mean(losses[-3:]) < 0.7 * losses[0]


def test_unknown_cells_have_no_loss():
    targets, known = torch.zeros(1, 57, 2, 2), torch.ones(1, 57, 2, 2)
    known[:, :, 0, 0] = 0
    maps = [torch.zeros(1, 19, 2, 2), torch.zeros(1, 38, 2, 2)]
    for tensor in maps:
        tensor[:, :, 0, 0] = 100
    assert loop.masked_loss(maps, targets, known) == 0
    maps[1][0, 0, 1, 1] = 2
    assert loop.masked_loss(maps * 2, targets, known) == 2 * 2**2 / 2


def test_a_resumed_run_is_the_uninterrupted_one(data, tmp_path):
    run(data, tmp_path / "whole")
    run(data, tmp_path / "parts", should_stop=after(4))
    assert curves.read_rows(tmp_path / "parts", until_step=99)[-1].step == 4
    progress = run(data, tmp_path / "parts", resume=True, workers=3)
    assert progress.step == 6
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=0, atol=0, msg=name)


def test_a_resumed_run_with_folded_norms_and_a_teacher_is_the_uninterrupted_one(data, tmp_path):
    recipe, teacher = replace(SMALL, fold_norms=True), Teacher(tiny_models.save(tmp_path))
    run(data, tmp_path / "whole", recipe, teacher=teacher)
    run(data, tmp_path / "parts", recipe, teacher=teacher, should_stop=after(4))
    run(data, tmp_path / "parts", recipe, teacher=teacher, resume=True)
    run(data, tmp_path / "alone", recipe)
    whole, parts, alone = (weights(tmp_path / folder) for folder in ("whole", "parts", "alone"))
    assert whole.keys() == LightweightOpenPose(1, 0.05).state_dict().keys()  # the published names
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=0, atol=0, msg=name)
    assert any(not torch.equal(whole[name], alone[name]) for name in whole)  # it has been listened to


def test_a_checkpoint_from_before_norms_could_be_folded_is_resumed(data, tmp_path):
    run(data, tmp_path / "run", should_stop=after(4))
    path = tmp_path / "run" / state.CHECKPOINT
    content = torch.load(path, weights_only=True)
    del content["recipe"]["fold_norms"]
    torch.save(content, path)
    assert run(data, tmp_path / "run", resume=True).step == 6
    with pytest.raises(ModelError, match="fold_norms False, this one has True"):
        run(data, tmp_path / "run", replace(SMALL, fold_norms=True), resume=True)


def test_a_run_without_time_left_stops_and_keeps_the_best(data, tmp_path):
    progress = run(data, tmp_path / "run", replace(SMALL, steps=None, minutes=1e-6))
    assert progress.step == 1
    assert progress.best_step == 1
    before = weights(tmp_path / "run", loop.BEST)
    again = run(data, tmp_path / "run", replace(SMALL, steps=None, minutes=1e-6), resume=True)
    assert again.step == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(tmp_path / "run", loop.BEST).items())


def test_the_best_average_is_kept_when_later_ones_are_worse(data, tmp_path, monkeypatch):
    figures = iter([5.0, 9.0, 7.0])
    monkeypatch.setattr(loop, "held_out_ap", lambda *_: next(figures))
    progress = run(data, tmp_path / "run", replace(SMALL, steps=3, validate_every=1))
    assert (progress.best_ap, progress.best_step) == (9.0, 2)
    best, last = weights(tmp_path / "run", loop.BEST), weights(tmp_path / "run")
    assert not torch.equal(best["cpm.align.0.weight"], last["cpm.align.0.weight"])


def test_the_rate_warms_up_and_follows_a_cosine():
    recipe = replace(SMALL, steps=10_000, learning_rate=1.0)
    rates = [loop.learning_rate(recipe, state.Progress(step)) for step in (0, 149, 299, 5_000, 10_000)]
    assert rates == pytest.approx([1 / 300, 0.5, 1.0, 0.505, 0.01], rel=5e-3)


def test_training_starts_from_a_whole_network_or_a_backbone(data, tmp_path):
    torch.manual_seed(5)
    source = {
        name: torch.randn_like(t) if t.is_floating_point() else t
        for name, t in LightweightOpenPose(2, 0.05).state_dict().items()
    }
    for file, names in (("whole", list(source)), ("backbone", [name for name in source if name.startswith("model.")])):
        np.savez(tmp_path / f"{file}.npz", **{name: source[name].numpy() for name in names})
        network = LightweightOpenPose(1, 0.05)
        loop.initial_weights(network, tmp_path / f"{file}.npz")
        same = {name for name, tensor in network.state_dict().items() if torch.equal(tensor, source[name])}
        assert {name for name in names if not name.startswith("refinement_stages.1.")} <= same
        assert ("cpm.align.0.weight" in same) == (file == "whole")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"width": 0.1}, "is of a run with width 0.05, this one has 0.1", id="width"),
        pytest.param({"refinement_stages": 0}, "refinement_stages 1, this one has 0", id="stages"),
    ],
)
def test_a_checkpoint_of_another_shape_is_refused(data, tmp_path, change, message):
    run(data, tmp_path / "run", replace(SMALL, steps=1))
    with pytest.raises(ModelError, match=message):
        run(data, tmp_path / "run", replace(SMALL, **change), resume=True)


def test_initial_weights_of_another_width_are_refused(data, tmp_path):
    run(data, tmp_path / "run", replace(SMALL, steps=1))
    with pytest.raises(ModelError, match="does not fit"):
        run(data, tmp_path / "other", replace(SMALL, width=0.1), init=tmp_path / "run" / loop.LAST)


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:500])])
def test_nothing_or_half_a_checkpoint_cannot_be_resumed(data, tmp_path, spoil):
    run(data, tmp_path / "run", replace(SMALL, steps=1))
    spoil(tmp_path / "run" / state.CHECKPOINT)
    with pytest.raises(ModelError, match=r"nothing to resume|no training checkpoint, or damaged"):
        run(data, tmp_path / "run", resume=True)


def test_a_full_disk_leaves_the_last_checkpoint(data, tmp_path, monkeypatch):
    run(data, tmp_path / "run", replace(SMALL, steps=2))
    before = (tmp_path / "run" / state.CHECKPOINT).read_bytes()

    def full(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state.torch, "save", full)
    with pytest.raises(OutputError, match=r"cannot be written .*No space left"):
        run(data, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / state.CHECKPOINT).read_bytes() == before
    assert not list((tmp_path / "run").glob("*.partial"))


def test_a_loss_that_is_not_finite_ends_the_run(data, tmp_path):
    with pytest.raises(EdgePoseError, match="the loss is nan at step"):
        run(data, tmp_path / "run", replace(SMALL, learning_rate=1e30))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"steps": None}, "neither minutes nor steps", id="no-end"),
        pytest.param({"crop": 100}, "crop is 100 pixels; expected a multiple of 8", id="crop"),
        pytest.param({"batch_size": 0}, "batch_size is 0; expected a positive number", id="batch"),
        pytest.param({"minutes": float("nan")}, "minutes is nan", id="minutes"),
    ],
)
def test_impossible_recipes_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **change)


def arguments(folder: Path, *more: str) -> list[str]:
    paths = ["--annotations", folder / "annotations.json", "--images", folder, "--output", folder / "run"]
    sizes = ["--width", "0.05", "--batch-size", "2", "--crop", "32", "--held-out", "1", "--device", "cpu", "--workers", "1"]
    return [*map(str, paths), *sizes, *more]


@pytest.mark.usefixtures("_own_signals")
def test_the_command_trains_resumes_and_will_not_overwrite(tmp_path, capsys):
    training_data.make(tmp_path)
    assert command.main(arguments(tmp_path, "--steps", "1")) == 0
    assert command.main(arguments(tmp_path, "--steps", "2")) == 1
    assert "holds a run already; add --resume" in capsys.readouterr().err
    assert command.main(arguments(tmp_path, "--steps", "2", "--resume", "--share", "a=2", "--teacher", "default")) == 0
    assert curves.read_rows(tmp_path / "run", until_step=9)[-1].step == 2


@pytest.mark.usefixtures("_own_signals")
def test_what_is_read_is_never_written_over(tmp_path, capsys):
    training_data.make(tmp_path)
    (tmp_path / "run").mkdir()
    inputs = {"weights.pt": loop.BEST, "annotations.json": curves.LOG, "tiny.xml": loop.LAST, "000.png": curves.PLOT}
    tiny_models.save(tmp_path)
    (tmp_path / "weights.pt").touch()
    more = ["--steps", "1", "--init", str(tmp_path / "weights.pt"), "--teacher", str(tmp_path / "tiny.xml")]
    for name, target in inputs.items():
        (tmp_path / "run" / target).hardlink_to(tmp_path / name)
        given = more if name != "000.png" else more[:2]
        assert command.main([*arguments(tmp_path), *given]) == 1
        assert f"{target}: is " in capsys.readouterr().err
        (tmp_path / "run" / target).unlink()
    assert os.listdir(tmp_path / "run") == []


@pytest.mark.usefixtures("_own_signals")
def test_the_command_says_what_is_wrong_in_one_line(tmp_path, capsys):
    training_data.make(tmp_path)
    (tmp_path / "002.png").unlink()
    assert command.main(arguments(tmp_path, "--steps", "1")) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "002.png is missing" in error
    assert command.main([*arguments(tmp_path, "--steps", "1"), "--device", "nonsense"]) == 1
    assert "there is no device 'nonsense'; PyTorch finds here: cpu" in capsys.readouterr().err
    assert command.main([*arguments(tmp_path, "--steps", "1"), "--fold-norms"]) == 1
    assert "needs trained weights; give them with --init" in capsys.readouterr().err
    for wrong in (["--steps", "many"], ["--share", "a=much"]):
        with pytest.raises(SystemExit, match="2"):
            command.main(arguments(tmp_path, *wrong))
    assert "'a=much' given; expected SOURCE=WEIGHT" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


ENDINGS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@pytest.fixture
def _own_signals():
    """Puts back the handlers that the command sets."""
    before = {number: signal.getsignal(number) for number in ENDINGS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize("number", ENDINGS)
def test_a_run_asked_to_stop_ends_cleanly(tmp_path, number, monkeypatch):
    training_data.make(tmp_path)

    def ask(*_: object) -> float:
        handler = signal.getsignal(number)
        assert callable(handler)
        handler(number, None)  # as Python calls it when the signal comes
        return 1.0

    monkeypatch.setattr(loop, "held_out_ap", ask)
    assert command.main(arguments(tmp_path, "--steps", "1000000", "--validate-every", "2")) == 0
    assert state_of(tmp_path)["step"] == 2
    assert (tmp_path / "run" / loop.BEST).exists()


@pytest.mark.usefixtures("_own_signals")
def test_a_killed_run_resumes(tmp_path):
    training_data.make(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(loop.__file__).parents[2])}
    endless = arguments(tmp_path, "--steps", "1000000", "--validate-every", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "edgepose.training", *endless], env=environment, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / loop.BEST).exists() and process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    process.kill()
    assert process.wait(60) != 0
    saved = state_of(tmp_path)["step"]
    assert command.main(arguments(tmp_path, "--steps", str(saved + 1), "--resume")) == 0
    assert curves.read_rows(tmp_path / "run", until_step=10**9)[-1].step == saved + 1


def state_of(folder: Path) -> dict[str, int]:
    return torch.load(folder / "run" / state.CHECKPOINT, weights_only=True)["progress"]
