"""One training of a comparison: one variant with one seed, from the frozen features to a small result file."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adafocus_rl.agents import Agent
from adafocus_rl.envs.tracing import Tracer
from adafocus_rl.experiments.compare.bases import Base, plain_name, weights_hash
from adafocus_rl.experiments.compare.variants import flat
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.config.parser import Settings
from adafocus_rl.experiments.evaluation.measure import evaluate_agent
from adafocus_rl.experiments.evaluation.recording import frame_macs, make_record
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.handover import (
    is_finished,
    load_agent,
    load_recognizer,
    save_agent,
    save_classifier,
)
from adafocus_rl.experiments.run.metrics_log import read_metrics
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import BANK, CLASSIFIER, POLICY, RANDOM_PATCHES, keys_of, matters
from adafocus_rl.experiments.training.stage2 import train_policy
from adafocus_rl.experiments.training.stage3 import finetune_classifier
from adafocus_rl.features import FeatureSource
from adafocus_rl.files import write_json
from adafocus_rl.flops import component_macs, video_macs
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.plain import plain_options

FORMAT_VERSION = 2
"""Of the result files; part of a training's key, so that files of another version are not read."""

MEASURED = ("evaluation.repeats",)
"""Keys that the measured numbers depend on, beside those of the steps."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What one process is asked to do; plain values, for it may be another process.

    Attributes:
        name: the variant's.
        config: the variant's.
        base: folder of the recognizer and its banks.
        folder: where everything of this training is written.
        seed: of the agent, its environment and the order of videos.
        finetune: whether stage III follows.
    """

    name: str
    config: ExperimentConfig
    base: Path
    folder: Path
    seed: int
    finetune: bool

    def with_seed(self, seed: int) -> Training:
        """The same variant with another seed."""
        return dataclasses.replace(self, seed=seed, folder=self.folder.parent / f"seed{seed}")

    def result(self, stage: int) -> Path:
        """The result file after stage II or III."""
        return self.folder / f"stage{stage}.json"

    def episodes(self, stage: int) -> Path:
        """What the agent did after stage II or III, an episode record; only seed 0 leaves one."""
        return self.folder / f"stage{stage}.episodes.safetensors"

    @property
    def stages(self) -> tuple[int, ...]:
        """Stages to report."""
        return (2, 3) if self.finetune else (2,)

    @property
    def finished(self) -> bool:
        """Whether every result file is there; they are written whole or not at all."""
        return all(self.result(stage).is_file() for stage in self.stages)


def make_training(name: str, settings: Settings, base: Base, folder: Path, *, finetune: bool = False) -> Training:
    """A training of seed 0, in the folder that belongs to all it depends on: another configuration has another folder.

    Args:
        name: the variant's.
        settings: the variant's.
        base: its recognizer and banks, already made.
        folder: of all trainings.
        finetune: whether stage III follows.
    """
    # The recognizer stands for all that it came from.
    keys = [*keys_of((BANK, POLICY, CLASSIFIER)), *MEASURED]
    values = {key: value for key, value in flat(settings.values) if matters(key, keys)}
    identity = json.dumps([FORMAT_VERSION, weights_hash(base), sorted(values.items())])
    key = hashlib.sha256(identity.encode()).hexdigest()[:10]
    own = folder / f"{plain_name(settings.config.agent.name)}-{key}" / "seed0"
    return Training(
        name=name,
        config=settings.config,
        base=base.folder.path,
        folder=own,
        seed=0,
        finetune=finetune,
    )


def run_training(training: Training) -> None:
    """Trains as stage II does, evaluates, fine-tunes if asked to; goes on from the last epoch if it was interrupted.

    What it prints goes to ``log.txt`` in its folder: several of them may be at work. One torch thread each, so that a
    result does not depend on how many are.

    Raises:
        UserError: the agent does not fit the data, or the environment, or needs a package that is not installed.
    """
    training.folder.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    with (training.folder / "log.txt").open("a", encoding="utf-8") as log, contextlib.redirect_stderr(log):
        try:
            _run(training)
        finally:
            torch.set_num_threads(threads)


def _run(training: Training) -> None:
    bank = training.config.bank
    if not torch.cuda.is_available() or training.config.device == "cpu":
        # Mapped files are read once for all processes, and read as fast as copies of them.
        bank = dataclasses.replace(bank, resident="never")
    # Pictures of learning are of a run, not of forty trainings side by side.
    evaluation = dataclasses.replace(training.config.evaluation, replay_every=0)
    config = dataclasses.replace(training.config, seed=training.seed, threads=1, bank=bank, evaluation=evaluation)
    # The videos were looked at before the first training.
    run = Run(RunFolder(training.folder), config, resume=True)
    # The recognizer and the banks are another folder's, and only read.
    base = run.at(RunFolder(training.base))
    recognizer = load_recognizer(base, RANDOM_PATCHES.name)
    features = RunFeatures(base, recognizer, build=False)
    validation = features.validation()
    agent = run.new_agent(run.env(features.training(config.stage2.features), recognizer.classifier))
    if not training.result(2).is_file():
        seconds = 0.0
        if is_finished(run, POLICY.name):
            agent = load_agent(run, agent)
        else:
            seconds = train_policy(run, agent, validation) if agent.learns else 0.0
            save_agent(run, agent)
        tracer = _tracer(training, agent, recognizer, 2)
        found = measure(run, agent, recognizer.classifier, validation, tracer=tracer)
        _save_record(training, run, tracer, 2)
        write_json(
            training.result(2),
            {**_facts(training, run, agent, recognizer), **found, "seconds": seconds, "curves": _curves(run)},
        )
    if training.finetune and not training.result(3).is_file():
        agent = load_agent(run, run.new_agent(agent.env))
        source = features.training(config.stage3.features)
        classifier = copy.deepcopy(recognizer.classifier)
        started = time.monotonic()
        finetune_classifier(run, classifier, agent, source)
        seconds = time.monotonic() - started
        save_classifier(run, CLASSIFIER.name, classifier, {})
        tracer = _tracer(training, agent, recognizer, 3)
        found = measure(run, agent, classifier, validation, tracer=tracer)
        _save_record(training, run, tracer, 3)
        write_json(training.result(3), {**_facts(training, run, agent, recognizer), **found, "seconds": seconds})
    run.log.close()


def measure(
    run: Run, agent: Agent, classifier: Classifier, source: FeatureSource, *, tracer: Tracer | None = None
) -> dict[str, Any]:
    """Accuracy of the agent's best actions, and on which videos it was right.

    Args:
        run: the run; a random agent sees every video ``evaluation.repeats`` times.
        agent: who chooses.
        classifier: f_C.
        source: features of the videos.
        tracer: takes down the first visit, rewards included.

    Returns:
        ``videos``: index rows; ``labels``: their (first) classes; ``visits``: times each was seen; ``hits``: times each
        was recognised; ``top1`` and ``map``: means over the visits, in [0, 1]; ``reward``: of an episode, mean over
        videos and visits.
    """
    config = run.config.evaluation
    found = evaluate_agent(
        agent,
        classifier,
        source,
        batch_size=config.batch_size,
        repeats=config.repeats,
        with_reward=True,
        tracer=tracer,
    )
    return {
        "videos": found.rows,
        "labels": found.labels,
        "visits": found.visits,
        "hits": found.hits,
        "top1": found.top1,
        "map": found.map,
        "reward": found.reward,
    }


def _tracer(training: Training, agent: Agent, recognizer: Recognizer, stage: int) -> Tracer | None:
    if training.seed:
        return None
    macs = frame_macs(component_macs(recognizer), policy_macs=agent.macs_per_step())
    return Tracer(name=agent.label, macs=macs, after_stage=stage, facts={"seed": training.seed})


def _save_record(training: Training, run: Run, tracer: Tracer | None, stage: int) -> None:
    if tracer is not None:
        make_record(run.clips.val, "val", [tracer]).save(training.episodes(stage))


def _facts(training: Training, run: Run, agent: Agent, recognizer: Recognizer) -> dict[str, Any]:
    costs = video_macs(
        component_macs(recognizer),
        num_steps=recognizer.num_steps(run.config.data.num_frames),
        policy_macs=agent.macs_per_step(),
        uses_patch=True,
        uses_full=False,
    )
    return {
        "agent": {"name": training.config.agent.name, "options": plain_options(training.config.agent.options)},
        "label": agent.label,
        "seed": training.seed,
        "base": str(training.base),
        "learns": agent.learns,
        "stochastic": agent.stochastic,
        "reference": is_reference(agent),
        "gmacs_per_video": costs["total"] / 1e9,
        "local_gmacs_per_video": costs["local"] / 1e9,
    }


def is_reference(agent: Agent) -> bool:
    """Whether the agent knows what none that is used can know: true boxes or the label."""
    return agent.privileged


def _curves(run: Run) -> dict[str, list[float | None]]:
    """Reward and validation top-1 after each epoch of stage II."""
    lines = read_metrics(run.folder.metrics, POLICY.name)
    return {
        "epoch": [line["epoch"] for line in lines],
        "reward": [line.get("rollout/ep_rew_mean") for line in lines],
        "top1": [line.get("eval/top1") for line in lines],
    }
