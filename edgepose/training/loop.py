"""The training loop: batches in, the best average of the weights out, and everything needed to go on at any moment."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from edgepose.errors import EdgePoseError, InputError
from edgepose.networks import LightweightOpenPose
from edgepose.networks.checkpoints import load_lightweight_openpose, load_tensors, read_state_dict
from edgepose.training.annotations import Photo
from edgepose.training.augmentation import colour_crops, cut_crops
from edgepose.training.curves import Row, plot_rows, read_rows, write_rows
from edgepose.training.dataset import Batch, Batches
from edgepose.training.folding import fold_norms, unfolded
from edgepose.training.images import ImageCache
from edgepose.training.state import Averaged, Progress, load_checkpoint, save_checkpoint, save_weights
from edgepose.training.targets import STRIDE, draw_targets, draw_weights
from edgepose.training.teacher import Teacher, blended
from edgepose.training.validation import held_out_ap

_log = logging.getLogger(__name__)

BEST, LAST = "best.safetensors", "last.safetensors"
BACKBONE_RATE = 0.4  # of the learning rate: the backbone starts trained
WARM_UP_STEPS = 300
FINAL_RATE = 0.01  # of the learning rate, at the end of the cosine
WEIGHT_DECAY = 0.01
LOG_EVERY = 50  # steps


@dataclass(frozen=True)
class Recipe:
    """The settings of a run.

    Attributes:
        width, refinement_stages: Of the network.
        batch_size, crop: Crops a step, and their side in pixels, a multiple of 8.
        learning_rate: Its peak.
        minutes: Time to train in all, resumptions included; None for no limit.
        steps: Steps to train in all; None for no limit. One of both is needed; the cosine follows the steps if given.
        ema: Decay of the average of the weights.
        validate_every: Steps between measurements of the held-out AP.
        shares: Weights of the sources of photos, by name; 1 for those not named.
        fold_norms: Keep batch norms as they are, folded, and the first blocks; see `folding`.
        save_minutes: Time between checkpoints, at most.
        seed: Of everything random.
    """

    width: float = 0.75
    refinement_stages: int = 1
    batch_size: int = 16
    crop: int = 224
    learning_rate: float = 1e-3
    minutes: float | None = None
    steps: int | None = None
    ema: float = 0.999
    validate_every: int = 500
    shares: Mapping[str, float] = field(default_factory=dict)
    fold_norms: bool = False
    save_minutes: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.minutes is None and self.steps is None:
            raise InputError("neither minutes nor steps are given; say how long to train with --minutes or --steps")
        if self.crop < STRIDE or self.crop % STRIDE:
            raise InputError(f"crop is {self.crop} pixels; expected a multiple of {STRIDE}")
        for name in ("batch_size", "learning_rate", "minutes", "steps", "validate_every"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} is {value}; expected a positive number")


# A resumed run cannot change these, which decide the shape of the weights.
_FIXED = ("width", "refinement_stages", "fold_norms")


def initial_weights(network: LightweightOpenPose, path: str | Path) -> None:
    """Start from a file: weights of the whole network, or of its backbone alone.

    Raises:
        ModelError: The file cannot be read or does not fit.
    """
    tensors = read_state_dict(path)
    if all(name.startswith("model.") for name in tensors):
        _log.info("%s has weights of the backbone alone; the rest starts at random", path)
        rest = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("model.")}
        load_tensors(network, rest | tensors, source=path, hint="choose --width as in the file")
    else:
        load_lightweight_openpose(network, path, drop_extra_stages=True)


def initialise(network: LightweightOpenPose) -> None:
    """Kaiming's weights for a start from nothing; the maps start near zero."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.out_channels in (19, 38) and name.endswith("1.0"):
                nn.init.normal_(module.weight, std=1e-3)
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def masked_loss(maps: Sequence[Tensor], targets: Tensor, weights: Tensor) -> Tensor:
    """Half the squared error over the known cells, summed over the stages, per crop.

    Args:
        maps: Heatmaps (B, 19, h, w), PAFs (B, 38, h, w) of every stage in turn.
        targets, weights: (B, 57, h, w).
    """
    total = targets.new_zeros(())
    for heatmaps, pafs in zip(maps[::2], maps[1::2], strict=True):
        error = torch.cat([heatmaps, pafs], dim=1).float() - targets
        total = total + (error.square() * weights).sum()
    return total / (2 * len(targets))


def finished(recipe: Recipe, progress: Progress) -> bool:
    """Whether the recipe's steps or time are over."""
    steps, minutes = recipe.steps, recipe.minutes
    return (steps is not None and progress.step >= steps) or (minutes is not None and progress.seconds >= 60 * minutes)


def learning_rate(recipe: Recipe, progress: Progress) -> float:
    """Of the next step: a linear warm-up, then a cosine over the recipe's steps, or else over its time."""
    if recipe.steps is not None:
        share = progress.step / recipe.steps
    else:
        assert recipe.minutes is not None
        share = progress.seconds / (60 * recipe.minutes)
    cosine = FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * min(1.0, share))) / 2
    return recipe.learning_rate * min(1.0, (progress.step + 1) / WARM_UP_STEPS) * cosine


def precision_of(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it faster than in float32."""
    if device.type == "cuda":
        return torch.bfloat16
    abilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.6
    return torch.bfloat16 if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else torch.float32


def train(
    recipe: Recipe,
    photos: Sequence[Photo],
    held_out: Sequence[Photo],
    cache: ImageCache,
    output: Path,
    *,
    device: torch.device,
    init: str | Path | None = None,
    teacher: Teacher | None = None,
    resume: bool = False,
    workers: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> Progress:
    """Train until the recipe's time or steps are over or `should_stop` says so.

    The folder then holds `best.safetensors` and `last.safetensors` (averages of the weights: at the best held-out AP,
    and at the end), the checkpoint, `log.csv` and `curves.png`.

    Raises:
        ModelError: The initial weights or the checkpoint do not fit.
        OutputError: The folder cannot be written to.
        EdgePoseError: The loss is no longer finite.
    """
    torch.manual_seed(recipe.seed)
    network = LightweightOpenPose(recipe.refinement_stages, recipe.width)
    initialise(network)
    if init is not None and not resume:
        initial_weights(network, init)
    if recipe.fold_norms:
        fold_norms(network)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = make_optimiser(network)
    averaged = Averaged(network, recipe.ema)
    progress = load_checkpoint(output, network, averaged, optimiser, asdict(recipe), _FIXED) if resume else Progress()
    rows = read_rows(output, until_step=progress.step) if resume else []
    run = _Run(recipe, network, averaged, optimiser, progress, rows, held_out, cache, output, device)
    save_checkpoint(output, network, averaged, optimiser, progress, asdict(recipe))  # a full disk shows now, not in hours
    plot_rows(output, rows)

    source = Batches(
        photos, cache, batch_size=recipe.batch_size, crop=recipe.crop, seed=recipe.seed, shares=recipe.shares
    )  # fmt: skip
    batches = source.start(progress.step, workers)
    compiled = torch.compile(network) if device.type == "cuda" else network
    network.train()
    losses: list[Tensor] = []
    saved = started = time.monotonic()
    earlier = progress.seconds
    bar = tqdm(total=recipe.steps, initial=progress.step, unit="step", disable=None)
    try:
        while not (finished(recipe, progress) or should_stop()):
            rate = learning_rate(recipe, progress)
            losses.append(train_step(compiled, optimiser, next(batches), rate, device, recipe.crop, teacher))
            progress.step += 1
            averaged.update(network, progress.step)
            progress.seconds = earlier + time.monotonic() - started
            bar.update()
            due = progress.step % recipe.validate_every == 0
            if due or progress.step % LOG_EVERY == 0:
                run.log(losses)
                bar.set_postfix(loss=f"{rows[-1].loss:.1f}", best_ap=f"{progress.best_ap:.1f}")
                losses.clear()
            if due:
                run.validate()
            if time.monotonic() - saved > recipe.save_minutes * 60:
                run.save()
                saved = time.monotonic()
    finally:
        batches.close()  # type: ignore[attr-defined]
        bar.close()
    if losses:
        run.log(losses)
    if rows and rows[-1].ap is None:
        run.validate()
    return progress


@dataclass
class _Run:
    """A run's parts, and the steps that come at intervals: logging, validation and saving."""

    recipe: Recipe
    network: LightweightOpenPose
    averaged: Averaged
    optimiser: torch.optim.Optimizer
    progress: Progress
    rows: list[Row]
    held_out: Sequence[Photo]
    cache: ImageCache
    output: Path
    device: torch.device

    def log(self, losses: Sequence[Tensor]) -> None:
        """Add a row for the steps since the last one."""
        loss = float(torch.stack(list(losses)).mean())
        if not math.isfinite(loss):
            raise EdgePoseError(f"the loss is {loss} at step {self.progress.step}; lower --learning-rate and --resume")
        since = self.rows[-1].seconds if self.rows else 0.0
        rate = len(losses) * self.recipe.batch_size / max(self.progress.seconds - since, 1e-9)
        self.rows.append(Row(self.progress.step, self.progress.seconds, learning_rate(self.recipe, self.progress), loss, rate))

    def validate(self) -> None:
        """Measure the average of the weights on the held-out photos, and keep it if it is the best."""
        network = copy.deepcopy(self.network).eval()
        network.load_state_dict(self.averaged.weights)
        ap = held_out_ap(network, self.held_out, self.cache, self.device)
        _log.info("step %d, %.0f min: held-out AP %.1f", self.progress.step, self.progress.seconds / 60, ap)
        self.rows[-1] = replace(self.rows[-1], ap=ap)
        if ap >= self.progress.best_ap:
            self.progress.best_ap, self.progress.best_step = ap, self.progress.step
            save_weights(self.output / BEST, self._weights())
        self.save()

    def save(self) -> None:
        """Write the weights, the log, the curves and the checkpoint."""
        save_weights(self.output / LAST, self._weights())
        write_rows(self.output, self.rows)
        plot_rows(self.output, self.rows)
        save_checkpoint(self.output, self.network, self.averaged, self.optimiser, self.progress, asdict(self.recipe))

    def _weights(self) -> dict[str, Tensor]:
        """The average of the weights, by the names of the network as it is published."""
        recipe, weights = self.recipe, self.averaged.weights
        return unfolded(weights, LightweightOpenPose(recipe.refinement_stages, recipe.width)) if recipe.fold_norms else weights


def make_optimiser(network: LightweightOpenPose) -> torch.optim.Optimizer:
    """AdamW in four groups: the backbone learns slower, and only convolutions' weights decay."""
    groups = []
    for backbone in (True, False):
        for decays in (True, False):
            named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
            chosen = [p for n, p in named if n.startswith("model.") == backbone and (p.ndim > 1) == decays]
            rate, decay = BACKBONE_RATE if backbone else 1.0, WEIGHT_DECAY if decays else 0.0
            groups.append({"params": chosen, "rate": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def train_step(
    network: Callable[[Tensor], list[Tensor]],
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    learning_rate: float,
    device: torch.device,
    crop: int,
    teacher: Teacher | None = None,
) -> Tensor:
    """Update the weights once; returns the loss."""
    batch = batch.to(device)
    with torch.no_grad():
        images, crowds = cut_crops(batch.canvases, batch.to_canvas, crop)
        images = colour_crops(images, batch.looks).contiguous(memory_format=torch.channels_last)
        cells = crop // STRIDE
        targets = draw_targets(batch.marks, len(images), cells, cells)
        weights = draw_weights(batch.marks, functional.avg_pool2d(crowds, STRIDE))
        if teacher is not None:
            targets, weights = blended(targets, weights, teacher.maps(images))
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group["rate"]
    precision = precision_of(device)
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        maps = network(images)
    loss = masked_loss(maps, targets, weights)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.detach()
