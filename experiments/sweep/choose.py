"""The systems of a sweep: all registered methods and the run's own, or those that the user names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adafocus_rl.agents import AGENTS
from adafocus_rl.agents.methods import METHODS, WholeFrames
from adafocus_rl.checkpoint import load, tensors_hash
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.bases import Base
from adafocus_rl.experiments.compare.pool import Failure
from adafocus_rl.experiments.compare.training import make_training
from adafocus_rl.experiments.config.parser import Settings
from adafocus_rl.experiments.run.handover import is_finished
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.skipping import steps_of
from adafocus_rl.experiments.run.steps import CLASSIFIER, POLICY
from adafocus_rl.experiments.sweep.jobs import AgentJob, MethodJob, SkippingJob, SystemJob, job_folder
from adafocus_rl.experiments.training.methods import new_method
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.plain import plain_options
from adafocus_rl.suggestions import nearest

ALL = "all"
"""Selects every registered method and the run's own systems."""

ADAFOCUS, ADAFOCUS_PLUS = "AdaFocus", "AdaFocusPlus"
"""Names of the run's own systems, which are not registered."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The jobs of a sweep, and the systems without one."""

    jobs: list[SystemJob]
    """The first seed of each system, then the second, …, so that an interrupted sweep has some of each."""

    left_out: list[Failure]
    """Systems that do not fit the run."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the systems of a sweep start from."""

    run: Run
    recognizer: Recognizer
    settings: Settings
    work: Path
    """Folder for all output."""
    seeds: int


def choose(origin: Origin, names: Sequence[str]) -> Chosen:
    """Return the jobs of the named systems.

    Args:
        origin: the run, and where to work.
        names: class names or labels of methods, ``AdaFocus``, ``AdaFocusPlus``, or ``all``.

    Raises:
        UserError: if there is no such system.
    """
    by_seed: list[list[SystemJob]] = [[] for _ in range(origin.seeds)]
    left_out = []
    wanted = _wanted(origin.run, names)
    for name in wanted:
        try:
            for number, job in enumerate(_jobs(origin, name)):
                by_seed[number].append(job)
        except UserError as error:
            left_out.append(Failure(name=name, reason=str(error)))
    return Chosen(jobs=[job for jobs in by_seed for job in jobs], left_out=left_out)


def _wanted(run: Run, names: Sequence[str]) -> list[str]:
    """Return class names in a fixed order, without repetitions."""
    agent = AGENTS.get(run.config.agent.name).label
    known = {ADAFOCUS: agent, ADAFOCUS_PLUS: f"{agent}+skip", **{name: METHODS.get(name).label for name in METHODS}}
    wanted = set()
    for given in names:
        found = {name for name, label in known.items() if given in (ALL, name, label)}
        if not found:
            near = nearest(given, [ALL, *known, *known.values()], alike=0.5)
            meant = f"; did you mean {near!r}?" if near else "."
            raise UserError(f"there is no system {given!r}{meant} Choose among: {ALL}, {', '.join(known)}")
        wanted |= found
    if ALL in names and not run.config.skip.knobs:
        wanted.discard(ADAFOCUS_PLUS)
    return [name for name in known if name in wanted]


def _jobs(origin: Origin, name: str) -> Iterator[SystemJob]:
    """Return the jobs of a system, one per seed, or a single one if all seeds give the same result.

    Raises:
        UserError: if the system does not fit the run.
    """
    if name == ADAFOCUS:
        return _agent_jobs(origin)
    if name == ADAFOCUS_PLUS:
        return _skipping_jobs(origin)
    return _method_jobs(origin, name)


def _method_jobs(origin: Origin, name: str) -> Iterator[SystemJob]:
    run = origin.run
    if METHODS.get(name) is WholeFrames and run.config.evaluation.full_frame_epochs == 0:
        raise UserError("evaluation.full_frame_epochs is 0; give a number of epochs to train its f_C")
    method = new_method(run, origin.recognizer, name)
    # Only the method's own tables are built and opened.
    config = dataclasses.replace(run.config, methods={name: method.options})
    facts = [_weights(origin.recognizer), plain_options(method.options)]
    folder = origin.work / "systems" / job_folder(origin.settings.values, name, facts)
    varies = method.learns or method.stochastic
    for seed in range(origin.seeds if varies else 1):
        yield MethodJob(
            name=name,
            label=method.label,
            config=config,
            base=run.folder.path,
            folder=folder / f"seed{seed}",
            seed=seed,
            varies=varies,
            method=name,
        )


def _agent_jobs(origin: Origin) -> Iterator[SystemJob]:
    run = origin.run
    kind = AGENTS.get(run.config.agent.name)
    # Train for as long as the run did; a run that has no agent yet gets the whole system.
    finetune = is_finished(run, CLASSIFIER.name) or not is_finished(run, POLICY.name)
    base, trainings = Base(folder=run.folder), origin.work / "trainings"
    first = make_training(ADAFOCUS, origin.settings, base, trainings, finetune=finetune)
    # The training's folder is named after everything that it depends on.
    key = [_weights(origin.recognizer), first.folder.parent.name, finetune]
    folder = origin.work / "systems" / job_folder(origin.settings.values, ADAFOCUS, key)
    varies = kind.learns or kind.stochastic or finetune
    for seed in range(origin.seeds if varies else 1):
        yield AgentJob(
            name=f"AdaFocus ({kind.label})",
            label=kind.label,
            config=dataclasses.replace(run.config, methods={}),
            base=run.folder.path,
            folder=folder / f"seed{seed}",
            seed=seed,
            varies=varies,
            training=first.with_seed(seed),
        )


def _skipping_jobs(origin: Origin) -> Iterator[SystemJob]:
    run, kind = origin.run, AGENTS.get(origin.run.config.agent.name)
    if not run.config.skip.knobs:
        raise UserError("the run skips no frames; give skip.keep or skip.lambdas in its training")
    for step in steps_of(run, 2):
        if not is_finished(run, step.name):
            raise UserError(f"the run has not finished {step.name}; run `adafocus train` with its stage 2 first")
    parts = [*steps_of(run, 2), *(step for step in steps_of(run, 3) if is_finished(run, step.name))]
    weights = [tensors_hash(load(run.folder.checkpoint(step.name))[0]) for step in parts]
    values = origin.settings.values
    facts = [_weights(origin.recognizer), weights, run.config.skip.knobs, values["agent"], values["env"]]
    yield SkippingJob(
        name=f"AdaFocus+ ({kind.label})",
        label=f"{kind.label}+skip",
        config=dataclasses.replace(run.config, methods={}),
        base=run.folder.path,
        folder=origin.work / "systems" / job_folder(values, ADAFOCUS_PLUS, facts) / "seed0",
        seed=run.config.seed,
    )


def _weights(recognizer: Recognizer) -> list[str]:
    """Return the hashes of the frozen parts."""
    return [tensors_hash(part) for part in (recognizer.glance, recognizer.focus, recognizer.classifier)]
