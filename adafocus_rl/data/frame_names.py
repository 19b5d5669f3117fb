"""Selection and order of the images in a folder that are the frames of a video.

Extraction tools name frames differently: ``image_00001.jpg``, ``00001.jpg``, ``img_00001.jpg``, ``000001.jpg``. Some
write optical flow (``flow_x_00001.jpg``) beside them. A template in Python's notation, ``image_{:05d}.jpg``, selects
the frames; without one they are detected.
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
"""Largest number of missing frames of a folder that are listed."""

FRAME_PREFIXES = ("image_", "img_", "frame_", "")
"""Prefixes of frame names, used to select frames in a folder of images with several prefixes."""

_DIGITS_ALIKE = str.maketrans("123456789", "0" * 9)

_TEMPLATE = re.compile(r"([^{}]*)\{:?(?:0(\d{1,2}))?d?\}([^{}]*)")


@dataclass(frozen=True, kw_only=True)
class FrameFamily:
    """Images of one folder whose names differ only in a number."""

    prefix: str
    """Text before the number."""
    suffix: str
    """Text after the number, including the file suffix."""
    names: dict[int, str]
    """File names by number, in increasing order of the numbers."""

    @property
    def template(self) -> str:
        """The pattern of the names: ``image_{:05d}.jpg``."""
        digits = {len(name) - len(self.prefix) - len(self.suffix) for name in self.names.values()}
        return f"{self.prefix}{{{f':0{digits.pop()}d' if len(digits) == 1 else ''}}}{self.suffix}"

    @property
    def gaps(self) -> list[int]:
        """The first ``MOST_GAPS`` missing numbers between the first and the last."""
        # Lazily, because a name may contain a number of twenty digits.
        missing = chain.from_iterable(range(one + 1, other) for one, other in pairwise(self.names))
        return list(islice(missing, MOST_GAPS))

    def name(self, number: int) -> str:
        """Return the file name for a number."""
        return self.template.format(number)


def parse_template(template: str) -> re.Pattern[str]:
    """Compile a template like ``image_{:05d}.jpg`` to a pattern of file names; its suffix is optional.

    Raises:
        UserError: the template does not contain exactly one number.
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
    """Return the paths of the frames of a folder, in order; the arguments are those of ``ordered_names``."""
    return [folder / name for name in ordered_names(folder, template)]


def ordered_names(folder: Path, template: str | None = None) -> list[str]:
    """Return the names of the frames of a folder, in natural order (``2.jpg`` before ``10.jpg``).

    Args:
        folder: an existing folder.
        template: pattern of the names of frames, as ``image_{:05d}.jpg``. None selects the images with one prefix of
            ``FRAME_PREFIXES`` if the folder has images with several prefixes, and all images otherwise.
    """
    names = image_names(folder)
    # Usually names differ only in their digits; text order then equals natural order and is much faster.
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
    """Return the names of the images in a folder, without hidden files (macOS leaves ._NAME.jpg)."""
    endings = tuple(IMAGE_SUFFIXES)
    with os.scandir(folder) as entries:  # much faster than a Path for each
        return [
            entry.name for entry in entries if entry.name.lower().endswith(endings) and not entry.name.startswith(".")
        ]


def split_families(names: Iterable[str]) -> list[FrameFamily]:
    """Group names that differ only in their last number, the largest group first.

    A name without a number is in no group.
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
