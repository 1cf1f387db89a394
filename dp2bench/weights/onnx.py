"""ONNX models: the constants of one and which layer uses them, and one from nodes and constants.

As much of the format as converting weights and handing a network to OpenCV need. The file is a protocol buffer. Nothing in it is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


class Node(NamedTuple):
    """An operation of a graph; ``attributes`` are whole numbers, or several of them."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, int | tuple[int, ...]] = {}


def model(
    nodes: Sequence[Node], constants: Mapping[str, NDArray[np.float32]], source: str, results: Sequence[str]
) -> bytes:
    """A model of opset 11, as the bytes of its file.

    Args:
        nodes: in an order in which each comes after those whose outputs it takes.
        constants: by the name under which nodes take them.
        source: name of the one input: floats, (1, 3, H, W).
        results: names of outputs of nodes, in the order in which the model gives them.

    """
    graph = b"".join(_bytes(_NODE, _node(node)) for node in nodes) + _bytes(2, b"graph")
    graph += b"".join(_bytes(_INITIALIZER, _tensor(name, values)) for name, values in constants.items())
    graph += _bytes(11, _value(source, 1, 3, "H", "W"))
    graph += b"".join(_bytes(12, _value(name, 1, "C", "h", "w")) for name in results)
    return _number(1, 6) + _bytes(_GRAPH, graph) + _bytes(8, _bytes(1, b"") + _number(2, 11))


def _value(name: str, *sides: int | str) -> bytes:
    """Name and shape of an input or output; a side whose length is open is named by a letter."""
    told = [_number(1, side) if isinstance(side, int) else _bytes(2, side.encode()) for side in sides]
    shape = b"".join(_bytes(1, side) for side in told)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, shape)))


def _node(node: Node) -> bytes:
    out = b"".join(_bytes(_INPUT, name.encode()) for name in node.inputs)
    out += (
        _bytes(2, node.output.encode()) + _bytes(3, node.output.encode()) + _bytes(_KIND, node.kind.encode())
    )
    for name, value in node.attributes.items():
        whole = isinstance(value, int)
        told = b"".join(
            _number(3 if whole else 8, n) for n in (value if isinstance(value, tuple) else (value,))
        )
        told += _number(20, 2 if whole else 7)
        out += _bytes(5, _bytes(1, name.encode()) + told)
    return out


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    sides = b"".join(_number(_DIMS, side) for side in values.shape)
    content = np.ascontiguousarray(values, "<f4").tobytes()
    return sides + _number(_TYPE, _FLOAT) + _bytes(_NAME, name.encode()) + _bytes(_RAW, content)


def _number(field: int, value: int) -> bytes:
    return _packed(field << 3 | _VARINT) + _packed(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _packed(field << 3 | _BYTES) + _packed(len(value)) + value


def _packed(value: int) -> bytes:
    """A number of at least 0 in groups of seven bits, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
