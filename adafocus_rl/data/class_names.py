"""Class names in the order of the labels, read from the files in which datasets publish them.

| file | content |
|---|---|
| ``classes.txt``, ``category.txt``, ``*labels.csv`` | one name a line |
| ``*classInd.txt`` | ``0,Applying sunscreen`` or ``1 ApplyEyeMakeup``: numbered from 0 or 1 |
| ``*labels.json`` | ``{"name": "0", …}``, or a list of names |

Something-Something and Jester circulate with two orders of the same classes, sorted and as published, in which a label
means different classes. Whenever labels are derived from names, a note therefore says which file gave the order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from adafocus_rl.data.list_text import MAX_CLASSES, flaw, number, with_newlines
from adafocus_rl.errors import UserError
from adafocus_rl.files import parse_json, read_text
from adafocus_rl.suggestions import nearest

BESIDE = ("classes.txt", "*classInd*.txt", "category.txt", "*labels.json", "*labels.csv", "*labels.txt")
"""Names of class files searched beside a list, in order of preference."""


@dataclass(frozen=True, kw_only=True)
class ClassNames:
    """K classes."""

    names: tuple[str, ...]
    """Their names, in the order of the labels."""
    source: str
    """Source of the order, for messages: a file, or how it was derived."""
    aliases: tuple[str, ...] = ()
    """The names with their numbers, if the file numbers its lines: a name may itself begin with a number."""

    def note(self, others: Sequence[ClassNames] = ()) -> str:
        """One sentence on the order used, and on other files beside it that have another order."""
        order = "alphabetical" if self.is_sorted else "not alphabetical"
        last = len(self.names) - 1
        text = (
            f"classes are in the order of {self.source} ({len(self.names)} names, {order}: 0 is {self.names[0]!r}, "
            f"{last} is {self.names[-1]!r})"
        )
        different = [other.source for other in others if [*map(plain, other.names)] != [*map(plain, self.names)]]
        return f"{text}; {' and '.join(different)} has others, or another order" if different else text

    @property
    def is_sorted(self) -> bool:
        """Whether the names are in alphabetical order, with capital letters equal to small ones or before them."""
        return list(self.names) in (sorted(self.names), sorted(self.names, key=str.casefold))

    def label(self, name: str) -> int | None:
        """Return the label of a name; None for an unknown name or one that several classes share.

        Case and the brackets of Something-Something's templates are ignored unless they distinguish two classes.
        """
        for known, key in zip(self._labels, (name, plain(name), name), strict=True):
            if key in known:
                return known[key]
        return None

    @cached_property
    def _labels(self) -> tuple[dict[str, int | None], ...]:
        """Labels by exact name, by normalised name, and by alias."""
        return _numbered(self.names), _numbered(map(plain, self.names)), _numbered(self.aliases)

    def unknown(self, name: str) -> str:
        """Message for a name for which ``label`` returns None."""
        if plain(name) in self._labels[1] and self._labels[1][plain(name)] is None:
            alike = [label for label, known in enumerate(self.names) if plain(known) == plain(name)]
            return f"{name!r} may be class {alike[0]} or {alike[1]} of {self.source}; give each class its own name"
        meant = self._suggestion(name) or "; correct the label or give the file of its class names"
        return f"{name!r} is none of the {len(self.names)} class names of {self.source}{meant}"

    def _suggestion(self, name: str) -> str:
        # To look for near names takes long, and a list of another dataset has nothing but names that are none.
        if name not in self._suggested and len(self._suggested) < 100 and len(self.names) <= 10_000:
            near = nearest(name, self.names, key=plain)
            self._suggested[name] = f"; did you mean {near!r}?" if near else ""
        return self._suggested.get(name, "")

    @cached_property
    def _suggested(self) -> dict[str, str]:
        return {}

    def difference(self, other: ClassNames) -> str | None:
        """Describe the first class at which another order differs from this one; None if they agree."""
        for label, (one, two) in enumerate(zip(self.names, other.names, strict=False)):
            if plain(one) != plain(two):
                return f"class {label} is {one!r} in {self.source} and {two!r} in {other.source}"
        if len(self.names) != len(other.names):
            return f"there are {len(self.names)} classes in {self.source} and {len(other.names)} in {other.source}"
        return None


def _numbered(names: Iterable[str]) -> dict[str, int | None]:
    """Number the names; a duplicate name gets None."""
    labels: dict[str, int | None] = {}
    for label, name in enumerate(names):
        labels[name] = None if name in labels else label
    return labels


def plain(name: str) -> str:
    """Normalise a name for comparison: ``Putting [something] Here`` becomes ``putting something here``."""
    return " ".join(name.replace("[", "").replace("]", "").split()).casefold()


def find_class_files(list_file: Path) -> list[Path]:
    """Find the class files beside a list, in the order of ``BESIDE``; the first is the one to use."""
    found = [path for pattern in BESIDE for path in sorted(list_file.parent.glob(pattern)) if path.is_file()]
    return [path for path in dict.fromkeys(found) if path != list_file]


def read_class_names(path: Path) -> ClassNames:
    """Read one of the kinds of file listed in this module's docstring.

    Raises:
        UserError: the file does not exist, is not text, has no names or too many, or is JSON of another shape.
    """
    text = read_text(path, "file of class names")
    names, aliases = _from_text(text, path)
    if not any(names):
        raise UserError(f"the file of class names {path} holds no name; expected one name a line")
    for label, name in enumerate(names):
        if (what := flaw(name)) is not None:
            raise UserError(f"the name of class {label} in {path} contains {what}; write the file anew as UTF-8 text")
    return ClassNames(names=tuple(names), source=str(path), aliases=tuple(aliases))


def class_names_text(names: Sequence[str]) -> str:
    """Format class names so that ``read_class_names`` reads them back equal.

    The result has one name per line or, where lines would be read as something else (all numbered, or JSON), is a JSON
    list.
    """
    lines = "".join(f"{name}\n" for name in names)
    try:
        if _from_text(lines, Path())[0] == [*names]:
            return lines
    except UserError:
        pass  # not JSON, only a name that begins like it
    return json.dumps([*names], indent=0, ensure_ascii=False) + "\n"


def sorted_names(names: Sequence[str], source: str) -> ClassNames:
    """Order class names alphabetically, for annotations without a file of class names."""
    return ClassNames(names=tuple(sorted(set(names))), source=f"{source} itself, because no file gives an order")


def _from_text(text: str, path: Path) -> tuple[list[str], list[str]]:
    """Parse the names, and their aliases if lines are numbered."""
    if text.lstrip()[:1] in ("{", "["):
        return _from_json(path, text), []
    text = with_newlines(text.rstrip("\r\n"))
    if text.count("\n") >= MAX_CLASSES:
        raise UserError(f"the file of class names {path} has more than {MAX_CLASSES} lines; expected one name a line")
    lines = [line.strip() for line in text.split("\n")]
    numbered = [re.fullmatch(r"(\d+)[,; \t]\s*(\S.*)", line) for line in lines]
    matches = [match for match in numbered if match]
    # A name may itself begin with a number. Lines are numbered only if they count from 0 or 1 and the remaining text
    # distinguishes the classes: "1 finger" and "2 finger" are names.
    counts = [number(match[1]) for match in matches]
    names = [match[2] for match in matches]
    if counts in ([*range(len(lines))], [*range(1, len(lines) + 1)]) and len({*names}) == len(lines):
        return names, lines
    return lines, []


def _from_json(path: Path, text: str) -> list[str]:
    content = parse_json(text, f"the file of class names {path}")
    if isinstance(content, list) and all(isinstance(name, str | int) for name in content):
        return [str(name) for name in content]
    labels = {str(name): number(str(label)) for name, label in content.items()} if isinstance(content, dict) else {}
    by_label = {label: name for name, label in labels.items()}
    if not labels or {*by_label} != {*range(len(labels))}:
        raise UserError(
            f'the file of class names {path} is JSON of another shape; expected {{"name": "0", …}} with the labels 0, '
            "1, 2 … each once, or a list of names"
        )
    return [by_label[label] for label in range(len(labels))]
