"""Parameters from files, without running what a file says.

safetensors; PyTorch files through ``torch.load(weights_only=True)``; and detectron2's model-zoo ``.pkl`` files, pickles of
numpy arrays, through an unpickler that can build arrays and nothing else.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from dp2bench.core.errors import Dp2benchError

if TYPE_CHECKING:
    from torch import Tensor

_TO_SAFETENSORS = "If you trust the file, convert it where it came from: `safetensors.torch.save_file` of the state dict under its own names."


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, by the ending of the file's name.

    Raises:
        Dp2benchError: unreadable, of an unknown kind, or not a mapping from names to arrays.

    """
    import torch
    from safetensors.torch import load_file

    kind = path.suffix.lower()
    try:
        if kind == ".safetensors":
            return dict(load_file(path))
        if kind in {".pth", ".pt", ".bin"}:
            content = torch.load(path, map_location="cpu", weights_only=True)
        elif kind == ".pkl":
            with path.open("rb") as file:
                content = _ArraysOnly(file, encoding="latin1").load()
        else:
            raise Dp2benchError(
                f"{path} is not a kind of checkpoint that can be read.",
                "Use .safetensors, .pth, .pt or .pkl.",
            )
    except Dp2benchError:
        raise
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise Dp2benchError(f"{path} holds no state dict.", _TO_SAFETENSORS)
    return {str(key): _tensor(value, path, key) for key, value in content.items()}


def read_parameters(path: Path) -> dict[str, NDArray[np.float32]]:
    """The state dict in a checkpoint as float32 arrays; of a ``.safetensors`` without torch, whose import takes seconds.

    Raises:
        Dp2benchError: as `read_state`.

    """
    if path.suffix.lower() != ".safetensors":
        return {name: tensor.float().numpy() for name, tensor in read_state(path).items()}
    from safetensors.numpy import load_file

    try:
        return {name: np.asarray(values, np.float32) for name, values in load_file(path).items()}
    except (SafetensorError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> Dp2benchError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Dp2benchError(
        f"{path} cannot be read as a checkpoint: {reason}",
        f"It may be incomplete: get it again. {_TO_SAFETENSORS}",
    )


def read_arrays(path: Path) -> Any:
    """What a pickle of arrays holds, in the containers that it puts them into; nothing else is built.

    Raises:
        Dp2benchError: unreadable, or it wants to build something else.

    """
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file).load()
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise Dp2benchError(f"{path} cannot be read as arrays: {error}", "Get the file again.") from error


def _tensor(value: Any, path: Path, key: Any) -> Tensor:
    import torch
    from torch import Tensor

    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value))
    raise Dp2benchError(f"{path}: {key!r} is no array of numbers.", _TO_SAFETENSORS)


def _encode(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 write bytes; no other codec has a reason to be here."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding!r}")
    return text.encode("latin1")


def _array(kind: Any, shape: Any, code: Any) -> np.ndarray[Any, Any]:
    """An empty array, which the pickle then fills through ``__setstate__``."""
    if kind is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError("it builds something else than arrays")
    out: np.ndarray[Any, Any] = np.ndarray((0,), np.int8)
    return out


class _ArraysOnly(pickle.Unpickler):
    """Knows how numpy writes an array, and no other name."""

    _ALLOWED: ClassVar[dict[str, Any]] = {
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "numpy.core.multiarray._reconstruct": _array,
        "numpy._core.multiarray._reconstruct": _array,
        "_codecs.encode": _encode,
        "collections.OrderedDict": OrderedDict,
    }

    def find_class(self, module: str, name: str) -> Any:
        allowed = self._ALLOWED.get(f"{module}.{name}")
        if allowed is None:
            raise pickle.UnpicklingError(f"it wants to run {module}.{name}, and only arrays are allowed")
        return allowed

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to something outside itself")


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, as which OpenAI published CLIP: those networks learned with QuickGELU."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
