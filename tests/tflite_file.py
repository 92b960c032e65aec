"""Small .tflite networks, written as the flat buffers that they are (tensorflow/lite/schema/schema.fbs), without TensorFlow."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = dict[int, Any]
"""Fields by their number in the schema: an int, a `Byte`, a string, bytes, a list of ints or tables, or a table."""

FLOAT, INT = 0, 2  # TensorType
ADD, MUL, MEAN = 0, 18, 40  # BuiltinOperator
ADD_OPTIONS, MUL_OPTIONS, REDUCER_OPTIONS = 11, 21, 27  # BuiltinOptions


class Byte(int):
    """A field of one byte."""


class _Buffer:
    """Everything is written after what points to it, so that all offsets are forward."""

    def __init__(self) -> None:
        self.data = bytearray(struct.pack("<I4s", 0, b"TFL3"))

    def align(self, size: int, ahead: int = 0) -> None:
        while (len(self.data) + ahead) % size:
            self.data.append(0)

    def write(self, value: Any) -> int:
        """Write something that is pointed to; returns where it is."""
        if isinstance(value, dict):
            return self._table(value)
        if isinstance(value, str):
            value = value.encode() + b"\0"
            self.align(4)
            place = len(self.data)
            self.data += struct.pack("<I", len(value) - 1) + value
            return place
        if isinstance(value, bytes):
            self.align(16, 4)  # Weights lie on multiples of 16.
            place = len(self.data)
            self.data += struct.pack("<I", len(value)) + value
            return place
        self.align(4)
        place = len(self.data)
        self.data += struct.pack("<I", len(value))
        if all(isinstance(each, int) for each in value):
            self.data += struct.pack(f"<{len(value)}i", *value)
            return place
        first = len(self.data)
        self.data += bytes(4 * len(value))
        for number, each in enumerate(value):
            self._point(first + 4 * number, self.write(each))
        return place

    def _table(self, fields: Table) -> int:
        slots = max(fields, default=-1) + 1
        self.align(4)
        self.align(4, 2 * (slots + 2))  # The table itself, behind its list of fields, is aligned.
        start = len(self.data)
        offsets = [4 + 4 * sorted(fields).index(slot) if slot in fields else 0 for slot in range(slots)]
        self.data += struct.pack(f"<{slots + 2}H", 2 * (slots + 2), 4 + 4 * len(fields), *offsets)
        place = len(self.data)
        self.data += struct.pack("<i", place - start) + bytes(4 * len(fields))
        for slot, value in fields.items():
            at = place + offsets[slot]
            if isinstance(value, int):
                self.data[at : at + 4] = struct.pack("<Bxxx" if isinstance(value, Byte) else "<i", value)
            else:
                self._point(at, self.write(value))
        return place

    def _point(self, at: int, place: int) -> None:
        self.data[at : at + 4] = struct.pack("<I", place - at)


def save(path: Path, output: NDArray[np.float32], input_shape: tuple[int, int, int, int]) -> Path:
    """A network that takes a picture (1, H, W, 3) and answers `output` (1, h, w, 3), whatever it shows."""
    constants = [np.array([1, 2], np.int32), np.zeros(1, np.float32), np.asarray(output, np.float32)]
    shapes = [input_shape, (2,), (1,), output.shape, (1, 1, 1, 3), (1, 1, 1, 3), output.shape]
    names = ["image", "axes", "zero", "values", "mean", "nothing", "output"]
    tensors: list[Table] = [
        {0: list(shape), 1: Byte(INT if name == "axes" else FLOAT), 2: names.index(name) if name in names[1:4] else 0, 3: name}
        for name, shape in zip(names, shapes, strict=True)
    ]
    steps = [
        (0, [0, 1], [4], REDUCER_OPTIONS, {0: Byte(1)}),  # the mean over height and width, its axes kept
        (1, [4, 2], [5], MUL_OPTIONS, {0: Byte(0)}),
        (2, [3, 5], [6], ADD_OPTIONS, {0: Byte(0)}),
    ]
    operators: list[Table] = [
        {0: code, 1: inputs, 2: outputs, 3: Byte(kind), 4: options} for code, inputs, outputs, kind, options in steps
    ]
    codes: list[Table] = [{0: Byte(code), 2: 1, 3: code} for code in (MEAN, MUL, ADD)]
    subgraph: Table = {0: tensors, 1: [0], 2: [6], 3: operators, 4: "main"}
    buffers: list[Table] = [{}, *({0: constant.tobytes()} for constant in constants)]
    buffer = _Buffer()
    root = buffer.write({0: 3, 1: codes, 2: [subgraph], 3: "made for tests", 4: buffers})
    buffer.data[:4] = struct.pack("<I", root)
    path.write_bytes(buffer.data)
    return path
