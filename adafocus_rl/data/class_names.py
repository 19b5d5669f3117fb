"""Names of the classes, in the order of the labels, from the files in which datasets give them.

| file | content |
|---|---|
| ``classes.txt``, ``category.txt``, ``*labels.csv`` | one name a line |
| ``*classInd.txt`` | ``0,Applying sunscreen`` or ``1 ApplyEyeMakeup``: numbered from 0 or 1 |
| ``*labels.json`` | ``{"name": "0", …}``, or a list of names |

Something-Something and Jester circulate with two orders of the same classes, sorted and as published; a label means
another class in each. So what was read, and from where, is said whenever labels had to be derived from names.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from adafocus_rl.errors import UserError
from adafocus_rl.files import read_text

BESIDE = ("classes.txt", "*classInd*.txt", "category.txt", "*labels.json", "*labels.csv", "*labels.txt")
"""Names of class files that are looked for beside a list, the first one first."""


@dataclass(frozen=True, kw_only=True)
class ClassNames:
    """K classes."""

    names: tuple[str, ...]
    """Their names, in the order of the labels."""
    source: str
    """Where the order comes from, for messages: a file, or how it was made."""

    def note(self, others: Sequence[ClassNames] = ()) -> str:
        """One sentence on the order that is used, and on other files there that have another one."""
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
        """Whether the names are in alphabetical order, capital letters as small ones or before them."""
        return list(self.names) in (sorted(self.names), sorted(self.names, key=str.casefold))

    def label(self, name: str) -> int | None:
        """The label of a name; brackets of Something-Something's templates and case do not matter."""
        return self._labels.get(plain(name))

    @cached_property
    def _labels(self) -> dict[str, int]:
        return {plain(known): label for label, known in enumerate(self.names)}

    def unknown(self, name: str) -> str:
        """What to say of a name that is none of these."""
        near = difflib.get_close_matches(plain(name), [plain(known) for known in self.names], n=1)
        meant = f"; did you mean {near[0]!r}?" if near else "; correct the list or give the file of its class names"
        return f"{name!r} is none of the {len(self.names)} class names of {self.source}{meant}"


def plain(name: str) -> str:
    """The name as names are compared: ``Putting [something] Here`` is ``putting something here``."""
    return " ".join(name.replace("[", "").replace("]", "").split()).casefold()


def find_class_files(list_file: Path) -> list[Path]:
    """The files of class names beside a list, by the names of `BESIDE`; the first is the one to use."""
    found = [path for pattern in BESIDE for path in sorted(list_file.parent.glob(pattern)) if path.is_file()]
    return [path for path in dict.fromkeys(found) if path != list_file]


def read_class_names(path: Path) -> ClassNames:
    """Read one of the files in this module's docstring.

    Raises:
        UserError: no such file, no text, no names, or JSON of another shape.
    """
    text = read_text(path, "file of class names")
    names = _from_json(path, text) if text.lstrip()[:1] in ("{", "[") else _from_lines(text)
    if not any(names):
        raise UserError(f"the file of class names {path} holds no name; expected one name a line")
    return ClassNames(names=tuple(names), source=str(path))


def sorted_names(names: Sequence[str], source: str) -> ClassNames:
    """The classes of annotations that come without a file of class names: their names in alphabetical order."""
    return ClassNames(names=tuple(sorted(set(names))), source=f"{source} itself, because no file gives an order")


def _from_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.rstrip("\r\n").split("\n")]
    numbered = [re.fullmatch(r"(\d+)[,; \t]\s*(\S.*)", line) for line in lines]
    matches = [match for match in numbered if match]
    # A name may begin with a number of its own; only lines that count from 0 or 1 are numbered.
    counts = [int(match[1]) for match in matches]
    if len(matches) == len(lines) and counts in (list(range(len(lines))), list(range(1, len(lines) + 1))):
        return [match[2] for match in matches]
    return lines


def _from_json(path: Path, text: str) -> list[str]:
    try:
        content = json.loads(text)
        if isinstance(content, list):
            return [str(name) for name in content]
        by_label = {int(label): str(name) for name, label in content.items()}
    except (ValueError, TypeError, AttributeError):
        by_label = {}
    if not by_label or sorted(by_label) != list(range(len(content))):
        raise UserError(
            f'the file of class names {path} is JSON of another shape; expected {{"name": "0", …}} with the labels 0, '
            "1, 2 … each once, or a list of names"
        )
    return [by_label[label] for label in range(len(by_label))]
