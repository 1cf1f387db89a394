"""What the source of a plug-in says of it, read without importing it: detectors and tasks import networks, which takes seconds."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Declared:
    """What is written down of a class or function.

    Attributes:
        docstring: as it stands there, or ''.
        attributes: literal values of a class, its bases' included.
        meta: literal arguments of the call that a class's ``meta`` is assigned.

    """

    docstring: str
    attributes: Mapping[str, Any]
    meta: Mapping[str, Any]


@lru_cache
def declared(module: str, name: str) -> Declared | None:
    """What ``module:name`` says of itself; None where there is no source, or ``name`` is something else than a class or function."""
    tree = _tree(module)
    node = _definition(tree, name) if tree is not None else None
    if tree is None or node is None:
        return None
    attributes: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    if isinstance(node, ast.ClassDef):
        for base in reversed([_base(tree, module, base) for base in node.bases]):
            if base is not None:
                attributes.update(base.attributes)
                meta.update(base.meta)
        for target, value in _assignments(node):
            if target == "meta" and isinstance(value, ast.Call):
                meta = dict(_literals((k.arg, k.value) for k in value.keywords if k.arg))
            else:
                attributes.update(_literals([(target, value)]))
    return Declared(ast.get_docstring(node) or "", attributes, meta)


@lru_cache
def _tree(module: str) -> ast.Module | None:
    try:
        spec = importlib.util.find_spec(module)
        if spec is None or not (spec.origin or "").endswith(".py"):
            return None
        return ast.parse(Path(str(spec.origin)).read_text("utf-8"))
    except (ImportError, AttributeError, ValueError, OSError, SyntaxError):
        return None


def _definition(tree: ast.Module, name: str) -> ast.ClassDef | ast.FunctionDef | None:
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return node
    return None


def _base(tree: ast.Module, module: str, base: ast.expr) -> Declared | None:
    """A base class that stands in the same module or is imported by name."""
    if not isinstance(base, ast.Name):
        return None
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == base.id:
                    return declared(node.module, alias.name)
    return declared(module, base.id)


def _assignments(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None:
            yield line.target.id, line.value
        elif isinstance(line, ast.Assign):
            yield from ((t.id, line.value) for t in line.targets if isinstance(t, ast.Name))


def _literals(named: Any) -> Iterator[tuple[str, Any]]:
    for name, value in named:
        try:
            yield name, ast.literal_eval(value)
        except ValueError:  # computed, not written down
            continue
