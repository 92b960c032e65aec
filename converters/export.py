"""A PyTorch checkpoint as an OpenVINO IR that describes itself.

    python -m converters.export lightweight-openpose --checkpoint FILE [--width W] [--refinement-stages N] --output DIR
    python -m converters.export hrnet --variant w32|w48|w32-compact --checkpoint FILE --output DIR
    python -m converters.export higher-hrnet [--variant w32|w48] --checkpoint FILE --output DIR

A checkpoint is read without running anything in it. The files are written only if they answer as PyTorch does.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from converters import command
from converters.files import check_outputs
from edgepose.errors import ModelError
from edgepose.skeleton import SKELETONS
from edgepose.zoo import registry
from edgepose.zoo.registry import Model

if TYPE_CHECKING:
    from torch import nn

# The zoo's model that describes every model of a network: its variants differ only in their hidden layers.
ENTRIES = {"lightweight-openpose": "lightweight-openpose", "hrnet": "hrnet-w32", "higher-hrnet": "higher-hrnet-w32"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m converters.export", description="Convert a PyTorch checkpoint to an OpenVINO IR that describes itself."
    )
    networks = parser.add_subparsers(dest="network", required=True, metavar="NETWORK")
    names = "Reads files with the tensor names of the official code, of mmpose 0.x and 1.x, and of edgepose."

    about = "Reads the public training checkpoint, and the .pt, .safetensors and .npz files of edgepose."
    openpose = networks.add_parser("lightweight-openpose", help="Lightweight OpenPose", description=about)
    openpose.add_argument(
        "--refinement-stages", type=int, default=1, metavar="N", help="refinement stages of the network (default: %(default)s)"
    )
    openpose.add_argument("--drop-extra-stages", action="store_true", help="leave out what the checkpoint has beyond N stages")
    openpose.add_argument(
        "--width", type=float, default=1.0, metavar="W", help="factor on the network's channels (default: %(default)s)"
    )

    hrnet = networks.add_parser("hrnet", help="HRNet, top-down", description=names)
    hrnet.add_argument("--variant", choices=("w32", "w48", "w32-compact"), required=True)

    about = f"{names} The IR answers final heatmaps and tags: what inference does to the two outputs is part of the graph."
    higher = networks.add_parser("higher-hrnet", help="HigherHRNet, bottom-up", description=about)
    higher.add_argument("--variant", choices=("w32", "w48"), default="w32", help="width of the network (default: %(default)s)")

    for network, subparser in networks.choices.items():
        _add_common_options(subparser, registry.get(ENTRIES[network]))
    options = parser.parse_args(arguments)
    return command.run(f"{parser.prog} {options.network}", lambda: _export(options))


def under_former_name(network: str, arguments: list[str] | None = None) -> int:
    """Run `main` for a network as the module with its name did, and say on standard error what to call instead."""
    former = f"python -m converters.{network.replace('-', '_')}"
    new = f"python -m converters.export {network}"
    print(f"{former} is now called {new}; the former name goes with the next version", file=sys.stderr)
    return main([network, *(sys.argv[1:] if arguments is None else arguments)])


def _add_common_options(parser: argparse.ArgumentParser, entry: Model) -> None:
    """Options that every network takes; the defaults come from the zoo's `entry`."""
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="FILE", help="file to convert: .pth, .pt, .tar, .safetensors or .npz")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for NAME.xml and NAME.bin")
    add("--name", type=command.file_name, help="name of the files (default: NETWORK_VARIANT)")
    height, width = entry.size
    usual = f"{width}x{height}; 256x256 for MPII's 16 keypoints" if entry.decoder == "heatmaps" else f"{width}x{height}"
    command.add_input_size(parser, f"usual size of the network's input (default: {usual})")
    for option, default, what in (
        ("--min-score", entry.min_score, "score of a keypoint"),
        ("--min-confidence", entry.min_confidence, "confidence of a person"),
    ):
        about = f"least {what} that is shown (default: {default:g})"
        add(option, type=command.number(0, 1), default=default, metavar="S", help=about)
    add("--precision", choices=("FP16", "FP32"), default="FP16", help="type of the weights (default: %(default)s)")
    add("--onnx", action="store_true", help="write NAME.onnx and NAME.yaml, too")
    about = "photos to compare with PyTorch on (default: scikit-image's sample)"
    add("--photos", type=Path, nargs="+", default=[], help=about)
    add("--source", default=entry.source, help="source of the weights, for the model's description")
    add("--licence", default=entry.licence, help="licence of the weights, likewise (default: %(default)s)")


def _export(options: argparse.Namespace) -> None:
    variant = f"_{options.variant}" if "variant" in options else ""
    name = options.name or f"{options.network}{variant}".replace("-", "_")
    check_outputs(options.output, name, [options.checkpoint, *options.photos])
    entry = registry.get(ENTRIES[options.network])
    if options.input_size is not None:
        command.check_input_size(options.input_size, entry.multiple)
    command.need("torch", *(["onnx"] if options.onnx else []))
    entry = _with_its_keypoints(entry, options.checkpoint) if options.network == "hrnet" else entry
    model = replace(
        entry, name=name, size=options.input_size or entry.size, min_score=options.min_score,
        min_confidence=options.min_confidence,
        source=options.source, licence=options.licence,
        files=(), conversion=None, gflops=None, ap=None, ap_protocol=None, notes=None,
    )  # fmt: skip

    from converters.openvino_ir import write_ir

    write_ir(
        _load(options, model), model=model, folder=options.output, precision=options.precision, photos=options.photos,
        onnx=options.onnx,
    )  # fmt: skip


def _with_its_keypoints(entry: Model, checkpoint: Path) -> Model:
    """The description of HRNet with the skeleton that has as many keypoints as the checkpoint has heatmaps.

    Raises:
        ModelError: It cannot be read, or there is no such skeleton.
    """
    from edgepose.networks import checkpoints

    count = checkpoints.count_heatmaps(checkpoints.read_state_dict(checkpoint))
    fitting = [skeleton.name for skeleton in SKELETONS.values() if len(skeleton) == count]
    if count in (0, *entry.outputs):  # What is no HRNet at all is refused as it is loaded.
        return entry
    if not fitting:
        counts = ", ".join(str(len(skeleton)) for skeleton in SKELETONS.values())
        raise ModelError(f"{checkpoint} gives {count} heatmaps; expected as many as a skeleton has keypoints: {counts}")
    # MPII's models have square inputs (arXiv 1902.09212).
    return replace(entry, skeleton=fitting[0], outputs=(count,), size=(256, 256) if fitting[0] == "mpii16" else entry.size)


def _load(options: argparse.Namespace, model: Model) -> nn.Module:
    """The network that the options describe, with the weights of the checkpoint."""
    from edgepose import networks
    from edgepose.networks import checkpoints
    from edgepose.networks.higher_hrnet import FinalMaps
    from edgepose.networks.hrnet import VARIANTS

    if options.network == "lightweight-openpose":
        openpose = networks.LightweightOpenPose(options.refinement_stages, options.width)
        checkpoints.load_lightweight_openpose(openpose, options.checkpoint, drop_extra_stages=options.drop_extra_stages)
        return openpose
    if options.network == "hrnet":
        hrnet = networks.HRNet(replace(VARIANTS[options.variant], keypoints=model.outputs[0]))
        checkpoints.load_hrnet(hrnet, options.checkpoint)
        return hrnet
    higher = networks.HigherHRNet.variant(options.variant)
    checkpoints.load_higher_hrnet(higher, options.checkpoint)
    return FinalMaps(higher)


if __name__ == "__main__":
    sys.exit(main())
