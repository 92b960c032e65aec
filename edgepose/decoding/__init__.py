"""Decoders: from the outputs of a network to people, by pure functions over arrays, in Numba.

A decoder is a class in a file of its own here, and a line in `edgepose/zoo/decoders.py`.
"""

from __future__ import annotations

import importlib
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from edgepose.arrays import Float
from edgepose.errors import InputError
from edgepose.zoo.decoders import DECODERS

SizedBy = Literal["height", "short side", "both sides"]

LEAST_SCORE = 0.01
"""The lowest score that bottom-up decoders accept: below it, every ripple of a map is a keypoint."""


class DecodedPoses(NamedTuple):
    """N people with K keypoints each. NaN and score 0 where a keypoint was not found."""

    keypoints: Float  # (N, K, 2) x, y: in cells of the maps from functions, in pixels of the network's input from decoders
    scores: Float  # (N, K) in [0, 1]
    confidence: Float  # (N,) in [0, 1]


class Decoder(Protocol):
    """Turns the outputs of one network into people.

    It is made once for a network, by `Name(model, output_channels, min_score, **options)`, with the options that it lists. It
    then checks the outputs' channels (ModelError) and the options (InputError), and compiles its kernels, so that the first
    frame does not wait for that.
    """

    options: ClassVar[frozenset[str]]
    """Names of its options, which are arguments of `PoseEstimator`, such as "refinement"."""
    sized_by: ClassVar[SizedBy]
    """The side of the network's input that an `input_size` of one number sets, the other following the frame's aspect. "both
    sides": the input has the size that the model's description says, whatever the frame; one number is its height, and its
    width follows by the same aspect."""

    def __call__(self, outputs: list[Float], size: tuple[int, int]) -> DecodedPoses:
        """People in pixels of the network's input.

        Args:
            outputs: Each (B, C, h, w), or of any shape that begins with B where `DecoderEntry.maps` is false. A bottom-up
                decoder gets B = 1 and answers the N people of that picture; a top-down decoder answers one person for each of
                B crops, in their order.
            size: (height, width) of the network's input in pixels.

        Raises:
            ModelError: The outputs do not have the size that the model's description promises.
        """


@runtime_checkable
class FlipDecoder(Decoder, Protocol):
    """A top-down decoder that can take the mirrored crops into account (the flip test)."""

    def merge_mirrored(self, outputs: list[Float], mirrored: list[Float]) -> list[Float]:
        """The mean of the outputs for some crops and of those for the same crops mirrored, which are mirrored back."""


def check_type(name: str, maps: object) -> None:
    """Make sure that maps, called `name` in errors, are an array of float32 or float16.

    Raises:
        InputError: They are something else.
    """
    if not isinstance(maps, np.ndarray) or maps.dtype not in (np.float32, np.float16):
        raise InputError(f"{name} are {getattr(maps, 'dtype', type(maps).__name__)}; expected a float32 or float16 array")


def decoder_class(name: str) -> Any:
    """The class of a decoder by its name in the table."""
    module, _, attribute = DECODERS[name].factory.partition(":")
    return getattr(importlib.import_module(module), attribute)
