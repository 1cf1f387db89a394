"""Plug-ins by name, through entry points. Ours use the same door as a third party's; importing a module registers nothing."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, runtime_checkable

from dp2bench.core.contracts import (
    Anonymizer,
    ComponentMeta,
    Dataset,
    DatasetMeta,
    Detector,
    MethodMeta,
    Task,
    TaskMeta,
)
from dp2bench.core.declared import Declared, declared
from dp2bench.core.errors import Dp2benchError, PluginError
from dp2bench.core.renames import current_name

Kind = Literal["methods", "tasks", "datasets", "detectors", "attacks", "templates"]


@lru_cache
def _entries(kind: Kind) -> Mapping[str, tuple[EntryPoint, ...]]:
    found: dict[str, dict[str, EntryPoint]] = defaultdict(dict)
    for entry in entry_points(group=f"dp2bench.{kind}"):
        found[entry.name][entry.value] = (
            entry  # the same target twice (an editable install over a wheel) is no conflict
        )
    return {name: tuple(found[name].values()) for name in sorted(found)}


def names(kind: Kind) -> list[str]:
    """The registered names, sorted."""
    return list(_entries(kind))


def load(kind: Kind, name: str) -> Callable[..., Any]:
    """The class or factory of a plug-in, by registered name or as ``package.module:Class``.

    Raises:
        PluginError: unknown (with the nearest names), registered by two packages, or failing to import.

    """
    noun = kind.removesuffix("s")
    if ":" in name:
        module, _, attribute = name.partition(":")
        if not module or not attribute or module.startswith("."):
            raise PluginError(
                f"The {noun} {name!r} cannot be imported.", "Write the full name, package.module:Class."
            )
        try:
            found: Callable[..., Any] = getattr(_imported(module), attribute)
        except (ImportError, AttributeError) as error:
            raise PluginError(
                f"The {noun} {name!r} cannot be imported: {error}{_where(error, module)}.",
                "Check the module's name, and that it is installed or lies in the folder you are in.",
            ) from error
        except (Exception, SystemExit) as error:  # a module of one's own may do anything while it is imported
            raise PluginError(
                f"The {noun} {name!r} cannot be imported: {_described(error, module)}.",
                f"Correct the module {module}, so that `python -m {module}` runs without this error.",
            ) from error
        return found
    entries = _entries(kind).get(current_name(kind, name), ())
    if not entries:
        near = difflib.get_close_matches(name, names(kind), n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(names(kind))}."
        raise PluginError(
            f"There is no {noun} called {name!r}.",
            f"{hint} `dp2bench list {kind}` shows them all; another can be named as package.module:Class.",
        )
    if len(entries) > 1:
        owners = ", ".join(f"{e.value} ({e.dist.name if e.dist else 'unknown package'})" for e in entries)
        raise PluginError(
            f"The {noun} {name!r} is registered more than once: {owners}.",
            "Uninstall one of the packages, or name the one you mean as package.module:Class.",
        )
    try:
        loaded: Callable[..., Any] = entries[0].load()
    except Exception as error:  # a third party's module may raise anything while it is imported
        raise PluginError(
            f"The {noun} {name!r} ({entries[0].value}) is broken: {_described(error, entries[0].module)}.",
            "Reinstall or update the package that brings it.",
        ) from error
    return loaded


def _imported(module: str) -> ModuleType:
    """A module, of an installed package or of the folder one works in, as ``python -m`` finds it."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # last: nothing of the folder takes the place of what is installed
    return importlib.import_module(module)


def create(kind: Kind, name: str, arguments: Mapping[str, Any]) -> Any:
    """An instance of a plug-in; unknown or ill-typed arguments give a PluginError that names them.

    Raises:
        PluginError: as `load`; or the plug-in is not made of these arguments. Whatever else a third party's plug-in raises while
            it is made becomes one too, with file and line.

    """
    factory = load(kind, name)
    noun, module = kind.removesuffix("s"), module_of(kind, name)
    ours = _package(module) == _package(__name__)
    try:
        return _fulfilling(kind, name, factory(**arguments))
    except Dp2benchError:
        raise
    except (TypeError, ValueError) as error:
        where = "" if ours else _where(error, module)
        raise PluginError(
            f"The {noun} {name!r} does not take these arguments: {error}{where}.",
            "Check the arguments in the suite or on the command line.",
        ) from error
    except (Exception, SystemExit) as error:
        if ours:
            raise
        raise PluginError(
            f"The {noun} {name!r} cannot be made: {_described(error, module)}.",
            f"Correct {module}, or the arguments in the suite or on the command line.",
        ) from error


def accepts(kind: Kind, name: str, argument: str) -> bool:
    """Whether a plug-in is made with an argument of this name, as far as its signature says."""
    factory = load(kind, name)
    takes = inspect.signature(getattr(factory, "make", factory)).parameters
    return argument in takes or any(p.kind is p.VAR_KEYWORD for p in takes.values())


CONTRACTS: Mapping[Kind, tuple[type, type]] = {
    "methods": (Anonymizer, MethodMeta),
    "tasks": (Task, TaskMeta),
    "datasets": (Dataset, DatasetMeta),
    "detectors": (Detector, ComponentMeta),
}
"""What a plug-in of each kind must be, and its ``meta``. Surface templates are checked where they are made."""


def _fulfilling(kind: Kind, name: str, made: Any) -> Any:
    """A plug-in that fulfils its contract; PluginError says what another lacks."""
    if kind not in CONTRACTS:
        return made
    contract, meta = CONTRACTS[kind]
    told: Any = made
    what = f"The {kind.removesuffix('s')} {name!r} gives {type(made).__name__}"
    if not isinstance(made, contract):
        members = sorted(n for n in {*vars(contract), *contract.__annotations__} if not n.startswith("_"))
        lacking = ", ".join(f"`{n}`" for n in members if not hasattr(made, n))
        raise PluginError(
            f"{what}, which is no {contract.__name__}" + (f": it lacks {lacking}." if lacking else "."),
            f"Derive it from dp2bench.core.contracts.{contract.__name__}.",
        )
    if not isinstance(told.meta, meta):
        raise PluginError(
            f"{what}, whose `meta` is of type {type(told.meta).__name__}.",
            f"Make it a dp2bench.core.contracts.{meta.__name__}.",
        )
    return made


def dataset_class(name: str) -> type[Dataset] | None:
    """The class of a dataset; None for one that is registered as a function."""
    factory = load("datasets", name)
    return factory if isinstance(factory, type) and issubclass(factory, Dataset) else None


def needs_root(name: str) -> bool:
    """Whether a dataset must be brought by the user; see `Dataset.needs_root`."""
    return bool(_attribute(name, "needs_root"))


def layout(name: str) -> str | None:
    """See `Dataset.layout`; None for a dataset that is registered as a function."""
    said: str | None = _attribute(name, "layout")
    return said


def layouts(task: str) -> tuple[str, ...]:
    """Of the datasets that a task can read; see `TaskMeta.layouts`."""
    said = declared_by("tasks", task)
    if said is not None and "layouts" in said.meta:
        return tuple(said.meta["layouts"])
    loaded = load("tasks", task)
    return loaded.meta.layouts if isinstance(loaded, type) and issubclass(loaded, Task) else ()


def _attribute(name: str, attribute: str) -> Any:
    """What a dataset's class says of all that are made of it."""
    said = declared_by("datasets", name)
    if said is not None and attribute in said.attributes:
        return said.attributes[attribute]
    return getattr(dataset_class(name), attribute, None)


def declared_by(kind: Kind, name: str) -> Declared | None:
    """What a plug-in's source says, without importing it; None where that is not known."""
    entries = _entries(kind).get(current_name(kind, name), ())
    return declared(entries[0].module, entries[0].attr) if len(entries) == 1 else None


def describe(kind: Kind, name: str) -> str:
    """What a plug-in is, in a line; '' where it does not say. It is not made, nor imported, where its source says so.

    Raises:
        PluginError: as `load` and `create`.

    """
    said = None if kind == "methods" else declared_by(kind, name)
    if said is not None:
        text = said.meta.get("description") or said.docstring
        return next(iter(text.strip().splitlines()), "")
    factory = load(kind, name)
    meta = factory.meta if isinstance(factory, _Declaring) else None
    if kind == "methods":
        if not isinstance(meta, MethodMeta):
            meta = create(kind, name, {}).meta
        return f"[{meta.scope}] {meta.description}"
    text = (meta.description if isinstance(meta, (TaskMeta, DatasetMeta)) else "") or factory.__doc__ or ""
    return next(iter(text.strip().splitlines()), "")


@runtime_checkable
class _Declaring(Protocol):
    """A class or factory that says what it makes before it does."""

    meta: Any


def module_of(kind: Kind, name: str) -> str:
    """The module that a plug-in is defined in."""
    return name.partition(":")[0] if ":" in name else _entries(kind)[current_name(kind, name)][0].module


def _package(module: str) -> str:
    return module.partition(".")[0]


def _described(error: BaseException, module: str) -> str:
    return f"{type(error).__name__}: {error}{_where(error, module)}"


def _where(error: BaseException, module: str) -> str:
    """File and line of the innermost frame in a plug-in's package, as `` (file.py:3)``; nothing where the error was raised before."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = frame.f_globals.get("__name__", "")
        if _package(name) == _package(module) and name != __name__:
            found = f" ({frame.f_code.co_filename}:{line})"
    return found
