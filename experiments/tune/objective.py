"""The objective of a search: a policy trained on some of the training videos, and measured on the others."""

from __future__ import annotations

import contextlib
import copy
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from adafocus_rl.agents import Agent
from adafocus_rl.agents.methods import AdaFocus
from adafocus_rl.agents.methods.trainer import AfterEpoch, Learner
from adafocus_rl.data.index import VideoIndex, VideoRecord
from adafocus_rl.data.own_videos import OwnVideos, split_videos
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.one_process import config_of_job, own_log
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.evaluation.measure import Measured, acting, measure
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.handover import load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import RANDOM_PATCHES
from adafocus_rl.experiments.training.stage2 import train_policy
from adafocus_rl.experiments.training.trainer import RunTrainer
from adafocus_rl.features import FeatureBank

Goal = Literal["reward", "top1"]
"""What is maximised: the mean return of the run's own reward, or top-1."""

HELD_OUT = 0.25
"""Share of the training videos on which policies are measured."""

Report = Callable[[int, float], None]
"""Called with the number of epochs done and the objective; may raise an exception that ends the training."""


class Objective:
    """Trains policies on three quarters of a run's training videos, and measures them on the last quarter.

    The validation videos have no part in it. f_C is that of stage I, which was trained on all training videos.

    Args:
        run: the run, with stage I and its bank.
        goal: what is maximised.

    Raises:
        UserError: if a checkpoint or the bank is missing or stale, or the videos are too few to be divided.
    """

    def __init__(self, run: Run, goal: Goal) -> None:
        self.run, self.goal = run, goal
        self.recognizer = load_recognizer(run, RANDOM_PATCHES.name)
        bank = RunFeatures(run, self.recognizer, build=False).training("bank")
        assert isinstance(bank, FeatureBank)
        rows, held = divided(run.clips.train.index, bank.videos, seed=run.config.seed)
        self.train, self.held_out = bank.only(rows), bank.only(held)

    def value(self, config: ExperimentConfig, folder: Path, report: Report) -> tuple[float, float]:
        """Train a policy and return the objective and top-1 on the held-out videos.

        Args:
            config: configuration of the trial.
            folder: folder of its log and curves; checkpoints are removed at the end.
            report: called after each epoch.

        Raises:
            UserError: if the agent does not fit, does not learn, or its training diverges.
        """
        shutil.rmtree(folder, ignore_errors=True)  # what a killed process left
        with own_log(folder):
            run = Run(RunFolder(folder), config_of_job(config, config.seed))
            env = run.env(self.train, self.recognizer.classifier)
            agent = run.new_agent(env)
            if not agent.learns:
                raise UserError(f"{config.agent.name} does not learn, so there is nothing to tune; give another agent")
            found: Measured | None = None

            def after_epoch(done: int) -> None:
                nonlocal found
                found = self._measured(run, agent)
                report(done, self._goal_of(found))

            run.trainer = _Trainer(run, after_epoch)
            try:
                train_policy(run, agent, env, self.held_out)
            finally:
                shutil.rmtree(run.folder.checkpoints, ignore_errors=True)
        assert found is not None
        return self._goal_of(found), found.top1

    def _measured(self, run: Run, agent: Agent) -> Measured:
        # The run's own reward: values of trials with different rewards can then be compared.
        env = run.env(self.held_out, self.recognizer.classifier, reward=self.run.config.env.reward)
        method = AdaFocus(self.recognizer, env=env, agent=agent)
        batch = run.config.evaluation.batch_size
        return measure(acting(method), self.held_out, batch_size=batch, rewards=self.goal == "reward")

    def _goal_of(self, found: Measured) -> float:
        if self.goal == "top1":
            return found.top1
        assert found.reward is not None
        return found.reward


class _Trainer:
    """The run's trainer, with a function to call after each epoch.

    Args:
        run: the run.
        after_epoch: called with the number of epochs done.
    """

    def __init__(self, run: Run, after_epoch: Callable[[int], None]) -> None:
        # The copy has no such trainer, which would call itself.
        self.run, self.after_epoch = copy.copy(run), after_epoch

    def fit(
        self, step: str, learner: Learner, *, epochs: int, ticks: int, after_epoch: AfterEpoch | None = None
    ) -> float:
        """Train as the run's trainer does."""

        def both(done: int, scalars: Mapping[str, float]) -> Mapping[str, float]:
            found = {} if after_epoch is None else after_epoch(done, scalars)
            self.after_epoch(done)
            return found

        with contextlib.closing(self.run.log):
            return RunTrainer(self.run).fit(step, learner, epochs=epochs, ticks=ticks, after_epoch=both)


def divided(index: VideoIndex, rows: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
    """Divide videos into those to train on and those to measure on, as ``adafocus data index`` does.

    Args:
        index: the training list.
        rows: (N,) int64, its usable rows.
        seed: seed of the draw.

    Returns:
        Both parts: groups stay whole, and classes keep their shares.

    Raises:
        UserError: if there are too few videos or groups.
    """
    records = [
        # Folds are those of a cross-validation, of which the training list holds several.
        VideoRecord(path=str(row), labels=index[row].labels, extra={"group": index[row].extra.get("group", "")})
        for row in rows.tolist()
    ]
    parts = split_videos(OwnVideos(records=records, class_names=()), val=HELD_OUT, seed=seed)
    train, held_out = (torch.tensor([int(record.path) for record in part]) for part in parts)
    return train, held_out
