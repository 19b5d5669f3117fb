"""One order of classes for all lists of a run, defined by the training list.

| the training list has | another list has | classes of the other list |
|---|---|---|
| names, or numbers with names | names | by name, in the training list's order |
| names | numbers with names | by name, in the training list's order |
| numbers with names | numbers with the same names, or without | the same numbers |
| numbers without names | numbers | the same numbers |
| numbers with names | numbers with other names, or in another order | refused: one of the two files is wrong |
| names alone | numbers without names | refused: nothing says which number is which name |
| numbers without names | names alone | refused, likewise |
"""

from __future__ import annotations

from dataclasses import dataclass

from adafocus_rl.data.class_names import ClassNames
from adafocus_rl.data.formats import ListLine
from adafocus_rl.data.list_text import ListError
from adafocus_rl.data.raw_list import RawList


@dataclass(frozen=True, kw_only=True)
class ClassOrder:
    """The mapping from a list's own labels to the labels of the run."""

    raw: RawList
    """The list."""
    classes: ClassNames | None
    """K names in the order of the run; None if there are no names."""
    numbers: tuple[int | None, ...] | None = None
    """The run's label for each of the list's own numbers, with None for a class that the run lacks; None if the list
    uses the run's numbers."""
    conflict: str | None = None
    """Why the list's labels cannot be mapped to the run's order, with advice; None if they can."""

    def labels(self, line: ListLine) -> tuple[int, ...]:
        """Return the labels of a line in the order of the run, without duplicates.

        Raises:
            ListError: the line has a class that the run lacks.
        """
        return tuple(dict.fromkeys(self._label(line.line, label) for label in line.labels))

    def _label(self, line: int, given: int | str) -> int:
        if isinstance(given, int):
            if self.numbers is None:
                return given
            own = self.raw.files[0]
            if given >= len(own.names):
                text = f"the label is {given}, but {own.source} has {len(own.names)} names; correct one of the two"
                raise ListError(self.raw.file, line, text)
            label, name = self.numbers[given], own.names[given]
        else:
            assert self.classes is not None  # a list whose labels are names has an order
            label, name = self.classes.label(given), given
        if label is None:
            assert self.classes is not None
            raise ListError(self.raw.file, line, self.classes.unknown(name))
        return label


def first_order(raw: RawList) -> ClassOrder:
    """Use the list's own order, as the first list of a run."""
    return ClassOrder(raw=raw, classes=raw.order)


def order_after(first: RawList, other: RawList) -> ClassOrder:
    """Map the labels of another list to the run's order, by the table in this module's docstring.

    Args:
        first: the training list.
        other: another list of the run, such as the validation list.
    """
    order, own = first.order, other.order
    if order is None:
        if other.named and not other.files:
            return ClassOrder(raw=other, classes=own, conflict=_nothing_says(numbers=first, names=other))
        return ClassOrder(raw=other, classes=own)
    if other.named:
        return ClassOrder(raw=other, classes=order)
    if own is None:
        conflict = None if first.files else _nothing_says(numbers=other, names=first)
        return ClassOrder(raw=other, classes=order, conflict=conflict)
    difference = order.difference(own)
    if difference is None:
        return ClassOrder(raw=other, classes=order)
    if first.named:
        return ClassOrder(raw=other, classes=order, numbers=tuple(map(order.label, own.names)))
    return ClassOrder(
        raw=other,
        classes=own,
        conflict=f"{other.file} and {first.file} number their classes differently: {difference}; "
        "correct one of the two files, or name one for both lists with data.classes",
    )


def _nothing_says(*, numbers: RawList, names: RawList) -> str:
    return (
        f"{numbers.file} has numbers for classes and {names.file} has names, and nothing says which number is which "
        "name; give a file of class names in the order of the numbers with data.classes"
    )
