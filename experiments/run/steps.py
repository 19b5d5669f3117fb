"""The steps of a training: what each reads, what it leaves, and which keys of the configuration it depends on.

Resuming, discarding what is stale, and what a comparison can share all follow from this table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

INDIFFERENT = ("data.root", "data.workers", "data.decode_timeout", "skip.lambdas")
"""Keys below those of a step that no result depends on: data that moved is the same data, and its list is compared by
content; each λ of ``skip.lambdas`` has checkpoints of its own."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One part of a training, with a checkpoint, or a folder, of its own."""

    name: str
    """In logs and messages, and stem of its checkpoints."""

    number: int | None
    """The stage that ``--stages`` asks for it by; None for what other commands make, too, whenever it is missing."""

    reads: tuple[str, ...] = ()
    """Names of the steps whose results it starts from."""

    keys: tuple[str, ...] = ()
    """Keys that its result depends on, each with all below it, beside those of what it reads."""

    carried: tuple[str, ...] = ()
    """Keys of which no weight's shape depends, and that change its result little: a comparison takes the result over
    for another value of them."""

    rates: tuple[str, ...] = ()
    """Keys of its learning rates."""

    leaves: Literal["checkpoint", "progress", "bank"] = "checkpoint"
    """``checkpoint``: its result; ``progress``: only what it resumes from; ``bank``: the feature banks."""

    clips: Literal["train", "stills"] = "train"
    """The list that its videos are rows of."""

    knobs: bool = False
    """Whether there is one for each knob: the name is then the beginning of theirs."""

    def at(self, knob: float) -> Step:
        """The one of a knob."""
        return dataclasses.replace(self, name=f"{self.name}{float(knob)}", knobs=False)

    def covers(self, name: str) -> bool:
        """Whether ``name`` is this step's, or that of one of its knobs."""
        return name.startswith(self.name) if self.knobs else name == self.name

    @property
    def short_name(self) -> str:
        """Its name among the seconds of ``results.json``, without "stage"."""
        return self.name.removeprefix("stage")

    def took(self, short_name: str) -> bool:
        """Whether these seconds of ``results.json`` are this step's."""
        return self.covers(short_name) or self.covers(f"stage{short_name}")


STILLS = Step(
    name="stage0.stills", number=0, keys=("seed", "data", "model", "stage0"),
    carried=("model.grid", "model.patch_size"), rates=("stage0.stills.learning_rate",), leaves="progress",
    clips="stills",
)  # fmt: skip
ENCODERS = Step(
    name="stage0", number=0, reads=("stage0.stills",), keys=("seed", "data", "model", "stage0"),
    carried=("model.grid", "model.patch_size"), rates=("stage0.learning_rate",),
)  # fmt: skip
RANDOM_PATCHES = Step(
    # Patches lie at any pixel, whatever the grid.
    name="stage1", number=1, reads=("stage0",), keys=("seed", "data", "model", "stage1"), carried=("model.grid",),
    rates=("stage1.focus_learning_rate", "stage1.classifier_learning_rate"),
)  # fmt: skip
BANK = Step(name="bank", number=None, reads=("stage1",), keys=("data", "model"), leaves="bank")
POLICY = Step(name="stage2", number=2, reads=("bank",), keys=("env", "agent", "stage2"), rates=("agent.learning_rate",))
SKIPPING = Step(
    name="stage2.skip", number=2, reads=("stage2",), keys=("skip",), rates=("skip.options.learning_rate",), knobs=True
)
CLASSIFIER = Step(name="stage3", number=3, reads=("stage2",), keys=("stage3",), rates=("stage3.learning_rate",))
SKIPPING_CLASSIFIER = Step(
    name="stage3.skip", number=3, reads=("stage2.skip",), keys=("stage3",), rates=("stage3.learning_rate",), knobs=True
)
FULL_FRAME = Step(
    # What else it depends on stands in its own manifest, by which it is trained again when it is asked for.
    name="full_frame", number=None, reads=("bank",), rates=("stage1.classifier_learning_rate",),
)  # fmt: skip

STEPS = (
    STILLS, ENCODERS, RANDOM_PATCHES, BANK, POLICY, SKIPPING, CLASSIFIER, SKIPPING_CLASSIFIER, FULL_FRAME,
)  # fmt: skip
"""All of them, each after those that it reads."""

STAGES = range(4)
"""Numbers that ``--stages`` takes."""


def find_step(name: str) -> Step:
    """The declared step of a name, or one about which nothing is declared.

    Args:
        name: ``stage1``, ``stage2.skip0.1``, …; a method may train steps of its own.
    """
    declared = next((step for step in STEPS if step.covers(name)), Step(name=name, number=None))
    return declared if name == declared.name else dataclasses.replace(declared, name=name, knobs=False)


def and_after(names: Iterable[str]) -> list[Step]:
    """These steps, and all that start from them: what is stale once these are done anew.

    What starts from a step of one knob is the step of the same knob; what starts from all of them is all.
    """
    stale = {name: find_step(name) for name in names}
    for step in STEPS:
        for read in step.reads:
            for name in [name for name in stale if find_step(read).covers(name)]:
                after = find_step(step.name + name.removeprefix(read)) if step.knobs else step
                stale[after.name] = after
    return [*stale.values()]


def stale_from(stage: int) -> list[Step]:
    """All that is stale once stages ``stage`` and later are done anew."""
    return and_after(step.name for step in STEPS if step.number is not None and step.number >= stage)


def kept_before(stage: int) -> list[Step]:
    """What stays when stages ``stage`` and later are done anew."""
    stale = stale_from(stage)
    return [step for step in STEPS if step not in stale]


def keys_of(steps: Iterable[Step]) -> list[str]:
    """Keys that these steps depend on, without those of what they read."""
    return [*{key: None for step in steps for key in step.keys}]


def matters(key: str, keys: Sequence[str]) -> bool:
    """Whether a dotted key is one of ``keys`` or below one, and no step is indifferent to it."""
    return under(key, keys) and not under(key, INDIFFERENT)


def under(key: str, tops: Iterable[str]) -> bool:
    """Whether a dotted key is one of ``tops``, or below one."""
    return any(key == top or key.startswith(f"{top}.") for top in tops)


def first_affected(keys: Iterable[str]) -> Step | None:
    """The first step whose result does not hold for other values of ``keys``; None if all do."""
    return next(
        (step for step in STEPS if any(matters(key, step.keys) and not under(key, step.carried) for key in keys)), None
    )
