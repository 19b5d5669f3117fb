"""Variants to compare: a run's configuration with a few keys changed, each under a name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.agent_name import split_agent
from adafocus_rl.experiments.config.parser import FLAGS, Settings, parse_settings
from adafocus_rl.experiments.config.recipe_files import find_file, names_in
from adafocus_rl.experiments.run.steps import matters
from adafocus_rl.yaml_text import read_yaml

if TYPE_CHECKING:
    from adafocus_rl.experiments.run.folder import RunFolder

FOLDER = files("adafocus_rl.experiments") / "recipes" / "ablations"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One variant of a comparison."""

    name: str
    """Name in tables and plots."""

    overrides: dict[str, Any]
    """Dotted keys of a recipe and their values, in order; ``agent`` is a class name, ``agent.KEY`` its options."""

    file: Path | None = None
    """The ablation file that defines it; None for a variant of the command line."""

    def settings(self, run: RunFolder, arguments: Sequence[str]) -> Settings:
        """Return the run's configuration with the keys of this variant changed.

        Args:
            run: the run.
            arguments: further ``--KEY=VALUE`` arguments, which apply to all variants.

        Raises:
            UserError: as ``variant_settings``; it names the ablation file if the mistake is in it.
        """
        common = variant_settings(run, arguments)
        if not self.overrides:
            return common
        try:
            return variant_settings(run, [*arguments, *as_arguments(self.overrides)])
        except UserError as error:
            raise UserError(f"{self.file}: {error}" if self.file else str(error)) from None


def as_arguments(overrides: Mapping[str, Any]) -> list[str]:
    """Return dotted keys and values as arguments of ``adafocus train``.

    Raises:
        UserError: if a key reads a file or prints something, instead of setting a value.
    """
    for key in overrides:
        if key in ("config", *FLAGS):
            raise UserError(f"the overrides have {key!r}, which is no key of a recipe; leave it out")
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in overrides.items()]


def agent_variant(text: str) -> Variant:
    """Make a variant from ``PPOAgent``, ``ppo`` or ``PPOAgent:gamma=0.9,cell=none``; its name is the text.

    Options that are not given keep the run's values if the run's agent has them, and the class's defaults otherwise.

    Raises:
        UserError: if an option has no value.
    """
    name, options = split_agent(text)
    overrides = {"agent": name, **{f"agent.{key}": value for key, value in options.items()}}
    return Variant(name=text, overrides=overrides)


def ablation_names() -> list[str]:
    """Return the names of the ablations that come with the package."""
    return names_in(FOLDER)


def read_ablation(name: str) -> tuple[str, list[Variant]]:
    """Read an ablation, given by name or by the path of a YAML file with a list of ``{name, overrides}``.

    Returns:
        Its name, and its variants.

    Raises:
        UserError: if there is no such ablation, or its content is not such a list.
    """
    path = find_file(name, FOLDER, "ablation")
    return path.stem, list(_variants(path, read_yaml(path, "ablation file")))


def _variants(path: Path, content: Any) -> Iterator[Variant]:
    if not isinstance(content, list) or not content:
        raise UserError(f"{path} is not an ablation; give a list of blocks with `name` and `overrides`")
    for entry in content:
        overrides = entry.get("overrides") if isinstance(entry, Mapping) else None
        if not isinstance(entry, Mapping) or "name" not in entry or not isinstance(overrides, Mapping):
            raise UserError(f"{path} has the entry {entry!r}; give a block with `name` and a block `overrides`")
        if extra := set(entry) - {"name", "overrides"}:
            raise UserError(f"{path} has the key {min(extra)!r} in {entry['name']!r}; give `name` and `overrides` only")
        yield Variant(
            name=str(entry["name"]), overrides={str(key): value for key, value in overrides.items()}, file=path
        )


def check_names(variants: Sequence[Variant]) -> None:
    """Refuse two variants with the same name.

    Raises:
        UserError: if there are such variants; the message names the first.
    """
    seen = set()
    for variant in variants:
        if variant.name in seen:
            raise UserError(
                f"{variant.name!r} is given twice; give each variant once, --seeds says how often it trains"
            )
        seen.add(variant.name)


def variant_settings(run: RunFolder, arguments: Sequence[str]) -> Settings:
    """Return the run's configuration with some keys changed.

    Args:
        run: the run.
        arguments: ``--KEY=VALUE`` arguments, for example those of ``as_arguments``.

    Raises:
        UserError: if a key or class is unknown, a type is wrong, or a value is out of range.
    """
    return parse_settings("adafocus compare", ["--config", str(run.config), *arguments])


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys whose values differ between two nested configurations, with the values of ``after``."""
    old, new = dict(flat(before)), dict(flat(after))
    return {key: new.get(key) for key in {**old, **new} if key not in old or key not in new or old[key] != new[key]}


ADDED: dict[str, Any] = {"model.patch_scales": [1.0], "bank.eight_bit": []}
"""Keys that earlier versions did not have, with the value for which nothing changes."""


def identity_of(values: Mapping[str, Any], keys: Sequence[str]) -> list[tuple[str, Any]]:
    """Return the dotted keys and values of nested mappings on which results depend, sorted, for a hash of them.

    Keys of ``ADDED`` with the value there are left out, so that results of earlier versions are found again.

    Args:
        values: the configuration of a run.
        keys: keys on which the results depend, with all keys below them.
    """
    known = ((key, value) for key, value in flat(values) if matters(key, keys))
    return sorted((key, value) for key, value in known if key not in ADDED or value != ADDED[key])


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and values of nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
