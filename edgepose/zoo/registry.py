"""Descriptions of models: in the zoo's table, in a user's `NAME.yaml`, and inside a converted model.

All three are the same fields, read by `parse`. A converted IR keeps them as one string of YAML in its `rt_info`
(`to_yaml`, `from_yaml`): OpenVINO turns every other value into text, and YAML turns it back.
"""

from __future__ import annotations

import difflib
import functools
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from edgepose.errors import InputError, ModelError, UnknownModelError
from edgepose.skeleton import SKELETONS, Skeleton, describe_skeleton, make_skeleton
from edgepose.zoo.decoders import DECODERS, Task
from edgepose.zoo.fields import FILE_FIELDS, MODEL_FIELDS, REQUIRED, Boxes, Colour, Layout, checked, shown

DEFAULT = "default"
"""The alias of the model that is used unless another is asked for."""

EXAMPLE_YAML = """\
task: bottom-up         # bottom-up, top-down or detector
decoder: paf            # paf (OpenPose), tags (HigherHRNet), embeddings (EfficientHRNet), rows (RTMO, YOLO-pose), movenet;
                        # heatmaps or simcc (RTMPose) if top-down; ssd or boxes (RTMDet, YOLO) for a detector
skeleton: openpose18    # openpose18, coco17, mpii16, halpe26, wholebody133, or your own; left out for a detector
colour: BGR             # or RGB
layout: NCHW            # or NHWC
mean: [128, 128, 128]   # the network sees (x - mean) / scale, x from 0 to 255, in its own colour order
scale: [256, 256, 256]
size: [256, 456]        # height, width of the input
stride: 8               # the output maps are this many times smaller
"""

MAX_YAML_CHARACTERS = 64 * 1024
"""The longest description that is read; none comes near it."""


@dataclass(frozen=True)
class ModelFile:
    """One file of a model.

    Attributes:
        name: Its name in the models folder and in a mirror, both of which are flat.
        url: Where it lies on the public internet, if it does.
        size: Bytes; None where the publisher does not say.
        checksum: `sha256:HEX`, `sha384:HEX`, or `sha256-prefix:HEX` where the publisher tells the first eight digits
            alone; a file without any is never downloaded.
    """

    name: str
    url: str | None = None
    size: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Alias:
    """A short name for a model of the zoo together with how it is run.

    Attributes:
        name: Such as `fast`.
        model: The zoo's name of the model on this processor.
        height: Height of the network's input in pixels; None: the model's own.
        detector: The model that finds the people for a top-down one; None: the model's own.
        ap: COCO keypoint AP in percent; models.yaml says how it was measured.
        ms: Milliseconds for a frame; models.yaml says how they were measured, too.
        purpose: The use that it is for.
    """

    name: str
    model: str
    height: int | None = None
    detector: str | None = None
    ap: float | None = None
    ms: float | None = None
    purpose: str | None = None


@dataclass(frozen=True)
class Model:
    """A model's description of itself: how to feed it, how to read it, and where it comes from.

    Attributes:
        name: The zoo's name, or the stem of the model's file.
        task: "bottom-up" (keypoints in the whole image), "top-down" (of one person in a crop) or "detector" (boxes).
        decoder: The name of the decoder that turns its outputs into keypoints or boxes.
        colour: Channel order that the network was trained on.
        layout: Of the network's input.
        mean: In the order of `colour`; the network sees (x - mean) / scale, x from 0 to 255.
        scale: As `mean`.
        size: (H, W) of the input, pixels, unless the caller says otherwise.
        stride: The output maps are this many times smaller than the input; 1 for detectors.
        multiple: Input sides are multiples of this many pixels.
        skeleton: Keypoint set, by name or described; None for detectors.
        person_label: Class of a person; detectors alone have one.
        padding: Grey level, 0 to 255, of what the frame does not fill of the input; None: the mean.
        boxes: What the four numbers of a box are: two corners, or its centre and sides; None: as its decoder takes them.
        outputs: Channels of each output that counts; empty if the description does not say.
        min_score: Least score of a keypoint, unless the caller says otherwise.
        min_confidence: Least confidence of a person, unless the caller says otherwise.
        detector: The model of the zoo that finds the people for a top-down one, unless the caller says otherwise.
        files: The first is the one to open.
        gflops: Two per multiply-add, at `size`.
        ap: COCO keypoint AP, percent; `ap_protocol` says of which images and how.
        conversion: The command that makes a model of `files`, which are a checkpoint; None if they run as they are.
    """

    name: str
    task: Task
    decoder: str
    colour: Colour
    layout: Layout
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    size: tuple[int, int]
    stride: int
    multiple: int = 8
    skeleton: str | Skeleton | None = None
    person_label: int | None = None
    padding: int | None = None
    boxes: Boxes | None = None
    outputs: tuple[int, ...] = ()
    min_score: float = 0.05
    min_confidence: float = 0.0
    detector: str | None = None
    files: tuple[ModelFile, ...] = ()
    gflops: float | None = None
    ap: float | None = None
    ap_protocol: str | None = None
    licence: str | None = None
    source: str | None = None
    conversion: str | None = None
    notes: str | None = None

    @property
    def padding_bgr(self) -> tuple[int, int, int]:
        """The colour of what the frame does not fill of the input; the network's mean is zero to its first layer."""
        if self.padding is not None:
            return self.padding, self.padding, self.padding
        first, second, third = (min(max(round(value), 0), 255) for value in self.mean)
        return (first, second, third) if self.colour == "BGR" else (third, second, first)


def names() -> list[str]:
    """Names of the zoo's models, in the order of its table."""
    models, _ = _zoo()
    return list(models)


def aliases() -> list[Alias]:
    """The short names, in the order of the zoo's table, with the model that each stands for on this processor."""
    _, table = _zoo()
    processor = platform.machine().lower()
    return [
        Alias(**{**fields, "name": name, "model": fields["model"].get(processor, fields["model"]["other"])})
        for name, fields in table.items()
    ]


def get(name: str) -> Model:
    """The zoo's model of that name, or the one that an alias such as `default` stands for, as the alias has it run.

    Raises:
        UnknownModelError: There is none; the message has the nearest names.
    """
    models, table = _zoo()
    if name in table:
        [alias] = [each for each in aliases() if each.name == name]
        return _as_alias(models[alias.model], alias)
    if name not in models:
        near = difflib.get_close_matches(name, [*table, *models], n=3, cutoff=0.4)
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        raise UnknownModelError(
            f"no model {shown(name)} in the zoo; {guess}`edgepose models list` shows all, "
            "and a path to an .xml, .onnx, .tflite or .pb file is a model too"
        )
    return models[name]


def describe_file(path: Path) -> Model | None:
    """The description in `NAME.yaml` beside a model file `NAME.*`; None if there is no such file.

    Raises:
        ModelError: It cannot be read, or does not describe a model.
    """
    description = path.with_suffix(".yaml")
    if not os.path.isfile(description):  # Of names too long, Path.is_file raises an error.
        return None
    try:
        with description.open(encoding="utf-8") as file:
            text = file.read(MAX_YAML_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{description}: expected a readable UTF-8 text file, got {error}") from error
    return from_yaml(path.stem, text, str(description))


def undescribed(path: Path) -> ModelError:
    """The error, several lines long, for a model file that nothing describes: it shows what to write."""
    return ModelError(
        f"{path} does not say how to feed and read it; describe it in {path.with_suffix('.yaml')}, such as\n{EXAMPLE_YAML}"
    )


def from_yaml(name: str, text: str, where: str) -> Model:
    """The model that a piece of YAML describes; `where` is its origin, for errors.

    Raises:
        ModelError: The text is too long, is not YAML, or does not describe a model.
    """
    if len(text) > MAX_YAML_CHARACTERS:
        raise ModelError(f"{where}: the description has more than {MAX_YAML_CHARACTERS} characters, which no model needs")
    try:
        content = yaml.safe_load(text)
    # RecursionError: thousands of nested brackets; ValueError: what looks like a date or a number and is none.
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ModelError(f"{where}: expected YAML, got {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{where}: expected a mapping of fields such as task and decoder, got {shown(content)}")
    return parse(name, content, where)


def to_yaml(model: Model) -> str:
    """The model's fields, without its name and what is empty; `from_yaml` reads them back."""
    given = {key: value for key, value in asdict(model).items() if key != "name" and value not in (None, ())}
    if isinstance(model.skeleton, Skeleton):
        given["skeleton"] = describe_skeleton(model.skeleton)
    text: str = yaml.safe_dump(given, sort_keys=False, default_flow_style=None, allow_unicode=True)
    return text


def parse(name: str, fields: Mapping[str, object], where: str) -> Model:
    """The model that `fields` describe; a field that is None counts as left out. `where` is their origin, for errors.

    Raises:
        ModelError: A field is unknown, missing or of the wrong type, or two contradict each other.
    """
    values = checked(fields, MODEL_FIELDS, REQUIRED, where)
    values["files"] = tuple(
        ModelFile(**checked(file, FILE_FIELDS, ("name",), f"{where}: files[{index}]"))
        for index, file in enumerate(values.get("files", ()))
    )
    try:
        if isinstance(values.get("skeleton"), dict):
            values["skeleton"] = make_skeleton(values["skeleton"])
    except InputError as error:
        raise ModelError(f"{where}: {error}") from error
    model = Model(name=name, **values)

    _, task, skeletons, _ = DECODERS[model.decoder]
    known = (None,) if task == "detector" else skeletons or tuple(SKELETONS)
    is_known = model.skeleton in known or (isinstance(model.skeleton, Skeleton) and skeletons is None and task != "detector")
    contradictions = {
        "task": (model.task != task, f"{task}, which is what decoder {model.decoder} serves"),
        "skeleton": (not is_known, f"{' or '.join(map(str, known))} with decoder {model.decoder}"),
        "person_label": ((model.person_label is None) == (task == "detector"), "a number for detectors, and for them alone"),
        "detector": (model.detector is not None and task != "top-down", "none: it finds the people itself"),
        "multiple": (model.multiple % model.stride != 0, f"a multiple of the stride, {model.stride}"),
        "size": (any(side % model.multiple for side in model.size), f"sides that are multiples of {model.multiple}"),
        "ap_protocol": (model.ap is not None and model.ap_protocol is None, "how ap was measured"),
    }
    for field, (found, expected) in contradictions.items():
        if found:
            raise ModelError(f"{where}: {field} is {shown(getattr(model, field))}, expected {expected}")
    return model


def _as_alias(model: Model, alias: Alias) -> Model:
    """The model with the height and the detector of an alias; its width follows the height."""
    size = model.size
    if alias.height is not None:
        width = round(alias.height * model.size[1] / model.size[0] / model.multiple) * model.multiple
        size = (alias.height, width)
    return replace(model, size=size, detector=alias.detector or model.detector)


@functools.cache
def _zoo() -> tuple[dict[str, Model], dict[str, dict[str, Any]]]:
    """The models by name, and the fields of the aliases by name, their models by processor."""
    # In C, where PyYAML was built with it: 2 instead of 14 ms. For this file alone: deep nesting would end the process.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    table = yaml.load(Path(__file__).with_name("models.yaml").read_text(encoding="utf-8"), Loader=loader)
    models = {name: parse(name, fields, f"models.yaml: {name}") for name, fields in table["models"].items()}
    return models, table["aliases"]
