"""A Lightweight OpenPose checkpoint to OpenVINO IR.

    python -m converters.lightweight_openpose --checkpoint C [--refinement-stages N] [--width W] [--size HxW]
        [--precision FP16|FP32] [--name NAME] [--onnx] --output DIR

Takes the public training checkpoint, and edgepose's own .pt, .safetensors and .npz files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from converters import command
from edgepose.media.outputs import check_folder
from edgepose.zoo import registry

ENTRY = registry.get("lightweight-openpose")  # describes every model of this network
NAME = "lightweight_openpose"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m converters.lightweight_openpose", description="A Lightweight OpenPose checkpoint to OpenVINO IR."
    )
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help=".pth, .pt, .tar, .safetensors or .npz")
    parser.add_argument("--refinement-stages", type=int, default=1, metavar="N", help="of the network (default: %(default)s)")
    parser.add_argument("--drop-extra-stages", action="store_true", help="leave out the file's refinement stages beyond N")
    parser.add_argument("--width", type=float, default=1.0, metavar="W", help="factor on all channels (default: %(default)s)")
    command.add_export_options(parser, ENTRY, NAME)
    options = parser.parse_args(arguments)
    return command.run(parser.prog, lambda: _convert(options))


def _convert(options: argparse.Namespace) -> None:
    arguments = command.export_arguments(options, ENTRY, NAME)
    check_folder(options.output)
    command.need("torch")

    from converters.export import export
    from edgepose.networks import LightweightOpenPose
    from edgepose.networks.checkpoints import load_lightweight_openpose

    network = LightweightOpenPose(options.refinement_stages, options.width)
    load_lightweight_openpose(network, options.checkpoint, drop_extra_stages=options.drop_extra_stages)
    export(network, **arguments)


if __name__ == "__main__":
    sys.exit(main())
