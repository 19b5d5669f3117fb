"""What is compared: a run's configuration with a few keys changed, each under a name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.parser import FLAGS, Settings, parse_settings
from adafocus_rl.experiments.config.recipe_files import find_file, names_in
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.yaml_text import read_yaml

FOLDER = files("adafocus_rl.experiments") / "recipes" / "ablations"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One line of a comparison."""

    name: str
    """What it is called in tables and plots."""

    overrides: dict[str, Any]
    """Dotted keys of a recipe and their values, in order; ``agent`` is a class name, ``agent.KEY`` its options."""

    file: Path | None = None
    """The ablation file that says so; None for one of the command line."""

    def settings(self, run: RunFolder, arguments: Sequence[str]) -> Settings:
        """The run's configuration as this variant has it.

        Args:
            run: the run.
            arguments: further ``--KEY=VALUE``, which hold for all variants.

        Raises:
            UserError: as ``variant_settings``; it names the ablation file, if that is where the mistake is.
        """
        common = variant_settings(run, arguments)
        if not self.overrides:
            return common
        try:
            return variant_settings(run, [*arguments, *as_arguments(self.overrides)])
        except UserError as error:
            raise UserError(f"{self.file}: {error}" if self.file else str(error)) from None


def as_arguments(overrides: Mapping[str, Any]) -> list[str]:
    """Dotted keys and values as ``adafocus train`` takes them.

    Raises:
        UserError: a key that reads a file or prints something, instead of setting a value.
    """
    for key in overrides:
        if key in ("config", *FLAGS):
            raise UserError(f"the overrides have {key!r}, which is no key of a recipe; leave it out")
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in overrides.items()]


def agent_variant(text: str) -> Variant:
    """A variant from ``PPOAgent`` or ``PPOAgent:gamma=0.9,cell=none``; its name is the text.

    Options that are not given keep the run's values where the run's agent has them, and the class's defaults elsewhere.

    Raises:
        UserError: an option without a value.
    """
    name, _, options = text.partition(":")
    overrides: dict[str, Any] = {"agent": name}
    # A comma inside a value, of a list say, is followed by no `key=`.
    for option in re.split(r",(?=\s*\w+=)", options) if options else ():
        key, separator, value = option.strip().partition("=")
        if not separator or not key:
            raise UserError(f"{text!r} has the option {option!r}; write CLASS:KEY=VALUE,KEY=VALUE")
        overrides[f"agent.{key}"] = value
    return Variant(name=text, overrides=overrides)


def ablation_names() -> list[str]:
    """Names of the ablations that come with the package."""
    return names_in(FOLDER)


def read_ablation(name: str) -> tuple[str, list[Variant]]:
    """An ablation by name, or by the path of a YAML file with a list of ``{name, overrides}``.

    Returns:
        Its name, and its variants.

    Raises:
        UserError: there is none, or its content is not such a list.
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
    """Refuse two variants of one name.

    Raises:
        UserError: naming the first one that is there twice.
    """
    seen = set()
    for variant in variants:
        if variant.name in seen:
            raise UserError(
                f"{variant.name!r} is given twice; give each variant once, --seeds says how often it trains"
            )
        seen.add(variant.name)


def variant_settings(run: RunFolder, arguments: Sequence[str]) -> Settings:
    """The run's configuration with some keys changed.

    Args:
        run: the run.
        arguments: ``--KEY=VALUE``, of ``as_arguments`` for one.

    Raises:
        UserError: unknown key or class, wrong type, or a value out of range.
    """
    return parse_settings("adafocus compare", ["--config", str(run.config), *arguments])


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys whose value differs between two configurations of plain nested values, with the value after."""
    old, new = dict(flat(before)), dict(flat(after))
    return {key: new.get(key) for key in {**old, **new} if key not in old or key not in new or old[key] != new[key]}


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
