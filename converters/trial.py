"""The common part of `fold` and `quantize`: a model, the pictures that calibrate it, and the gate that it has to pass."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openvino as ov

from converters import command
from converters.files import arriving, check_outputs, save_network
from converters.int8.gate import AccuracyGate, AgreementGate, Gate
from converters.int8.graph import batch_normalisations, channels_first
from converters.pictures import Estimate, InputSize, find_images, network_inputs
from edgepose.arrays import Float
from edgepose.cli.options import whole
from edgepose.engines.openvino import RT_INFO_KEY, read_network
from edgepose.errors import InputError, ModelError
from edgepose.evaluation import evaluate
from edgepose.geometry import bucket_width
from edgepose.loading import locate
from edgepose.media.images import read_image
from edgepose.media.outputs import check_folder
from edgepose.zoo.local import model_files
from edgepose.zoo.registry import Model, to_yaml


@dataclass(frozen=True)
class Trial:
    """A network on trial.

    Attributes:
        model: Its description.
        network: The network itself, in floating point.
        size: (height, width) of the input for a picture of the model's own aspect.
        gate: Judges each network that is made of it.
        tensors: Inputs to calibrate on.
    """

    model: Model
    network: ov.Model
    size: tuple[int, int]
    gate: Gate[Any]
    tensors: list[Float]


def add_options(parser: argparse.ArgumentParser, *, by_ap_alone: bool = False) -> None:
    """The options of every trial."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="name of a model that edgepose knows, or a model file")
    add("--images", type=Path, required=True, metavar="DIR", help="photos to judge by")
    about = "COCO keypoints of --images, to judge by AP"
    add("--annotations", type=Path, required=by_ap_alone, metavar="JSON", help=about)
    if not by_ap_alone:
        add("--by-maps", action="store_true", help="judge by the maps alone, for untrained weights")
    add("--calibration", type=Path, metavar="DIR", help="photos to calibrate on (default: those of --images)")
    about = "COCO keypoints of --calibration: a top-down model is calibrated on these people (default: those that are found)"
    add("--calibration-annotations", type=Path, metavar="JSON", help=about)
    add("--subset", type=whole(1), default=300, metavar="N", help="calibrate on N inputs at most (default: %(default)s)")
    add("--max-images", type=whole(1), metavar="N", help="judge by N images at most")
    sizes = parser.add_mutually_exclusive_group()
    about = "height of the network's input, its width following the picture's (default: the model's own)"
    sizes.add_argument("--height", type=whole(1), metavar="H", help=about)
    command.add_input_size(sizes, "size of the network's input for every picture")
    add("--name", type=command.file_name, help="name of the files (default: MODEL-int8 or MODEL-folded)")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the files")


def prepare(options: argparse.Namespace) -> Trial:
    """The trial that the command line asks for.

    Raises:
        EdgePoseError: The model, the pictures or the output folder cannot be used.
    """
    check_folder(options.output)
    path, model = locate(options.model)
    if options.name is not None:  # Default names differ from the model's own.
        given = [] if options.annotations is None else [options.annotations]
        check_outputs(options.output, options.name, [path, *model_files(options.model), *given])
    if model.task == "detector":
        raise ModelError(f"{model.name} is a detector; expected a model that finds keypoints")
    if options.calibration_annotations is not None and (model.task != "top-down" or options.calibration is None):
        raise InputError("--calibration-annotations are given; expected a top-down model and --calibration, their photos")
    network = read_network(path)
    input_size, size = _input_sizes(options, model)
    gate: Gate[Any]
    if options.annotations is None:
        images = find_images(options.images, options.max_images)
        gate = AgreementGate(model, input_size, images, by_maps=options.by_maps)
    elif getattr(options, "by_maps", False):
        raise InputError("--by-maps and --annotations are given; expected one of them")
    else:
        command.need("pycocotools")
        # Statistics of one picture and constant ones make different maps; the better ones are seen by AP.
        maps_stay = not batch_normalisations(channels_first(network))
        gate = AccuracyGate(model, input_size, options.annotations, options.images, options.max_images, maps_stay=maps_stay)
    look = _look_at_calibration_pictures(options, model)
    tensors = network_inputs(network, model, input_size, look, options.subset)
    return Trial(model, network, size, gate, tensors)


def write(trial: Trial, network: ov.Model, name: str, folder: Path, note: str, ap: float | None, report: str | None) -> None:
    """Write a network that passed with its description, and the report, if there is one, beside it.

    Raises:
        OutputError: The folder cannot be written.
    """
    protocol = None if ap is None else f"{trial.gate.protocol}, input height {trial.size[0]}"
    model = replace(
        trial.model, name=name, size=trial.size, files=(), conversion=None,
        ap=None if ap is None else round(ap, 1), ap_protocol=protocol, notes=note,
    )  # fmt: skip
    network.set_rt_info(to_yaml(model), RT_INFO_KEY)
    with arriving(folder) as room:
        save_network(network, room / f"{name}.xml", fp16=True)
        if report is not None:
            (room / f"{name}.md").write_text(report, encoding="utf-8")


def _input_sizes(options: argparse.Namespace, model: Model) -> tuple[InputSize, tuple[int, int]]:
    """The `input_size` of the pipeline, and the (height, width) that it means for a picture of the model's own aspect."""
    if options.input_size is not None:
        command.check_input_size(options.input_size, model.multiple)
        return options.input_size, options.input_size
    height, width = model.size
    if options.height is None:
        return (model.size if model.task == "top-down" else height), model.size
    if options.height % model.multiple:
        raise InputError(f"--height is {options.height}; expected a multiple of {model.multiple}")
    aspect_of = height, width - model.multiple + 1  # the model's own width is rounded up
    return options.height, (options.height, bucket_width(*aspect_of, options.height, model.multiple))


def _look_at_calibration_pictures(options: argparse.Namespace, model: Model) -> Any:
    """A function that calls an estimate for each picture: a top-down model gets annotated boxes if there are annotations."""
    folder, annotations = options.calibration or options.images, options.calibration_annotations
    if annotations is None and options.calibration is None:
        annotations = options.annotations
    if model.task == "top-down" and annotations is not None:
        known: dict[str, Any] = {"boxes": "annotations", "max_images": options.subset}
        return lambda estimate: evaluate(estimate, annotations, folder, **known)
    images = find_images(folder, options.subset)

    def look(estimate: Estimate) -> None:
        for image in images:
            estimate(read_image(image))

    return look
