"""Networks without their first random numbers, which take seconds to draw and are overwritten by a file of weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_DRAWN = frozenset({Tensor.uniform_, Tensor.normal_})


class uninitialized(TorchFunctionMode):  # noqa: N801 - used as `with uninitialized():`
    """Within, parameters are not drawn: every one must be loaded (``load_state_dict(..., strict=True)``) before the network is used."""

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Leave a tensor as it is where torch would fill it with random numbers."""
        return args[0] if func in _DRAWN else func(*args, **(kwargs or {}))
