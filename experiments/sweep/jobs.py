"""Jobs of a sweep: one system with one seed, from the frozen features to a small result file."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.agents.methods import AdaFocus, Method
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.bases import plain_name
from adafocus_rl.experiments.compare.one_process import config_of_job, own_log
from adafocus_rl.experiments.compare.training import Training
from adafocus_rl.experiments.compare.variants import identity_of
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.evaluation.live import LiveMethod
from adafocus_rl.experiments.evaluation.measure import acting, measure
from adafocus_rl.experiments.evaluation.systems import Systems
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.handover import load_agent, load_classifier, load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import CLASSIFIER, RANDOM_PATCHES
from adafocus_rl.experiments.training.methods import fit_method, new_method
from adafocus_rl.experiments.training.skip_baselines import RANDOM_SKIP, skipping_baselines
from adafocus_rl.files import read_json, write_json
from adafocus_rl.record import FINE_TUNED, RANDOM_DECISIONS

FORMAT_VERSION = 1
"""Version of the result files; part of a job's key, so that files of another version are not read."""

KEYS = (
    "data", "model", "bank.precision", "bank.eight_bit", "stage1", "stage3", "evaluation.repeats",
    "evaluation.full_frame_epochs",
)  # fmt: skip
"""Keys of the configuration on which the result of a registered method depends, besides its own options."""

Entry = dict[str, Any]
"""Metrics of a system at one operating point with one seed."""


@dataclass(frozen=True, kw_only=True)
class SystemJob(ABC):
    """Trains one system with one seed and measures it at all of its operating points.

    Attributes:
        name: name of the system, shown in tables and figures.
        label: label of its rows.
        config: configuration of the run, with the options of the system.
        base: folder of the run whose recognizer and banks are used; only read.
        folder: folder for all output of this job.
        seed: seed of initial weights, of random decisions and of the order of videos.
        varies: whether results differ between seeds.
    """

    name: str
    label: str
    config: ExperimentConfig
    base: Path
    folder: Path
    seed: int
    varies: bool = True

    @property
    def result(self) -> Path:
        """The result file."""
        return self.folder / "system.json"

    @property
    def finished(self) -> bool:
        """Whether the result file exists; it is written whole or not at all."""
        return self.result.is_file()

    @abstractmethod
    def systems(self, run: Run, features: RunFeatures) -> list[Method]:
        """Return the trained system and its random counterpart; train what is missing.

        Args:
            run: a run in this job's folder.
            features: features of the run compared on.
        """

    def run(self) -> None:
        """Train what is missing, measure, and write the result file; messages go to the folder's ``log.txt``.

        Raises:
            UserError: if the system does not fit the run, or its training diverges.
        """
        with own_log(self.folder):
            run, features = self._open(config_of_job(self.config, self.seed))
            with contextlib.closing(run.log):
                systems = self.systems(run, features)
            found = [
                _entry(self, method, knob, run, features) for method in systems for knob in method.knobs or (None,)
            ]
            write_json(self.result, {"name": self.name, "label": self.label, "seed": self.seed, "points": found})

    def entries(self) -> list[Entry]:
        """Return the measured operating points of a finished job.

        Raises:
            UserError: if the result file is damaged.
        """
        points: list[Entry] = read_entry(self.result, "points")
        return points

    def live(self) -> tuple[Run, dict[str, LiveMethod]]:
        """Return the run in this job's folder, and its system at each operating point (``str(knob)``)."""
        with own_log(self.folder):
            run, features = self._open(dataclasses.replace(self.config, seed=self.seed))
            return run, {
                str(knob): LiveMethod(method, knob, device=run.device)
                for method in self.systems(run, features)
                if method.variant != RANDOM_DECISIONS
                for knob in method.knobs or (None,)
            }

    def _open(self, config: ExperimentConfig) -> tuple[Run, RunFeatures]:
        run = Run(RunFolder(self.folder), config, resume=True)
        # The recognizer and the banks belong to another folder and are only read.
        base = run.at(RunFolder(self.base))
        return run, RunFeatures(base, load_recognizer(base, RANDOM_PATCHES.name), build=False)


@dataclass(frozen=True, kw_only=True)
class MethodJob(SystemJob):
    """A registered method."""

    method: str
    """Name of its class."""

    def systems(self, run: Run, features: RunFeatures) -> list[Method]:
        """Return the trained method and its random counterpart."""
        method = new_method(run, features.recognizer, self.method)
        if method.learns:
            fit_method(run, features, method)
        return _with_counterpart(method)


@dataclass(frozen=True, kw_only=True)
class AgentJob(SystemJob):
    """The run's agent in AdaFocus, trained as by ``adafocus compare --agents``, and the same f_C on random patches."""

    training: Training

    def systems(self, run: Run, features: RunFeatures) -> list[Method]:
        """Return AdaFocus in its last variant, and its random counterpart."""
        if not self.training.finished:
            self.training.run()
        trained = run.at(RunFolder(self.training.folder))
        variant, classifier = self.training.variants[-1], features.recognizer.classifier
        if variant == FINE_TUNED:
            classifier, _ = load_classifier(trained, CLASSIFIER.name, classifier)
        env = run.env(features.validation(), classifier)
        method = AdaFocus(features.recognizer, env=env, agent=load_agent(trained, env), variant=variant)
        return _with_counterpart(method)


@dataclass(frozen=True, kw_only=True)
class SkippingJob(SystemJob):
    """The run's own AdaFocus+, trained once by the run, and random frames at the shares that each π′ keeps."""

    def systems(self, run: Run, features: RunFeatures) -> list[Method]:
        """Return AdaFocus+ in its last variant, and its random counterpart of each operating point."""
        base = run.at(RunFolder(self.base))
        found = Systems(base, features.recognizer, run.env(features.validation(), features.recognizer.classifier))
        method = found.skipping(found.agent())[-1]
        others = [
            other for other in skipping_baselines(base, features, [RANDOM_SKIP]) if other.variant == method.variant
        ]
        for other in others:
            if other.learns:
                fit_method(run, features, other)
            other.label, other.variant = method.label, RANDOM_DECISIONS
        return [method, *others]


def job_folder(values: Mapping[str, Any], name: str, facts: Any) -> str:
    """Return the name of a system's folder, with a hash of everything that its result depends on.

    Args:
        values: configuration of the run, as nested mappings.
        name: the system's name.
        facts: plain values: options, and hashes of the weights that the system starts from.
    """
    identity = json.dumps([FORMAT_VERSION, identity_of(values, KEYS), facts])
    return f"{plain_name(name)}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"


def _with_counterpart(method: Method) -> list[Method]:
    other = method.random_counterpart()
    return [method] if other is None else [method, other]


def read_entry(path: Path, key: str) -> Any:
    """Return an entry of a JSON file of a job.

    Raises:
        UserError: if the file is damaged.
    """
    advice = "delete it and run the same command again, which makes it anew"
    try:
        return read_json(path, "result file")[key]
    except UserError as error:
        raise UserError(f"{str(error).removesuffix('; check the file')}; {advice}") from None
    except (LookupError, TypeError):
        raise UserError(f"the result file {path} has no {key!r}; {advice}") from None


def _entry(job: SystemJob, method: Method, knob: float | None, run: Run, features: RunFeatures) -> Entry:
    """Measure a method at one operating point."""
    config = run.config.evaluation
    visits = config.repeats if method.stochastic else 1
    found = measure(acting(method, knob), features.validation(), batch_size=config.batch_size, visits=visits)
    return {
        "name": job.name,
        "label": job.label,
        "variant": method.variant,
        "knob": knob,
        "knob_name": method.knob_name,
        "seed": job.seed,
        "varies": job.varies or method.stochastic,
        "reference": method.privileged,
        "kept": found.kept,
        **found.entry(),
    }
