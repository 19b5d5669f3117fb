"""Training steps: the inputs and outputs of each, and the configuration keys it depends on.

This table determines what can be resumed, what becomes stale, and what a comparison can share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

INDIFFERENT = ("data.root", "data.workers", "data.decode_timeout", "skip.lambdas", "skip.keep")
"""Keys below those of a step on which no result depends. Data may move: lists are compared by content. Each λ of
``skip.lambdas`` and each share of ``skip.keep`` has its own checkpoints."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of training, with its own checkpoint or folder."""

    name: str
    """Name in logs and messages, and stem of its checkpoints."""

    number: int | None
    """Number of its stage for ``--stages``; None for a step that other commands also run when its result is missing."""

    reads: tuple[str, ...] = ()
    """Names of the steps whose results it starts from."""

    keys: tuple[str, ...] = ()
    """Keys on which its result depends, with all keys below them, in addition to those of the steps it reads."""

    carried: tuple[str, ...] = ()
    """Keys on which no weight's shape depends, and which change its result little: a comparison reuses the result for
    other values of them."""

    rates: tuple[str, ...] = ()
    """Keys of its learning rates."""

    leaves: Literal["checkpoint", "progress", "bank"] = "checkpoint"
    """What it writes: ``checkpoint``, its result; ``progress``, only checkpoints for resuming; ``bank``, the feature
    banks."""

    clips: Literal["train", "stills"] = "train"
    """The list of its videos."""

    knobs: bool = False
    """Whether there is one step per knob (λ or a share); ``name`` is then the prefix of their names."""

    def at(self, knob: float, *, kind: str = "") -> Step:
        """Return the step of one knob; ``kind`` distinguishes knobs that are not λ, such as ``.keep``."""
        return dataclasses.replace(self, name=f"{self.name}{kind}{float(knob)}", knobs=False)

    def covers(self, name: str) -> bool:
        """Return whether ``name`` is the name of this step, or of one of its knobs' steps."""
        return name.startswith(self.name) if self.knobs else name == self.name

    @property
    def short_name(self) -> str:
        """Its name among the seconds of ``results.json``: without "stage"."""
        return self.name.removeprefix("stage")

    def took(self, short_name: str) -> bool:
        """Return whether seconds under this name in ``results.json`` are this step's."""
        return self.covers(short_name) or self.covers(f"stage{short_name}")


STILLS = Step(
    name="stage0.stills", number=0, keys=("seed", "data", "model", "stage0"),
    carried=("model.grid", "model.patch_size", "model.patch_scales"), rates=("stage0.stills.learning_rate",),
    leaves="progress",
    clips="stills",
)  # fmt: skip
ENCODERS = Step(
    name="stage0", number=0, reads=("stage0.stills",), keys=("seed", "data", "model", "stage0"),
    carried=("model.grid", "model.patch_size", "model.patch_scales"), rates=("stage0.learning_rate",),
)  # fmt: skip
RANDOM_PATCHES = Step(
    # Random patches may start at any pixel, so they do not depend on the grid.
    name="stage1", number=1, reads=("stage0",), keys=("seed", "data", "model", "stage1"), carried=("model.grid",),
    rates=("stage1.focus_learning_rate", "stage1.classifier_learning_rate"),
)  # fmt: skip
BANK = Step(
    name="bank", number=None, reads=("stage1",), keys=("data", "model", "bank.precision", "bank.eight_bit"),
    leaves="bank",
)  # fmt: skip
POLICY = Step(name="stage2", number=2, reads=("bank",), keys=("env", "agent", "stage2"), rates=("agent.learning_rate",))
SKIPPING = Step(
    name="stage2.skip", number=2, reads=("stage2",), keys=("skip",), rates=("skip.options.learning_rate",), knobs=True
)
CLASSIFIER = Step(name="stage3", number=3, reads=("stage2",), keys=("stage3",), rates=("stage3.learning_rate",))
SKIPPING_CLASSIFIER = Step(
    name="stage3.skip", number=3, reads=("stage2.skip",), keys=("stage3",), rates=("stage3.learning_rate",), knobs=True
)
FULL_FRAME = Step(
    # Its manifest records the other keys it depends on; it is trained again when they differ.
    name="full_frame", number=None, reads=("bank",), rates=("stage1.classifier_learning_rate",),
)  # fmt: skip

STEPS = (
    STILLS, ENCODERS, RANDOM_PATCHES, BANK, POLICY, SKIPPING, CLASSIFIER, SKIPPING_CLASSIFIER, FULL_FRAME,
)  # fmt: skip
"""All steps, each after those that it reads."""

STAGES = range(4)
"""Stage numbers that ``--stages`` accepts."""


def find_step(name: str) -> Step:
    """Return the step of a name from ``STEPS``, or a step with only this name if it is not declared there.

    Args:
        name: ``stage1``, ``stage2.skip0.1``, …; a method may train its own, undeclared steps.
    """
    declared = next((step for step in STEPS if step.covers(name)), Step(name=name, number=None))
    return declared if name == declared.name else dataclasses.replace(declared, name=name, knobs=False)


def and_after(names: Iterable[str]) -> list[Step]:
    """Return these steps and all steps that depend on them, which become stale when these are repeated.

    From the step of one knob follows the step of the same knob; from the step of all knobs, the step of all knobs.
    """
    stale = {name: find_step(name) for name in names}
    for step in STEPS:
        for read in step.reads:
            for name in [name for name in stale if find_step(read).covers(name)]:
                after = find_step(step.name + name.removeprefix(read)) if step.knobs else step
                stale[after.name] = after
    return [*stale.values()]


def stale_from(stage: int) -> list[Step]:
    """Return the steps that become stale when ``stage`` and later stages are repeated."""
    return and_after(step.name for step in STEPS if step.number is not None and step.number >= stage)


def kept_before(stage: int) -> list[Step]:
    """Return the steps that stay valid when ``stage`` and later stages are repeated."""
    stale = stale_from(stage)
    return [step for step in STEPS if step not in stale]


def keys_of(steps: Iterable[Step]) -> list[str]:
    """Return the keys that these steps depend on, without those of the steps they read."""
    return [*{key: None for step in steps for key in step.keys}]


def matters(key: str, keys: Sequence[str]) -> bool:
    """Return whether results depend on a dotted key: it is one of ``keys`` or below one, and not in ``INDIFFERENT``."""
    return under(key, keys) and not under(key, INDIFFERENT)


def under(key: str, tops: Iterable[str]) -> bool:
    """Return whether a dotted key is one of ``tops`` or below one."""
    return any(key == top or key.startswith(f"{top}.") for top in tops)


def first_affected(keys: Iterable[str]) -> Step | None:
    """Return the first step whose result is invalid for other values of ``keys``; None if all stay valid."""
    return next(
        (step for step in STEPS if any(matters(key, step.keys) and not under(key, step.carried) for key in keys)), None
    )
