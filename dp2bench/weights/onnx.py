"""The constants of an ONNX model, and which layer uses them: as much of the format as converting weights needs.

The file is a protocol buffer. Nothing in it is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.errors import Dp2benchError

_GRAPH, _NODE, _INITIALIZER = 7, 1, 5
_INPUT, _KIND = 1, 4
_DIMS, _TYPE, _FLOATS, _NAME, _RAW = 1, 2, 4, 8, 9
_FLOAT = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Layer(NamedTuple):
    """A node of the graph: its kind, e.g. ``Conv``, and the constants among its inputs, in order."""

    kind: str
    constants: tuple[NDArray[np.float32], ...]


def read(path: Path) -> list[Layer]:
    """The layers that have constants of floats, in the graph's order.

    Raises:
        Dp2benchError: the file is missing, broken, or no ONNX model.

    """
    try:
        graph = next(value for field, value in _fields(path.read_bytes()) if field == _GRAPH)
        assert isinstance(graph, bytes)
        parts = [(field, value) for field, value in _fields(graph) if isinstance(value, bytes)]
        arrays = dict(_array(value) for field, value in parts if field == _INITIALIZER)
        layers = [_layer(value, arrays) for field, value in parts if field == _NODE]
    except (
        OSError,
        StopIteration,
        AssertionError,
        IndexError,
        KeyError,
        UnicodeDecodeError,
        ValueError,
    ) as error:
        raise Dp2benchError(f"{path} cannot be read as an ONNX model.", "Get the file again.") from error
    return [layer for layer in layers if layer.constants]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number has no end")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield field, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in {_FIXED32, _FIXED64}:
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"a field of wire type {wire}")
        if at + length > len(data):
            raise ValueError("the file is cut off")
        yield field, data[at : at + length]
        at += length


def _array(message: bytes) -> tuple[str, NDArray[np.float32]]:
    """Name and values of a constant; empty where it is not of floats."""
    dims: list[int] = []
    name, raw, kind = "", b"", 0
    for field, value in _fields(message):
        if field == _DIMS:
            dims += _numbers(value)
        elif field == _TYPE and isinstance(value, int):
            kind = value
        elif field == _NAME and isinstance(value, bytes):
            name = value.decode()
        elif field in {_RAW, _FLOATS} and isinstance(value, bytes):
            raw += value
    if kind != _FLOAT:
        return name, np.zeros(0, np.float32)
    return name, np.frombuffer(raw, "<f4").astype(np.float32).reshape(dims)


def _numbers(value: int | bytes) -> list[int]:
    """One number, or several that are packed."""
    if isinstance(value, int):
        return [value]
    out, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        out.append(number)
    return out


def _layer(message: bytes, arrays: dict[str, NDArray[np.float32]]) -> Layer:
    kind, constants = "", []
    for field, value in _fields(message):
        if not isinstance(value, bytes):
            continue
        if field == _KIND:
            kind = value.decode()
        elif field == _INPUT and arrays.get(value.decode(), np.zeros(0)).size:
            constants.append(arrays[value.decode()])
    return Layer(kind, tuple(constants))
