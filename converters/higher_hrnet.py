"""A HigherHRNet checkpoint to OpenVINO IR.

    python -m converters.higher_hrnet --checkpoint C [--variant w32|w48] [--size HxW] [--precision FP16|FP32]
        [--name NAME] [--onnx] --output DIR

Takes files with the tensor names of the official code, of mmpose 0.x and 1.x, and of edgepose. What inference does to the
two outputs is part of the graph: the IR answers final heatmaps and tags.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from converters import command
from edgepose.media.outputs import check_folder
from edgepose.zoo import registry

ENTRY = registry.get("higher-hrnet-w32")  # describes W48, too: they differ inside alone
VARIANTS = ("w32", "w48")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m converters.higher_hrnet", description="A HigherHRNet checkpoint to OpenVINO IR."
    )
    parser.add_argument("--variant", choices=VARIANTS, default="w32", help="(default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help=".pth, .pt, .tar, .safetensors or .npz")
    command.add_export_options(parser, ENTRY, "higher_hrnet_VARIANT")
    options = parser.parse_args(arguments)
    return command.run(parser.prog, lambda: _convert(options))


def _convert(options: argparse.Namespace) -> None:
    arguments = command.export_arguments(options, ENTRY, f"higher_hrnet_{options.variant}")
    check_folder(options.output)
    command.need("torch")

    from converters.export import export
    from edgepose.networks import HigherHRNet
    from edgepose.networks.checkpoints import load_higher_hrnet
    from edgepose.networks.higher_hrnet import FinalMaps

    network = HigherHRNet.variant(options.variant)
    load_higher_hrnet(network, options.checkpoint)
    export(FinalMaps(network), **arguments)


if __name__ == "__main__":
    sys.exit(main())
