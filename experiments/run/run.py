"""A run: its folder, its configuration, its clips, and what it computes on."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from adafocus_rl import checkpoint
from adafocus_rl.agents import Agent
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.envs import DecisionVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.experiments.config.experiment import AgentConfig, ExperimentConfig
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.run.clips import Clips, find_lists, read_run_lists
from adafocus_rl.experiments.run.folder import RunFolder, existing_folder
from adafocus_rl.experiments.run.metrics_log import MetricsLog
from adafocus_rl.experiments.run.runtime import find_device, use_threads
from adafocus_rl.experiments.run.steps import RANDOM_PATCHES
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.features import FeatureSource
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.seeding import compute_deterministically, seed_all


class Run:
    """A run that is made or opened by one command.

    Nothing is written into its folder, and its videos and lists are looked at only when asked for: much can be done
    with what the checkpoints and the feature bank hold.

    Args:
        folder: of the run.
        config: of the run.
        device: where everything is computed; None takes the configuration's.
        resume: whether finished stages are kept and others go on from their last epoch.
        strict: whether the first undecodable video ends the command.
        with_data: False leaves the run's lists alone, which may be gone; what they tell comes from its checkpoints.

    Raises:
        UserError: unknown device, or a patch larger than the frame.
    """

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
        # Its own checks come first: that a patch is larger than the frame should not show as videos that are too small.
        PatchGrid(grid=config.model.grid, frame_size=config.model.frame_size, patch_size=config.model.patch_size)

    @classmethod
    def open(cls, path: str | Path, *, device: str | None = None, strict: bool = False, with_data: bool = True) -> Run:
        """A run that exists, with the configuration that it was made with.

        Args:
            path: its folder.
            device: None takes the configuration's.
            strict: as of the class.
            with_data: as of the class.

        Raises:
            UserError: the folder is not a run's, or its configuration cannot be used here.
        """
        folder = existing_folder(path)
        settings = load_settings(folder.config)
        return cls(folder, settings.config, device=device, strict=strict, with_data=with_data)

    def at(self, folder: RunFolder) -> Run:
        """The same configuration and clips with the checkpoints and the bank of another folder."""
        other = copy.copy(self)
        other.folder = folder
        other.__dict__.pop("log", None)
        return other

    # ---- what it is made of -------------------------------------------------------------------------------------

    @cached_property
    def config(self) -> ExperimentConfig:
        """The configuration, ``num_classes`` filled in.

        Raises:
            UserError: a list that tells the number of classes cannot be read.
        """
        if self._config.model.num_classes:
            return self._config
        count = self._indices["train"].num_classes if self.with_data else self._classes_of_checkpoint()
        return dataclasses.replace(self._config, model=dataclasses.replace(self._config.model, num_classes=count))

    @cached_property
    def clips(self) -> Clips:
        """The videos.

        Raises:
            UserError: missing lists, or a label beyond the number of classes.
        """
        return Clips(self.config, self._indices, pin=self.device.type == "cuda", strict=self.strict)

    @cached_property
    def lists(self) -> Mapping[str, Path]:
        """The list files by split; an embedded dataset is made first when it is not there.

        Raises:
            UserError: neither an embedded dataset nor list files are given.
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
        """Scalars of the training."""
        return MetricsLog(self.folder.metrics, self.folder.tensorboard)

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes in the order of the labels; None when no list gives any, or none is read."""
        return self.clips.class_names if self.with_data else None

    def check_videos(self) -> None:
        """Look whether the videos are there, and whether one of each list can be decoded.

        Raises:
            UserError: none of a list can be used.
        """
        self.clips.check(self.lists)

    def _classes_of_checkpoint(self) -> int:
        path = self.folder.checkpoint(RANDOM_PATCHES.name)
        manifest = checkpoint.load(path)[1] if path.is_file() else {}
        return int(manifest.get("model", {}).get("num_classes", 1))

    # ---- what is made from it -----------------------------------------------------------------------------------

    def new_recognizer(self, *, with_weights: bool = True) -> Recognizer:
        """A new recognizer, its random weights those of the run's seed.

        Args:
            with_weights: False leaves out the encoders' weights files, for weights that a checkpoint brings.
        """
        model = self.config.model
        if not with_weights:
            glance, focus = (dataclasses.replace(part, weights="none") for part in (model.glance, model.focus))
            model = dataclasses.replace(model, glance=glance, focus=focus)
        seed_all(self.config.seed, "recognizer")
        return Recognizer(model).to(self.device)

    def env(self, source: FeatureSource, classifier: Classifier, **options: Any) -> PatchSelectionVectorEnv:
        """The environment of stage II on these features; ``options`` override what the run says."""
        return make_env(self.config, source, classifier, **options)

    def new_agent(self, env: DecisionVectorEnv, name: str | None = None) -> Agent:
        """The run's agent, untrained, or one of another class with its default options."""
        own = self._config.agent
        chosen = AgentConfig(name=name) if name and name != own.name else own
        return chosen.make(env, seed=self.config.seed)


def make_env(
    config: ExperimentConfig, source: FeatureSource, classifier: Classifier, **options: Any
) -> PatchSelectionVectorEnv:
    """The environment of stage II that a configuration describes.

    Args:
        config: of a run.
        source: features of the videos.
        classifier: f_C.
        **options: of ``PatchSelectionVectorEnv``; they override the configuration.
    """
    chosen: dict[str, Any] = {
        "num_envs": config.stage2.batch_size,
        "reward": config.env.reward,
        "seed": config.seed,
        **config.env.options(),
    }
    return PatchSelectionVectorEnv(source, classifier, **{**chosen, **options})
