"""Packages that ``adafocus_rl`` requires, and those of its extras, as its own metadata lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import requires

from adafocus_rl.experiments.run.versions import installed_version

EXTRAS = {
    "sb3": "recurrent agents of sb3-contrib",
    "onnx": "adafocus export",
    "products": "the photographs of moving_products",
    "hub": "adafocus card --push",
    "hpo": "adafocus tune",
    "timm": "encoders by timm:NAME",
}
"""What the packages of each extra are for."""

DEVELOPMENT = ("dev", "docs")
"""Extras that are for work on this package only."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One package in the metadata of ``adafocus_rl``."""

    name: str
    """Name of the distribution."""
    least: str
    """Lowest version; "" for any."""
    extra: str
    """Name of its extra; "" if it is always required."""
    found: str | None
    """Version that is installed; None if it is not."""

    @property
    def too_old(self) -> bool:
        """Whether the installed version is below the lowest one."""
        return self.found is not None and _numbers(self.found) < _numbers(self.least)

    @property
    def command(self) -> str:
        """The command that installs it."""
        return f'pip install "{self.name}>={self.least}"' if self.least else f"pip install {self.name}"


def read_requirements() -> list[Requirement]:
    """Return the packages that ``adafocus_rl`` lists, those for work on it excepted."""
    return [*_parsed(requires("adafocus_rl") or [])]


def _parsed(lines: list[str]) -> Iterator[Requirement]:
    for line in lines:
        specifier, _, marker = line.partition(";")
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        name = re.match(r"[\w.-]+", specifier)
        least = re.search(r">=\s*([\w.]+)", specifier)
        if name and (extra is None or extra[1] not in DEVELOPMENT):
            yield Requirement(
                name=name[0],
                least=least[1] if least else "",
                extra=extra[1] if extra else "",
                found=installed_version(name[0]),
            )


def _numbers(text: str) -> list[int]:
    """Return the numbers of a version in order; what follows a plus sign or a letter does not count."""
    return [int(number) for number in re.findall(r"\d+", re.split(r"[+a-zA-Z]", text)[0])]
