"""``--help`` texts of keys and options: the docstring under each field, its type and its default."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args, get_origin

from adafocus_rl.agents import AGENTS
from adafocus_rl.annotations import describe
from adafocus_rl.experiments.config.agent_name import find_agent
from adafocus_rl.options import Option, options_of
from adafocus_rl.plain import plain


def config_help(kind: type[Any], usage: str, *, other: Sequence[str] = (), whole: Sequence[str] = ()) -> str:
    """Return the help text for the keys of a dataclass and of its nested dataclasses.

    Args:
        kind: the dataclass.
        usage: the first line.
        other: names of fields to leave out.
        whole: dotted keys of blocks that are listed without their own keys.
    """
    parser = _parser(usage)
    _add_block(parser, kind, "", (inspect.getdoc(kind) or "").splitlines()[0], other, whole)
    return parser.format_help()


def agent_help(name: str, usage: str) -> str:
    """Return the help text for the options of a registered agent.

    Raises:
        UserError: if no agent has this name.
    """
    parser = _parser(usage)
    kind = AGENTS.get(find_agent(name))
    text = inspect.getdoc(kind) or ""
    group = parser.add_argument_group(_title(text.splitlines()[0] if text else name))
    _add_options(group, options_of(kind.Options), field_docs(kind.Options), "agent.")
    return parser.format_help()


def _parser(usage: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(usage=usage, add_help=False)


def _add_block(
    parser: Any, kind: type[Any], prefix: str, title: str, other: Sequence[str], whole: Sequence[str]
) -> None:
    options, docs = options_of(kind, skip=other), field_docs(kind)
    blocks = {name: option.hint for name, option in options.items() if dataclasses.is_dataclass(option.hint)}
    own = {name: option for name, option in options.items() if name not in blocks}
    for name in [name for name in blocks if f"{prefix}{name}" in whole]:
        own[name] = Option(hint=blocks.pop(name), default={})
    _add_options(parser.add_argument_group(_title(title)), own, docs, prefix)
    for name, block in blocks.items():
        _add_block(
            parser, cast("type[Any]", block), f"{prefix}{name}.", f"{prefix}{name}: {docs.get(name, '')}", (), whole
        )


def _title(text: str) -> str:
    """Return a sentence as a title; argparse puts a colon behind it."""
    return _unmarked(text).removesuffix(".")


def _unmarked(text: str) -> str:
    """Return a docstring's text without the marks of code, which a terminal does not render."""
    return text.replace("``", "")


def _add_options(group: Any, options: Mapping[str, Option], docs: Mapping[str, str], prefix: str) -> None:
    for name, option in options.items():
        if not option.readable:
            continue
        default = "" if option.default is dataclasses.MISSING else f" (default: {shown_default(option.default)})"
        said = f"{docs.get(name, '')} {describe(option.hint).capitalize()}{default}".strip()
        group.add_argument(
            f"--{prefix}{name}", metavar=_metavar(name, option.hint), help=_unmarked(said).replace("%", "%%")
        )


def shown_default(default: Any) -> str:
    """Return a default as a recipe would spell it; of an object that no recipe can hold, the name of its class."""
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    try:
        return str(plain(default))
    except TypeError:
        return type(default).__name__


def _metavar(name: str, hint: Any) -> str:
    return f"{{{','.join(map(str, get_args(hint)))}}}" if get_origin(hint) is Literal else name.upper()


def field_docs(kind: type[Any]) -> dict[str, str]:
    """Return the docstring under each field of a dataclass and its bases, by field name, on one line each."""
    docs: dict[str, str] = {}
    for owner in reversed(kind.__mro__[:-1]):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        except (OSError, TypeError, SyntaxError):  # a class without a file
            continue
        body = getattr(tree, "body", [])
        for field, after in itertools.pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                docs[getattr(field.target, "id", "")] = " ".join(str(after.value.value).split())
    return docs
