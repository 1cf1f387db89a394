"""Which modules a module runs, read from its source: what the key of a step covers, and what the arrows of the design allow."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from dp2bench.core import registry
from dp2bench.core.errors import PluginError

Moment = Literal["import", "call", "typing"]
"""When an import happens: with the module, inside a function, or never (``TYPE_CHECKING``)."""
DATA = (".json", ".yaml", ".npz")
"""Files beside a module that change what it does."""


@dataclass(frozen=True)
class Import:
    """One imported module, and when that happens."""

    module: str
    moment: Moment
    line: int


@lru_cache(maxsize=4096)
def file_of(module: str) -> Path | None:
    """The source of a module; None for what is no module or has no source."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


@lru_cache(maxsize=4096)
def imports_of(module: str) -> tuple[Import, ...]:
    """Every module that a module's source imports, wherever the import stands; standard library and packages included."""
    tree, package = _parse(module)
    return tuple(_imports(tree, package, "import"))


def closure(modules: Iterable[str], packages: Iterable[str]) -> set[str]:
    """Every module of ``packages`` (top-level names) that these modules can run, themselves included.

    Plug-ins that a module makes by name (``registry.create("templates", ...)``) count: all that are registered of that kind.
    """
    inside = set(packages)
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found or module.partition(".")[0] not in inside or file_of(module) is None:
            continue
        found.add(module)
        waiting += _parents(module)
        waiting += [i.module for i in imports_of(module) if i.moment != "typing"]
        for kind in _kinds_made_by(module):
            made = [registry.module_of(kind, name) for name in registry.names(kind)]
            inside.update(name.partition(".")[0] for name in made)
            waiting += made
    return found


@lru_cache(maxsize=1024)
def code_version(modules: tuple[str, ...]) -> str:
    """sha256 over the sources of everything that these modules run of dp2bench and of their own packages.

    A changed line in any of them gives another number, so that changed code never meets an old cache. Other packages are
    covered by their versions.
    """
    packages = {"dp2bench", *(m.partition(".")[0] for m in modules)}
    digest = hashlib.sha256()
    folders: set[Path] = set()
    for module in sorted(closure(modules, packages)):
        file = file_of(module)
        if file is None:
            raise PluginError(f"The module {module} has no source.", "Install it from its source.")
        digest.update(f"{module}\0".encode() + file.read_bytes())
        folders.add(file.parent)
    for folder in sorted(folders):
        for data in sorted(f for f in folder.iterdir() if f.suffix in DATA):
            digest.update(f"{folder.name}/{data.name}\0".encode() + data.read_bytes())
    return digest.hexdigest()


def _parents(module: str) -> list[str]:
    """The packages that are imported before a module is."""
    parts = module.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


@lru_cache(maxsize=8)
def _parse(module: str) -> tuple[ast.Module, str]:
    """The syntax tree of a module, and the package that its relative imports start from."""
    file = file_of(module)
    if file is None:
        raise PluginError(f"The module {module} has no source.", "Install it from its source.")
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return ast.parse(file.read_text("utf-8")), package


def _imports(node: ast.AST, package: str, moment: Moment) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, moment, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                above = package.split(".")[: len(package.split(".")) - child.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield Import(base, moment, child.lineno)
            if base.partition(".")[0] not in {"dp2bench", package.partition(".")[0]}:
                continue  # to ask for a module of torch would import torch
            if (file := file_of(base)) is None or file.name != "__init__.py":
                continue  # what is imported of a module is no module, and to ask would import that one
            for alias in child.names:
                if file_of(f"{base}.{alias.name}") is not None:
                    yield Import(f"{base}.{alias.name}", moment, child.lineno)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for inner in child.body:
                yield from _imports(ast.Module([inner], []), package, "typing")
            for inner in child.orelse:
                yield from _imports(ast.Module([inner], []), package, moment)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _imports(child, package, "call" if moment == "import" else moment)
        else:
            yield from _imports(child, package, moment)


@lru_cache(maxsize=4096)
def _kinds_made_by(module: str) -> tuple[registry.Kind, ...]:
    """The kinds of plug-ins that a module makes by name, as far as it says the kind in so many words.

    The engine's own steps are told what to make, and `code_version` is told the same.
    """
    if module.startswith("dp2bench.engine.") or module == registry.__name__:
        return ()
    kinds: list[registry.Kind] = []
    for node in ast.walk(_parse(module)[0]):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"registry.create", "registry.load"}:
            first = node.args[0] if node.args else None
            kinds += [
                k for k in get_args(registry.Kind) if isinstance(first, ast.Constant) and first.value == k
            ]
    return tuple(kinds)
