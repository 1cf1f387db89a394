"""The network of CenterFace: a MobileNetV2 and a feature pyramid, its batch norms folded into the convolutions.

On a CPU it runs in OpenCV, whose import takes a tenth of the time of torch's; `dp2bench.detection.centerface_torch` is for a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.types import Image
from dp2bench.weights import onnx

STRIDE = 4
"""Pixels of the picture to a cell of the network's maps."""
PYRAMID = 24
# (expansion, output width, blocks, stride of the first) of each stage of the MobileNetV2
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
TAPS = (1, 2, 4, 6)
"""Stages whose maps the pyramid joins: strides 4, 8, 16, 32."""


class Maps(NamedTuple):
    """What the network says of a picture, in cells of `STRIDE` pixels.

    Attributes:
        heat: (1, h, w) probability that a face is centred in the cell.
        extent: (2, h, w) logarithm of height and width in cells.
        offset: (2, h, w) of the centre within the cell, y and x.
        points: (10, h, w) y and x of eyes, nose and corners of the mouth, as shares of the box.

    """

    heat: NDArray[np.float32]
    extent: NDArray[np.float32]
    offset: NDArray[np.float32]
    points: NDArray[np.float32]


Parameters = Mapping[str, NDArray[np.float32]]
"""Weight and bias of each layer, as ``smooth.weight``."""


class _Layer(NamedTuple):
    """A convolution or, where ``doubles``, its transpose of stride 2.

    Attributes:
        name: of its parameters.
        inputs: channels.
        outputs: channels.
        kernel: side in pixels.
        stride: in pixels.
        groups: of channels.
        doubles: whether it doubles the sides.

    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    doubles: bool = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the weight."""
        if self.doubles:
            return self.inputs, self.outputs, self.kernel, self.kernel
        return self.outputs, self.inputs // self.groups, self.kernel, self.kernel


def _block(name: str, inputs: int, expansion: int, outputs: int, stride: int) -> Iterator[_Layer]:
    """Expand, depthwise, project."""
    wide = inputs * expansion
    if expansion != 1:
        yield _Layer(f"{name}.expand", inputs, wide)
    yield _Layer(f"{name}.depthwise", wide, wide, 3, stride, wide)
    yield _Layer(f"{name}.project", wide, outputs)


def _layers() -> Iterator[_Layer]:
    """Every layer in the order of the network, those of the pyramid after all others' laterals."""
    yield _Layer("stem", 3, 32, 3, 2)
    inputs, widths = 32, []
    for s, (expansion, outputs, blocks, stride) in enumerate(STAGES):
        for i in range(blocks):
            yield from _block(f"stages.{s}.{i}", inputs, expansion, outputs, stride if i == 0 else 1)
            inputs = outputs
        widths.append(outputs)
    for i, tap in enumerate(reversed(TAPS)):
        yield _Layer(f"laterals.{i}", widths[tap], PYRAMID)
    for i in range(len(TAPS) - 1):
        yield _Layer(f"doublings.{i}", PYRAMID, PYRAMID, 2, 2, doubles=True)
    yield _Layer("smooth", PYRAMID, PYRAMID, 3)
    for name, outputs in zip(Maps._fields, (1, 2, 2, 10), strict=True):
        yield _Layer(name, PYRAMID, outputs)


LAYERS = {layer.name: layer for layer in _layers()}


_LEAST = 64
"""Pixels of a side at least, black where a picture has fewer: OpenCV's depthwise convolutions are wrong on maps of one row or column."""


class OpenCVNetwork:
    """The network in OpenCV, on the CPU. The same picture gives the same bits, however many threads there are."""

    def __init__(self, parameters: Parameters) -> None:
        model = _onnx(parameters)
        self._network = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
        self._network.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)

    def __call__(self, image: Image) -> Maps:
        """What it says of a picture (H, W, 3) whose sides are multiples of 32."""
        h, w = image.shape[:2]
        if min(h, w) < _LEAST:
            below, right = max(0, _LEAST - h), max(0, _LEAST - w)
            image = np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT), np.uint8)
        self._network.setInput(cv2.dnn.blobFromImage(image))
        said: Any = self._network.forward(Maps._fields)
        maps: list[NDArray[np.float32]] = [each[0, :, : h // STRIDE, : w // STRIDE] for each in said]
        return Maps(*maps)


def _onnx(parameters: Parameters) -> bytes:
    """The network as a model that OpenCV reads."""
    nodes: list[onnx.Node] = []

    def apply(name: str, x: str, then: str = "Relu") -> str:
        layer = LAYERS[name]
        pad = 0 if layer.doubles else layer.kernel // 2
        shape: dict[str, int | tuple[int, ...]] = {
            "kernel_shape": (layer.kernel,) * 2,
            "strides": (layer.stride,) * 2,
            "pads": (pad,) * 4,
            "group": layer.groups,
        }
        kind = "ConvTranspose" if layer.doubles else "Conv"
        out = f"{name}.linear" if then else name
        nodes.append(onnx.Node(kind, (x, f"{name}.weight", f"{name}.bias"), out, shape))
        if then:
            nodes.append(onnx.Node(then, (out,), name))
        return name

    def add(a: str, b: str) -> str:
        nodes.append(onnx.Node("Add", (a, b), f"{a}+"))
        return f"{a}+"

    x, channels, taps = apply("stem", "picture"), 32, []
    for s, (expansion, outputs, blocks, stride) in enumerate(STAGES):
        for i in range(blocks):
            name = f"stages.{s}.{i}"
            wide = x if expansion == 1 else apply(f"{name}.expand", x)
            y = apply(f"{name}.project", apply(f"{name}.depthwise", wide), then="")
            x = add(y, x) if outputs == channels and (stride == 1 or i) else y
            channels = outputs
        if s in TAPS:
            taps.append(x)
    x = apply("laterals.0", taps[-1])
    for i, tap in enumerate(taps[-2::-1]):
        x = add(apply(f"doublings.{i}", x), apply(f"laterals.{i + 1}", tap))
    x = apply("smooth", x)
    for name in Maps._fields:
        apply(name, x, then="Sigmoid" if name == "heat" else "")
    return onnx.model(nodes, parameters, "picture", Maps._fields)
