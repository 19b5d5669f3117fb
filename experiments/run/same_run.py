"""Check that a run folder does not mix results of different configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.steps import STEPS, kept_before, keys_of, matters


def check_same_run(
    run: RunFolder, stored: Mapping[str, Any], wanted: Mapping[str, Any], *, stages: Sequence[int], resume: bool
) -> None:
    """Refuse a configuration that contradicts results to be kept in the run folder.

    With ``resume`` all steps are kept; otherwise those that do not depend on the first of ``stages`` or a later stage.

    Args:
        run: the folder, for the message.
        stored: the run's stored configuration as plain nested values.
        wanted: the new configuration, likewise.
        stages: the stages to run.
        resume: whether these stages' own earlier work is kept as well.

    Raises:
        UserError: if they differ; the message names the first key that differs, and both values.
    """
    first = min(stages)
    keys = keys_of(STEPS if resume else kept_before(first))
    for key in _differing(stored, wanted):
        if not matters(key, keys):
            continue
        advice = (
            "give the configuration it was started with, or begin anew with --overwrite or another --out"
            if resume
            else f"run the stages before {first} again, too, or give another --out"
        )
        raise UserError(
            f"{run.path} was made with {key} {_at(stored, key)!r}, now it is {_at(wanted, key)!r}; {advice}"
        )


def _differing(a: Any, b: Any, key: str = "") -> Iterator[str]:
    """Yield the dotted keys at which two configurations differ."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in [*a, *(name for name in b if name not in a)]:
            yield from _differing(a.get(name), b.get(name), f"{key}.{name}" if key else name)
    elif a != b:
        yield key


def _at(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values.get(name) if isinstance(values, Mapping) else None
    return values
