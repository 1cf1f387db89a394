"""Networks without their first random numbers, which take seconds to draw and are overwritten by a file of weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode

_DRAWN = frozenset(
    (
        "uniform_",
        "normal_",
        "trunc_normal_",
        "kaiming_uniform_",
        "kaiming_normal_",
        "xavier_uniform_",
        "xavier_normal_",
    )
)
"""Names of a tensor's methods and of functions of ``torch.nn.init``, which are asked as a whole."""


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
        given = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWN:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)
