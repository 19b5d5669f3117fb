"""Which images of a folder are the frames of a video, and in which order.

Extraction tools name frames differently: ``image_00001.jpg``, ``00001.jpg``, ``img_00001.jpg``, ``000001.jpg``; some
put optical flow (``flow_x_00001.jpg``) beside them. A template in Python's notation, ``image_{:05d}.jpg``, says which
are meant; without one it is detected.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path

from adafocus_rl.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

MOST_GAPS = 1000
"""Missing frames of a folder that are listed."""

FRAME_PREFIXES = ("image_", "img_", "frame_", "")
"""Beginnings of names that are frames wherever images with other beginnings lie beside them."""

_DIGITS_ALIKE = str.maketrans("123456789", "0" * 9)

_TEMPLATE = re.compile(r"([^{}]*)\{:?(?:0(\d{1,2}))?d?\}([^{}]*)")


@dataclass(frozen=True, kw_only=True)
class FrameFamily:
    """Images of one folder whose names differ in a number only."""

    prefix: str
    """What stands before the number."""
    suffix: str
    """What stands after it, the ending included."""
    names: dict[int, str]
    """File names by number, in the order of the numbers."""

    @property
    def template(self) -> str:
        """The pattern of the names: ``image_{:05d}.jpg``."""
        digits = {len(name) - len(self.prefix) - len(self.suffix) for name in self.names.values()}
        return f"{self.prefix}{{{f':0{digits.pop()}d' if len(digits) == 1 else ''}}}{self.suffix}"

    @property
    def gaps(self) -> list[int]:
        """Numbers that are missing between the first and the last, the first ``MOST_GAPS`` of them."""
        # One by one: a name may hold a number of twenty digits.
        missing = chain.from_iterable(range(one + 1, other) for one, other in pairwise(self.names))
        return list(islice(missing, MOST_GAPS))

    def name(self, number: int) -> str:
        """The file name that a number would have."""
        return self.template.format(number)


def parse_template(template: str) -> re.Pattern[str]:
    """The pattern of file names that a template like ``image_{:05d}.jpg`` gives; the ending may be left out.

    Raises:
        UserError: no number in it, or more than one.
    """
    match = _TEMPLATE.fullmatch(template)
    if match is None:
        raise UserError(
            f"frame_template is {template!r}; expected one number in braces, as in 'image_{{:05d}}.jpg' or '{{:06d}}'"
        )
    before, digits, after = match.groups()
    number = rf"\d{{{digits},}}" if digits else r"\d+"
    ending = "" if after.lower().endswith(tuple(IMAGE_SUFFIXES)) else r"\.(?:jpe?g|png)"
    return re.compile(f"({re.escape(before)})({number})({re.escape(after)}{ending})", re.IGNORECASE)


def frame_images(folder: Path, template: str | None = None) -> list[Path]:
    """The frames of a folder, in order; arguments as of ``ordered_names``."""
    return [folder / name for name in ordered_names(folder, template)]


def ordered_names(folder: Path, template: str | None = None) -> list[str]:
    """Names of the frames of a folder, in order.

    Args:
        folder: it must exist.
        template: which names are frames, as ``image_{:05d}.jpg``. None takes the images of one beginning of
            ``FRAME_PREFIXES`` when there are images of several beginnings, and otherwise all, in natural order
            (``2.jpg`` before ``10.jpg``).
    """
    names = image_names(folder)
    # As a rule names differ in their digits only, and then text order is natural order and much faster.
    if template is None and len({name.translate(_DIGITS_ALIKE) for name in names}) <= 1:
        return sorted(names)
    if template is None:
        families = split_families(names)
        if len({family.prefix for family in families}) > 1:
            known = [family for family in families if family.prefix.lower() in FRAME_PREFIXES]
            if len({family.prefix for family in known}) == 1:
                names = [name for family in known for name in family.names.values()]
    else:
        pattern = parse_template(template)
        names = [name for name in names if pattern.fullmatch(name)]
    return sorted(names, key=_natural)


def image_names(folder: Path) -> list[str]:
    """Names of the images in a folder; hidden files (macOS leaves ._NAME.jpg) are none."""
    endings = tuple(IMAGE_SUFFIXES)
    with os.scandir(folder) as entries:  # much faster than a Path for each
        return [
            entry.name for entry in entries if entry.name.lower().endswith(endings) and not entry.name.startswith(".")
        ]


def split_families(names: Iterable[str]) -> list[FrameFamily]:
    """Names that differ in their last number only belong together; the largest family comes first.

    A name without a number is in no family.
    """
    found: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for name in names:
        match = re.fullmatch(r"(.*?)(\d+)(\D*)", name)
        if match:
            found[match[1], match[3]][int(match[2])] = name
    families = [
        FrameFamily(prefix=prefix, suffix=suffix, names=dict(sorted(numbers.items())))
        for (prefix, suffix), numbers in found.items()
    ]
    return sorted(families, key=lambda family: (-len(family.names), family.prefix))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that compares runs of digits as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
