"""Pictures of π's choices on a few validation clips during training, in TensorBoard."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from adafocus_rl.agents import Agent
from adafocus_rl.agents.methods import Cost, Visit, act
from adafocus_rl.envs import DecisionVectorEnv
from adafocus_rl.experiments.evaluation.recording import Recorder, make_record
from adafocus_rl.experiments.report.pictures import sheet
from adafocus_rl.experiments.report.shown import ShownVideo, make_panel, show, spread
from adafocus_rl.experiments.run.run import Run

VIDEOS = 4
TAG = "replay/validation"


class LiveView:
    """Draws the same validation clips every few epochs, to show how the agent changes.

    Args:
        run: the run; ``evaluation.replay_every`` is the interval in epochs, 0 for never.
        env: the agent's environment, on the validation videos.
        stage: name of the step in logs.
        epochs: total number of epochs; the last one is always drawn.
    """

    def __init__(self, run: Run, env: DecisionVectorEnv, *, stage: str, epochs: int) -> None:
        self.run = run
        self.env = env
        self.stage = stage
        self.epochs = epochs
        self._videos: list[ShownVideo] | None = None

    def after_epoch(self, agent: Agent, done: int) -> None:
        """Draw after the first epoch, every ``evaluation.replay_every`` epochs, and after the last one.

        Args:
            agent: the agent in training.
            done: number of epochs done.
        """
        every = self.run.config.evaluation.replay_every
        if not every or (done % every and done not in (1, self.epochs)):
            return
        usable = self.env.source.videos
        batch = self.env.source.episodes(usable[spread(len(usable), VIDEOS)])
        recorder = Recorder(name=agent.label)
        visit = Visit(probabilities=True)
        recorder.add(batch, act(self.env, agent.bind(self.env), batch, cost=Cost(always=0, local=0), visit=visit))
        record = make_record(self.run.clips.val, "val", [recorder])
        if self._videos is None:
            self._videos, failed = show(record, self.run.clips.val, range(len(record)), [])
            self.run.clips.note_failures(failed)
        rows = record.videos.tolist()
        drawn = [
            dataclasses.replace(video, panels=[make_panel(record, record.traces[0], rows.index(video.row))])
            for video in self._videos
        ]
        if drawn:
            title = f"{self.stage}, {agent.label}, after epoch {done}: chosen (orange), probabilities (purple)"
            picture = sheet(drawn, title=title, heat=True)
            self.run.log.picture(self.stage, done, TAG, torch.from_numpy(np.array(picture)).permute(2, 0, 1))
