"""The table of steps: what is stale, what is kept, and which keys it all depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.experiments.run.steps import (
    INDIFFERENT,
    SKIPPING,
    STAGES,
    STEPS,
    and_after,
    find_step,
    first_affected,
    kept_before,
    keys_of,
    matters,
    stale_from,
)

ELSEWHERE = {"name", "device", "threads", "deterministic", "bank", "evaluation", "methods"}
"""Parts of a recipe that no step depends on: where and how fast it runs, and what is measured beside it at the end."""


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(load_settings(find_recipe("moving_digits")).text)
    return found


def test_each_part_of_a_recipe_is_a_step_s_or_named_here() -> None:
    """A key that nobody depends on may change in a run that goes on: a new one must not be forgotten."""
    content = values()
    assert {key for key in content if not matters(key, keys_of(STEPS))} == ELSEWHERE
    for key in (*keys_of(STEPS), *INDIFFERENT, *(key for step in STEPS for key in step.carried)):
        inner: Any = content
        for name in key.split("."):
            assert isinstance(inner, Mapping)
            assert name in inner, key
            inner = inner[name]


def test_each_step_comes_after_what_it_reads() -> None:
    names = [step.name for step in STEPS]
    for step in STEPS:
        assert {*step.reads} <= {*names[: names.index(step.name)]}
    assert {step.number for step in STEPS} == {*STAGES, None}


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        (0, []),
        (1, ["stage0.stills", "stage0"]),
        (2, ["stage0.stills", "stage0", "stage1", "bank", "full_frame"]),
        (3, ["stage0.stills", "stage0", "stage1", "bank", "stage2", "stage2.skip", "full_frame"]),
    ],
)
def test_what_a_stage_done_anew_leaves(stage: int, kept: list[str]) -> None:
    assert [step.name for step in kept_before(stage)] == kept
    assert {step.name for step in stale_from(stage)} == {step.name for step in STEPS} - {*kept}


def test_what_starts_from_a_knob_is_of_the_same_knob() -> None:
    assert [step.name for step in and_after(["stage2.skip0.1"])] == ["stage2.skip0.1", "stage3.skip0.1"]
    assert [step.name for step in and_after(["stage2"])] == ["stage2", "stage2.skip", "stage3", "stage3.skip"]
    step = find_step("stage2.skip0.1")
    assert step == SKIPPING.at(0.1)
    assert step.took("2.skip0.1")
    assert [step.name for step in and_after([SKIPPING.at(0.5, kind=".keep").name])] == [
        "stage2.skip.keep0.5",
        "stage3.skip.keep0.5",
    ]
    assert not step.took("2.skip0.15")
    assert SKIPPING.took("2.skip0.15")
    assert (step.number, step.rates) == (2, SKIPPING.rates)
    assert find_step("mine").number is None


@pytest.mark.parametrize(
    ("keys", "step"),
    [
        (["data.root", "evaluation.repeats", "skip.lambdas", "skip.keep"], None),
        (["agent.init_args.gamma"], "stage2"),
        (["model.grid"], "bank"),
        (["model.grid", "model.patch_size"], "stage1"),
        (["stage1.epochs"], "stage1"),
        (["model.glance.name", "model.grid"], "stage0.stills"),
        (["stage0.stills.epochs"], "stage0.stills"),
    ],
)
def test_the_first_step_that_other_values_change(keys: list[str], step: str | None) -> None:
    found = first_affected(keys)
    assert (found.name if found else None) == step
