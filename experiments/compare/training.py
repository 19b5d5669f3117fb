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

from adafocus_rl.agents import Agent
from adafocus_rl.agents.methods import AdaFocus
from adafocus_rl.experiments.compare.bases import Base, plain_name, recognizer_hash, weights_hash
from adafocus_rl.experiments.compare.one_process import config_of_job, own_log
from adafocus_rl.experiments.compare.variants import identity_of
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.config.parser import Settings
from adafocus_rl.experiments.evaluation.measure import acting, measure
from adafocus_rl.experiments.evaluation.recording import Recorder, make_record
from adafocus_rl.experiments.run import steps
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.folder import RunFolder, existing_folder
from adafocus_rl.experiments.run.handover import (
    forget_progress,
    is_finished,
    load_agent,
    load_recognizer,
    save_agent,
    save_classifier,
)
from adafocus_rl.experiments.run.metrics_log import read_metrics
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import keys_of
from adafocus_rl.experiments.training.stage2 import train_policy
from adafocus_rl.experiments.training.stage3 import finetune_classifier
from adafocus_rl.features import FeatureSource
from adafocus_rl.files import write_json
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.plain import plain_options
from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES

FORMAT_VERSION = 2
"""Version of the result files; part of a training's key, so that files of another version are not read."""

LAST_STEP = {RANDOM_PATCHES: steps.POLICY, FINE_TUNED: steps.CLASSIFIER}
"""The step after which an agent is measured with each f_C, in order."""

MEASURED = ("evaluation.repeats",)
"""Keys that the measured numbers depend on, besides those of the steps."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training, as plain values that can be sent to another process.

    Attributes:
        name: name of the variant.
        config: configuration of the variant.
        base: folder of the recognizer and its banks.
        folder: folder for all output of this training.
        seed: seed of the agent, its environment and the order of videos.
        finetune: whether stage III follows.
    """

    name: str
    config: ExperimentConfig
    base: Path
    folder: Path
    seed: int
    finetune: bool

    def with_seed(self, seed: int) -> Training:
        """Return the same variant with another seed."""
        return dataclasses.replace(self, seed=seed, folder=self.folder.parent / f"seed{seed}")

    def result(self, f_c: str) -> Path:
        """Return the path of the result file with an f_C of ``LAST_STEP``."""
        return self.folder / f"{LAST_STEP[f_c].name}.json"

    def episodes(self, f_c: str) -> Path:
        """Return the path of the episode record with an f_C; only seed 0 writes one."""
        return self.folder / f"{LAST_STEP[f_c].name}.episodes.safetensors"

    @property
    def variants(self) -> tuple[str, ...]:
        """The f_C to report: that of random patches and, with stage III, the fine-tuned one."""
        return tuple(LAST_STEP)[: 1 + self.finetune]

    @property
    def finished(self) -> bool:
        """Whether every result file exists; each is written whole or not at all."""
        return all(self.result(f_c).is_file() for f_c in self.variants)

    def run(self) -> None:
        """Run ``run_training``."""
        run_training(self)


def _other_runs(config: ExperimentConfig) -> list[str]:
    """Return the hashes of the recognizers of the runs that the agent's option ``runs`` names."""
    folders = [existing_folder(name) for name in getattr(config.agent.options, "runs", ())]
    return [recognizer_hash(folder) for folder in folders]


def make_training(name: str, settings: Settings, base: Base, folder: Path, *, finetune: bool = False) -> Training:
    """Return a training with seed 0, in a folder named after a hash of everything that the training depends on.

    Args:
        name: name of the variant.
        settings: configuration of the variant.
        base: its recognizer and banks, already built.
        folder: folder of all trainings.
        finetune: whether stage III follows.
    """
    # The hash of the recognizer's weights covers everything that the recognizer depends on.
    keys = [*keys_of((steps.BANK, steps.POLICY, steps.CLASSIFIER)), *MEASURED]
    values = identity_of(settings.values, keys)
    identity = json.dumps([FORMAT_VERSION, weights_hash(base), values, *_other_runs(settings.config)])
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
    """Train as in stage II, evaluate, and fine-tune if requested; resume from the last epoch after an interruption.

    Its messages go to ``log.txt`` in its folder, because several trainings may run at once.

    Raises:
        UserError: if the agent does not fit the data or the environment, or needs a package that is not installed.
    """
    with own_log(training.folder):
        _run(training)


def _run(training: Training) -> None:
    config = config_of_job(training.config, training.seed)
    # The videos were checked before the first training.
    run = Run(RunFolder(training.folder), config, resume=True)
    with contextlib.closing(run.log):
        _train_and_measure(training, run)


def _train_and_measure(training: Training, run: Run) -> None:
    config = run.config
    # The recognizer and the banks belong to another folder and are only read.
    base = run.at(RunFolder(training.base))
    recognizer = load_recognizer(base, steps.RANDOM_PATCHES.name)
    features = RunFeatures(base, recognizer, build=False)
    validation = features.validation()
    env = run.env(features.training(config.stage2.features), recognizer.classifier)
    agent = run.new_agent(env)
    if not training.result(RANDOM_PATCHES).is_file():
        seconds = 0.0
        if is_finished(run, steps.POLICY.name):
            forget_progress(run, steps.POLICY.name)
            agent = load_agent(run, env)
        else:
            seconds = train_policy(run, agent, env, validation) if agent.learns else 0.0
            save_agent(run, agent)
        curves = _curves(run)
        _measure(training, run, agent, recognizer, validation, f_c=RANDOM_PATCHES, seconds=seconds, curves=curves)
    if training.finetune and not training.result(FINE_TUNED).is_file():
        agent = load_agent(run, env)
        env = run.env(features.training(config.stage3.features), recognizer.classifier)
        classifier = copy.deepcopy(recognizer.classifier)
        started = time.monotonic()
        finetune_classifier(run, classifier, agent, env)
        seconds = time.monotonic() - started
        save_classifier(run, steps.CLASSIFIER.name, classifier, {})
        _measure(training, run, agent, recognizer, validation, f_c=FINE_TUNED, classifier=classifier, seconds=seconds)


def _measure(
    training: Training,
    run: Run,
    agent: Agent,
    recognizer: Recognizer,
    validation: FeatureSource,
    *,
    f_c: str,
    classifier: Classifier | None = None,
    **facts: Any,
) -> None:
    """Measure the agent's best actions; write the result file and, for seed 0, the episode record.

    Args:
        training: the training.
        run: its run; a stochastic method visits every video ``evaluation.repeats`` times.
        agent: the agent to measure.
        recognizer: frozen f_G and f_L.
        validation: features of the validation videos.
        f_c: name of the f_C, a key of ``LAST_STEP``.
        classifier: f_C; None uses the recognizer's.
        **facts: further entries of the result file.
    """
    env = run.env(validation, recognizer.classifier if classifier is None else classifier)
    method = AdaFocus(recognizer, env=env, agent=agent, variant=f_c)
    recorder = Recorder(name=method.label, variant=f_c, facts={"seed": training.seed}) if training.seed == 0 else None
    config = run.config.evaluation
    found = measure(
        acting(method),
        validation,
        batch_size=config.batch_size,
        visits=config.repeats if method.stochastic else 1,
        rewards=True,
        recorder=recorder,
    )
    chosen = training.config.agent
    if recorder is not None:
        make_record(run.clips.val, "val", [recorder]).save(training.episodes(f_c))
    write_json(
        training.result(f_c),
        {
            "agent": {"name": chosen.name, "options": plain_options(chosen.options)},
            "label": method.label,
            "seed": training.seed,
            "base": str(training.base),
            "learns": agent.learns,
            "stochastic": method.stochastic,
            "reference": method.privileged,
            **found.entry(),
            "top1": found.top1,
            "reward": found.reward,
            **facts,
        },
    )


def _curves(run: Run) -> dict[str, list[float | None]]:
    """Return reward and validation top-1 after each epoch of stage II."""
    lines = read_metrics(run.folder.metrics, steps.POLICY.name)
    return {
        "epoch": [line["epoch"] for line in lines],
        "reward": [line.get("rollout/ep_rew_mean") for line in lines],
        "top1": [line.get("eval/top1") for line in lines],
    }
