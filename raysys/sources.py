"""Hash of the code that computes a result: exactly the functions, classes and constants it depends on.

Dependencies are found in the sources by name and import. A stored result, view or waveform is out of date only when
code it depends on changes; comments and docstrings do not count. Annotations do: an argument's type determines which
methods are called. Versions of other packages are in `results.json`.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_WITHOUT_EFFECT = (
    "raysys.errors",
    "raysys.runs.faults",
    "raysys.storage",
    "raysys.tracking",
    "raysys.training.watchdog",
)
"""Modules that store, watch and report results, and change none."""
_WHOLE = "*"
"""In place of a name: everything in a module."""

Reference = tuple[str, str]
"""A module and one of its top-level names."""


@functools.cache
def digest_of(*roots: str, package: Path = _PACKAGE) -> str:
    """Hash of the given functions and classes and everything they use: 16 hexadecimal digits.

    Args:
        roots: each as `raysys.module:name`.
        package: folder of the sources.

    Raises:
        LookupError: a root does not exist.
    """
    tree = _Tree(package)
    wanted = [(module, name) for module, name in (root.split(":") for root in roots)]
    for module, name in wanted:
        if name not in tree.module(module).definitions:
            raise LookupError(f"{module} defines no {name}")
    digest = hashlib.sha256()
    for module, name in sorted(tree.closure(wanted)):
        for node in tree.module(module).definitions[name]:
            digest.update(f"{module}\0{name}\0{ast.dump(node)}\0".encode())
    return digest.hexdigest()[:16]


@dataclass(slots=True)
class _Module:
    """Attributes:
    definitions: statements by the name they define; under '' those that define none, such as a registration.
    imports: names imported from this package, also inside functions, and what they refer to.
    """

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Reference] = field(default_factory=dict)


class _Tree:
    """The package's modules, read on demand."""

    def __init__(self, package: Path) -> None:
        self._package = package
        self._modules: dict[str, _Module] = {}

    def module(self, name: str) -> _Module:
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def closure(self, roots: list[Reference]) -> set[Reference]:
        """Everything the roots refer to, directly or not, plus the unnamed statements of each module involved."""
        found: set[Reference] = set()
        coming = list(roots)
        while coming:
            module, name = coming.pop()
            if module in _WITHOUT_EFFECT:
                continue
            definitions = self.module(module).definitions
            if name == _WHOLE:
                coming += [(module, one) for one in definitions]
            elif name not in definitions:
                coming += [self.module(module).imports[name]] if name in self.module(module).imports else []
            elif (module, name) not in found:
                found.add((module, name))
                coming += [(module, "")] if "" in definitions else []
                for node in definitions[name]:
                    coming += self._references(module, node)
        return found

    def _references(self, module: str, node: ast.AST) -> Iterator[Reference]:
        own = self.module(module)
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                target = own.imports.get(part.value.id)
                if target is not None and target[1] == _WHOLE:
                    yield target[0], part.attr
            elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
                if part.id in own.definitions:
                    yield module, part.id
                elif part.id in own.imports and own.imports[part.id][1] != _WHOLE:
                    yield own.imports[part.id]

    def _path(self, module: str) -> Path | None:
        below = self._package.joinpath(*module.split(".")[1:])
        paths = (below.with_suffix(".py"), below / "__init__.py")
        return next((path for path in paths if path.is_file()), None)

    def _read(self, name: str) -> _Module:
        path = self._path(name)
        if path is None:
            raise LookupError(f"there is no module {name}")
        module = _Module()
        body = _WithoutDocstrings().visit(ast.parse(path.read_text())).body
        for statement in body:
            for defined in _defined(statement):
                module.definitions.setdefault(defined, []).append(statement)
            for part in ast.walk(statement):
                if isinstance(part, ast.ImportFrom) and (part.module or "").split(".")[0] == self._package.name:
                    for alias in part.names:
                        module.imports[alias.asname or alias.name] = self._imported(part.module or "", alias.name)
        return module

    def _imported(self, module: str, name: str) -> Reference:
        whole = f"{module}.{name}"
        return (whole, _WHOLE) if self._path(whole) else (module, name)


class _WithoutDocstrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


def _is_for_type_checkers(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and getattr(statement.test, "id", "") == "TYPE_CHECKING"


def _defined(statement: ast.stmt) -> list[str]:
    """Top-level names that a statement defines; '' if none."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom) or _is_for_type_checkers(statement):
        return []
    if isinstance(statement, ast.Assign):
        given: list[ast.AST] = list(statement.targets)
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        given = [statement.target]
    else:
        given = [statement]
    names = {
        part.id for g in given for part in ast.walk(g) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }
    return sorted(names) or [""]
