"""An HRNet checkpoint to OpenVINO IR.

    python -m converters.hrnet --variant w32|w48|w32-compact --checkpoint C [--size HxW] [--precision FP16|FP32]
        [--name NAME] [--onnx] --output DIR

Takes files with the tensor names of the official code, of mmpose 0.x and 1.x, and of edgepose.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from converters import command
from edgepose.media.outputs import check_folder
from edgepose.zoo import registry

ENTRY = registry.get("hrnet-w32")  # describes the other variants, too: they differ inside alone
VARIANTS = ("w32", "w48", "w32-compact")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m converters.hrnet", description="An HRNet checkpoint to OpenVINO IR.")
    parser.add_argument("--variant", choices=VARIANTS, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help=".pth, .pt, .tar, .safetensors or .npz")
    command.add_export_options(parser, ENTRY, "hrnet_VARIANT")
    options = parser.parse_args(arguments)
    return command.run(parser.prog, lambda: _convert(options))


def _convert(options: argparse.Namespace) -> None:
    arguments = command.export_arguments(options, ENTRY, f"hrnet_{options.variant}".replace("-", "_"))
    check_folder(options.output)
    command.need("torch")

    from converters.export import export
    from edgepose.networks import HRNet
    from edgepose.networks.checkpoints import load_hrnet

    network = HRNet.variant(options.variant)
    load_hrnet(network, options.checkpoint)
    export(network, **arguments)


if __name__ == "__main__":
    sys.exit(main())
