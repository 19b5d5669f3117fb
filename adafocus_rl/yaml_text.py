"""YAML as plain data within limits: text, numbers, booleans, null, lists and mappings.

A recipe may come from an untrusted source. Tags therefore never construct objects, duplicate keys are errors, and
anchors cannot expand to more values than a document may have.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from adafocus_rl.errors import UserError
from adafocus_rl.files import read_bytes

SIZE_LIMIT = 256 << 10
"""Largest document, in bytes; fifty times the longest recipe with all keys."""

VALUE_LIMIT = 20_000
"""Largest number of values in a document; values repeated by anchors count each time."""

DEPTH_LIMIT = 32
"""Largest nesting depth of mappings and lists."""

NUMBER_LIMIT = 64
"""Longest number, in characters."""

_TAG = "tag:yaml.org,2002:"
_FLOAT = re.compile(
    r"""[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?$
    |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)$
    |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?$
    |[-+]?\.(?:inf|Inf|INF)$
    |\.(?:nan|NaN|NAN)$""",
    re.VERBOSE,
)


class _Loader(yaml.SafeLoader):
    """Loader of a document's events that resolves untagged scalars: 3e-4 is a number, 2024-01-01 is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (f"{_TAG}float", f"{_TAG}timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))


class _Dumper(yaml.SafeDumper):
    """Dumper that quotes text which would be read back as another type, such as 1e3."""


_Dumper.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))


def read_yaml(path: Path, what: str) -> Any:
    """Read a YAML file as plain data, like ``parse_yaml``.

    Args:
        path: the file.
        what: kind of file, for the message: "configuration file".

    Raises:
        UserError: the file does not exist, is a folder, pipe or device, is too large, is not UTF-8 text, or as for
            ``parse_yaml``.
    """
    content = read_bytes(path, what, limit=SIZE_LIMIT)
    try:
        # utf-8-sig: some editors write a byte-order mark.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file; give YAML in UTF-8") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, whole: str) -> Any:
    """Parse a single YAML document to plain data: None, bool, int, float, str, list, and dict with string keys.

    Args:
        text: the document.
        whole: description of the document, for the message: a path, or a key.

    Raises:
        UserError: the text is not valid YAML, contains a tag, a key that is duplicate or not a string, or an invalid
            number, or exceeds a limit.
    """
    if len(text) > SIZE_LIMIT:
        raise UserError(f"{whole} has {len(text)} characters; at most {SIZE_LIMIT} are read")
    try:
        loader = _Loader(text)
        try:
            return _Document(loader, whole).content()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise UserError(f"{whole} is not valid YAML: {_problem(error)}") from None


def dump_yaml(value: Any, *, in_ascii: bool = False) -> str:
    """Dump plain data as YAML that ``parse_yaml`` reads back equal, with keys in their order.

    Args:
        value: plain data with finite numbers.
        in_ascii: write characters outside ASCII as escapes.
    """
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=not in_ascii)
    # PyYAML writes a few characters unescaped that it reads as line breaks (U+0085).
    if not text.isascii() and parse_yaml(text, "what was written") != value:
        text = yaml.dump(value, Dumper=_Dumper, sort_keys=False)
    return text


def check_text(text: str, whole: str) -> str:
    """Return the text if paths and files can hold it.

    Raises:
        UserError: it contains NUL, which no path can hold, or a lone surrogate, which no file can hold.
    """
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"{whole} holds a character that is no text ({text!r}); leave it out")
    return text


def _problem(error: yaml.YAMLError) -> str:
    """Describe the problem and its place in one line, without quoting the file."""
    mark = getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    return f"{said}{where}"


class _Document:
    """Builds the values of one document from the parser's events.

    Args:
        loader: source of the events; resolves untagged scalars.
        whole: description of the document, for messages.
    """

    def __init__(self, loader: _Loader, whole: str) -> None:
        self._loader = loader
        self._whole = whole
        self._count = 0
        # By anchor: its value and the number of values in it; None while it is being built.
        self._anchors: dict[str, tuple[Any, int] | None] = {}

    def content(self) -> Any:
        self._next()  # the stream's start
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), 0)
        self._next()  # the document's end
        if not isinstance(self._next(), yaml.StreamEndEvent):
            raise UserError(f"{self._whole} is not valid YAML: it holds several documents; give one")
        return value

    def _next(self) -> Any:
        return self._loader.get_event()  # type: ignore[no-untyped-call]

    def _value(self, event: Any, depth: int) -> Any:
        if depth > DEPTH_LIMIT:
            raise UserError(f"{self._whole} is nested too deeply{_at(event)}; at most {DEPTH_LIMIT} levels are read")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._count
        self._add(1)
        if event.anchor:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event, "seq")
            value = []
            while not isinstance(inner := self._next(), yaml.SequenceEndEvent):
                value.append(self._value(inner, depth + 1))
        else:
            self._check_tag(event, "map")
            value = self._block(depth)
        if event.anchor:
            self._anchors[event.anchor] = value, self._count - before
        return value

    def _add(self, count: int) -> None:
        self._count += count
        if self._count > VALUE_LIMIT:
            raise UserError(f"{self._whole} has more than {VALUE_LIMIT} values, anchors unfolded; check the file")

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise UserError(f"{self._whole} is not valid YAML: there is no anchor {event.anchor!r}{_at(event)}")
        found = self._anchors[event.anchor]
        if found is None:
            raise UserError(f"{self._whole}: the anchor {event.anchor!r} holds itself{_at(event)}; write it out")
        self._add(found[1])
        return found[0]

    def _block(self, depth: int) -> dict[str, Any]:
        given: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and event.value == "<<":
                self._merge(self._value(self._next(), depth + 1), merged, event)
                continue
            key = self._value(event, depth + 1)
            if not isinstance(key, str):
                shown = repr(event.value) if isinstance(event, yaml.ScalarEvent) else "that is a list or a block"
                raise UserError(f"{self._whole} has a key {shown}, which is no text{_at(event)}; write it in quotes")
            if key in given:
                raise UserError(f"{self._whole} has the key {key!r} twice{_at(event)}; give it once")
            given[key] = self._value(self._next(), depth + 1)
        # The mapping's own keys override merged ones.
        return {**{key: value for key, value in merged.items() if key not in given}, **given}

    def _merge(self, value: Any, merged: dict[str, Any], event: Any) -> None:
        for block in value if isinstance(value, list) else [value]:
            if not isinstance(block, dict):
                raise UserError(f"{self._whole} has a `<<` that is no block{_at(event)}; give a block, or leave it out")
            for key, entry in block.items():
                merged.setdefault(key, entry)

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", f"{_TAG}{kind}"):
            raise UserError(
                f"{self._whole} has the tag {_tag(event)}{_at(event)}; leave it out: only plain values are read"
            )

    def _scalar(self, event: Any) -> Any:
        tag, text = event.tag, event.value
        if tag in (None, "!"):
            tag = self._loader.resolve(yaml.ScalarNode, text, event.implicit)  # type: ignore[no-untyped-call]
        kind = tag.removeprefix(_TAG)
        if kind in ("str", "merge", "value"):
            return check_text(text, self._whole)
        if kind not in ("null", "bool", "int", "float"):
            self._check_tag(event, "str")
        if kind == "null":
            return None
        if len(text) > NUMBER_LIMIT:
            raise UserError(f"{self._whole} has a number of {len(text)} characters{_at(event)}; check the file")
        try:
            return getattr(self._loader, f"construct_yaml_{kind}")(yaml.ScalarNode(tag, text))
        except (ValueError, KeyError, IndexError, OverflowError):
            raise UserError(f"{self._whole}: {text!r} is no {kind}{_at(event)}; correct it") from None


def _at(event: Any) -> str:
    return f" (line {event.start_mark.line + 1})"


def _tag(event: Any) -> str:
    tag: str = event.tag
    return f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag
