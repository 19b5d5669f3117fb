"""The faults: which expressions and statements of a module are changed, and into what."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}

_PAIRS = (
    "min max", "any all", "floor ceil", "argmin argmax", "amin amax", "minimum maximum", "sum mean", "tril triu",
    "zeros ones", "zeros_like ones_like", "new_zeros new_ones", "isneginf isposinf", "log exp",
)  # fmt: skip
NAMES = {one: other for pair in _PAIRS for one, other in (pair.split(), pair.split()[::-1])}
"""Functions and keywords that are taken for each other."""

DROPPED = {
    "abs", "clamp", "clamp_min", "exp", "floor", "flip", "round", "softmax", "sqrt", "square", "squeeze", "to",
    "float", "double", "long",
}  # fmt: skip
"""Methods without arguments that change the shape, which are left out: ``x.abs()`` becomes ``x``."""

SKIPPED = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)
"""What is not changed: messages, and what checks itself."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One fault in a module.

    Attributes:
        line: line of the changed statement.
        scope: function or class around it; empty for the module itself.
        before: the statement.
        after: the changed statement; of compound statements the head only.
        number: counts mutants of one scope that read the same.
    """

    line: int
    scope: str
    before: str
    after: str
    number: int
    _change: Callable[[], Callable[[], None]]
    _tree: ast.Module

    @property
    def key(self) -> str:
        """What identifies it while its statement stays as it is, wherever that stands."""
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{self.scope or 'module'}: {self.before}  =>  {self.after}{again}"

    def compile(self, path: str) -> CodeType:
        """Return the changed module's code."""
        undo = self._change()
        try:
            return compile(ast.fix_missing_locations(self._tree), path, "exec", dont_inherit=True)
        finally:
            undo()


def mutants(source: str) -> list[Mutant]:
    """Return all faults of a module, in the order of its lines; the same for the same source."""
    tree = ast.parse(source)
    seen: dict[tuple[str, str, str], int] = {}
    found = []
    for site in _sites(tree, _Place("", tree)):
        before = _head(site.place.statement)
        undo = site.change()
        after = _head(site.other)
        undo()
        key = site.place.scope, before, after
        seen[key] = seen.get(key, 0) + 1
        line = getattr(site.place.statement, "lineno", 1)
        found.append(
            Mutant(
                line=line, scope=key[0], before=before, after=after, number=seen[key], _change=site.change, _tree=tree
            )
        )
    return found


@dataclass(frozen=True)
class _Place:
    """The scope of a node and the statement that it is in."""

    scope: str
    statement: ast.AST


@dataclass(frozen=True)
class _Site:
    """A change of the tree, which returns how to undo it, and the statement as it is then."""

    place: _Place
    other: ast.AST
    change: Callable[[], Callable[[], None]]


def _sites(node: ast.AST, place: _Place) -> Iterator[_Site]:
    """Yield the changes of all nodes below one."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        place = _Place(f"{place.scope}.{node.name}".lstrip("."), node)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_params", "ctx", "op", "ops"):
            continue
        nodes = value if isinstance(value, list) else [value]
        for at, child in enumerate(nodes):
            if not isinstance(child, ast.AST) or isinstance(child, SKIPPED) or _is_left_out(child):
                continue
            inner = _Place(place.scope, child) if isinstance(child, ast.stmt) else place
            for other in [*_others(child), *_conditions(node, field, child)]:
                statement = other if isinstance(child, ast.stmt) else inner.statement
                yield _Site(inner, statement, _put(node, field, at if isinstance(value, list) else None, child, other))
            yield from _sites(child, inner)


def _put(parent: ast.AST, field: str, at: int | None, child: ast.AST, other: ast.AST) -> Callable[[], Any]:
    def put(node: ast.AST) -> None:
        if at is None:
            setattr(parent, field, node)
        else:
            getattr(parent, field)[at] = node

    def change() -> Callable[[], None]:
        put(ast.copy_location(other, child))
        return lambda: put(child)

    return change


def _is_left_out(node: ast.AST) -> bool:
    """Return whether a statement is a docstring, or an import for type checkers."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _conditions(parent: ast.AST, field: str, node: ast.AST) -> Iterator[ast.AST]:
    """Yield the negation of a condition, unless another operator negates it."""
    if (field == "test" and isinstance(parent, ast.If | ast.IfExp | ast.While)) or field == "ifs":
        compared = isinstance(node, ast.Compare) and len(node.ops) == 1
        if isinstance(node, ast.expr) and not compared and not isinstance(node, ast.UnaryOp):
            yield ast.UnaryOp(op=ast.Not(), operand=node)


def _others(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node is changed into."""
    if isinstance(node, ast.Compare):
        for at, one in enumerate(node.ops):
            for other in COMPARISONS[type(one)]:
                yield _with(node, ops=[*node.ops[:at], other(), *node.ops[at + 1 :]])
    elif isinstance(node, ast.BinOp | ast.AugAssign):
        yield _with(node, op=ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())
    elif isinstance(node, ast.Constant):
        yield from (ast.Constant(value) for value in _constants(node.value))
    elif isinstance(node, ast.Return):
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield ast.Return(value=ast.Constant(None))
    elif isinstance(node, ast.Expr):
        yield ast.Pass()
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.keyword) and node.arg in NAMES:
        yield ast.keyword(arg=NAMES[node.arg], value=node.value)


def _constants(value: object) -> tuple[object, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return value + 1, value - 1
    if isinstance(value, float):
        return (2 * value or 1.0,)
    return ()


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    """Yield a call of a similar function, and what a method was called on."""
    function = node.func
    if isinstance(function, ast.Name) and function.id in ("min", "max", "any", "all", "sum"):
        if function.id != "sum":
            yield _with(node, func=ast.Name(id=NAMES[function.id], ctx=ast.Load()))
    elif isinstance(function, ast.Attribute):
        if function.attr in NAMES:
            yield _with(node, func=_with(function, attr=NAMES[function.attr]))
        if function.attr in DROPPED:
            yield function.value


def _with(node: ast.AST, **fields: object) -> Any:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _head(statement: ast.AST) -> str:
    """Return a statement on one line, a compound one without its body."""
    body: dict[str, list[ast.AST]] = {name: [] for name in ("body", "orelse", "finalbody", "decorator_list")}
    if isinstance(statement, ast.stmt) and hasattr(statement, "body"):
        statement = _with(statement, **{name: value for name, value in body.items() if hasattr(statement, name)})
    return " ".join(ast.unparse(statement).split())
