"""A run: its folder, configuration, clips and device."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from adafocus_rl import checkpoint
from adafocus_rl.agents import Agent
from adafocus_rl.agents.methods.trainer import Trainer
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.envs import REWARDS, DecisionVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.experiments.config.agent_name import find_agent
from adafocus_rl.experiments.config.chosen import agent_config
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.run.clips import Clips, find_lists, read_run_lists
from adafocus_rl.experiments.run.folder import RunFolder, existing_folder
from adafocus_rl.experiments.run.metrics_log import MetricsLog
from adafocus_rl.experiments.run.runtime import find_device, use_threads
from adafocus_rl.experiments.run.steps import RANDOM_PATCHES
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.features import FeatureSource
from adafocus_rl.features.deployed import deployed
from adafocus_rl.features.options import Precision
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.config import ModelConfig
from adafocus_rl.models.recognizer import Recognizer, patch_grid
from adafocus_rl.plain import convert
from adafocus_rl.seeding import compute_deterministically, seed_all


class Run:
    """A run that a command creates or opens.

    The class writes nothing into the folder, and reads lists and videos only on demand: checkpoints and the feature
    bank suffice for much.

    Args:
        folder: the run folder.
        config: the run's configuration.
        device: device of all computation; None uses the configuration's.
        resume: whether to keep finished stages and to continue others from their last epoch.
        strict: whether the first undecodable video ends the command.
        with_data: False does not read the run's lists, which may be gone; the number of classes then comes from a
            checkpoint.

    Attributes:
        trainer: training loop to use instead of the run's own, such as that of a forecast; None for its own.

    Raises:
        UserError: if the device is unknown, or a patch is larger than the frame.
    """

    trainer: Trainer | None = None

    def __init__(
        self,
        folder: RunFolder,
        config: ExperimentConfig,
        *,
        device: str | None = None,
        resume: bool = False,
        strict: bool = False,
        with_data: bool = True,
    ) -> None:
        self.folder = folder
        self.device = find_device(device or config.device)
        self.resume = resume
        self.strict = strict
        self.with_data = with_data
        self._config = config
        use_threads(config.threads)
        if config.deterministic:
            compute_deterministically()
        # Check this first: otherwise, a patch larger than the frame is reported as videos that are too small.
        patch_grid(config.model)

    @classmethod
    def open(cls, path: str | Path, *, device: str | None = None, strict: bool = False, with_data: bool = True) -> Run:
        """Open an existing run with the configuration in its folder.

        Args:
            path: the run folder.
            device: device of all computation; None uses the configuration's.
            strict: as in the constructor.
            with_data: as in the constructor.

        Raises:
            UserError: if the folder is not a run folder, or its configuration cannot be used here.
        """
        folder = existing_folder(path)
        settings = load_settings(folder.config)
        return cls(folder, settings.config, device=device, strict=strict, with_data=with_data)

    def at(self, folder: RunFolder) -> Run:
        """Return a run with this configuration and these clips, but the checkpoints and the bank of another folder."""
        other = copy.copy(self)
        other.folder = folder
        other.__dict__.pop("log", None)
        return other

    # ---- configuration and data ---------------------------------------------------------------------------------

    @cached_property
    def config(self) -> ExperimentConfig:
        """The configuration, with ``num_classes`` filled in.

        Raises:
            UserError: if the list that determines the number of classes cannot be read.
        """
        if self._config.model.num_classes:
            return self._config
        count = self._indices["train"].num_classes if self.with_data else self._classes_of_checkpoint()
        return dataclasses.replace(self._config, model=dataclasses.replace(self._config.model, num_classes=count))

    @cached_property
    def clips(self) -> Clips:
        """The videos as clips.

        Raises:
            UserError: if a list is missing, or a label exceeds the number of classes.
        """
        return Clips(self.config, self._indices, pin=self.device.type == "cuda", strict=self.strict)

    @cached_property
    def lists(self) -> Mapping[str, Path]:
        """The list files by split; an embedded dataset is made first if it is missing.

        Raises:
            UserError: if the configuration names neither an embedded dataset nor list files.
        """
        return find_lists(self._config.data)

    @cached_property
    def _indices(self) -> Mapping[str, VideoIndex]:
        indices = read_run_lists(self._config, self.lists)
        for note in {note: None for index in indices.values() for note in index.notes}:
            say(f"note: {note}")
        return indices

    @cached_property
    def log(self) -> MetricsLog:
        """The log of training scalars."""
        return MetricsLog(self.folder.metrics, self.folder.tensorboard)

    @property
    def class_names(self) -> list[str] | None:
        """Class names in the order of the labels; None if no list has any, or no list is read."""
        return self.clips.class_names if self.with_data else None

    def check_videos(self) -> None:
        """Check that the videos exist, and that at least one of each list can be decoded.

        Raises:
            UserError: if no video of a list can be used.
        """
        self.clips.check(self.lists)

    def _classes_of_checkpoint(self) -> int:
        path = self.folder.checkpoint(RANDOM_PATCHES.name)
        if not path.is_file():
            return 1
        manifest = checkpoint.load(path)[1]
        with checkpoint.reading(path):
            count: int = convert(manifest["model"]["num_classes"], int, f"the number of classes in {path}")
        return count

    # ---- models, environments and agents ------------------------------------------------------------------------

    def new_recognizer(self, *, with_weights: bool = True) -> Recognizer:
        """Create a recognizer, with random weights from the run's seed.

        Args:
            with_weights: False does not load the encoders' weights files, because a checkpoint will be loaded.
        """
        model = self.config.model if with_weights else _without_weights(self.config.model)
        seed_all(self.config.seed, "recognizer")
        return Recognizer(model).to(self.device)

    def check_names(self, *, with_weights: bool = True) -> None:
        """Create a recognizer and find the reward, so that wrong names show before data are made or videos decoded.

        Args:
            with_weights: as in ``new_recognizer``.

        Raises:
            UserError: if an encoder, its weights or the reward is unknown, or the networks do not fit together.
        """
        REWARDS.get(self._config.env.reward.kind)
        model = self._config.model if with_weights else _without_weights(self._config.model)
        with torch.random.fork_rng(devices=[]):
            Recognizer(dataclasses.replace(model, num_classes=model.num_classes or 1))  # the lists may have the number

    def deploy(
        self, recognizer: Recognizer | None = None, *, precision: Precision = "float32", compile: bool = False
    ) -> Recognizer:
        """Return the deployed form of the run's networks, which recognises the same in less time (docs/speed.md).

        Args:
            recognizer: the recognizer; None loads that after stage I.
            precision: type in which f_G and f_L compute. In ``float32``, features equal the recognizer's to rounding.
            compile: compile f_G and f_L, at the first batch of each shape.

        Raises:
            UserError: if there is no such checkpoint, or ``compile`` is set and there is no compiler.
        """
        if recognizer is None:
            from adafocus_rl.experiments.run.handover import load_recognizer  # it imports this module

            recognizer = load_recognizer(self, RANDOM_PATCHES.name)
        return deployed(recognizer, precision=precision, compile=compile)

    def env(self, source: FeatureSource, classifier: Classifier, **options: Any) -> PatchSelectionVectorEnv:
        """Create the environment of stage II for these features; ``options`` override the run's configuration."""
        return make_env(self.config, source, classifier, **options)

    def new_agent(self, env: DecisionVectorEnv, name: str | None = None) -> Agent:
        """Create the run's agent, untrained, or the agent of a name, which may have options (``split_agent``).

        Raises:
            UserError: if the name or an option is unknown, or the agent does not fit the environment.
        """
        own = self._config.agent
        if name is None or (":" not in name and find_agent(name) == own.name):
            return own.make(env, seed=self.config.seed)
        return agent_config(name).make(env, seed=self.config.seed)


def make_env(
    config: ExperimentConfig, source: FeatureSource, classifier: Classifier, **options: Any
) -> PatchSelectionVectorEnv:
    """Create the environment of stage II from a configuration.

    Args:
        config: configuration of a run.
        source: features of the videos.
        classifier: f_C.
        **options: arguments of ``PatchSelectionVectorEnv``, which override the configuration.
    """
    chosen: dict[str, Any] = {
        "num_envs": config.stage2.batch_size,
        "reward": config.env.reward,
        "seed": config.seed,
        **config.env.options(),
    }
    return PatchSelectionVectorEnv(source, classifier, **{**chosen, **options})


def _without_weights(model: ModelConfig) -> ModelConfig:
    glance, focus = (dataclasses.replace(part, weights="none") for part in (model.glance, model.focus))
    return dataclasses.replace(model, glance=glance, focus=focus)
