"""Recognises one video at a time, as the run would: from a file, a folder of frames, or frames in memory.

All that a run has learnt is in its checkpoints, so its own videos need not be there any more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents import Agent
from adafocus_rl.data.class_names import read_class_names
from adafocus_rl.data.clips import BadClip, Clip, ClipBatch, collate
from adafocus_rl.data.sampling import clip_indices
from adafocus_rl.data.transforms import apply_transform, build_transform
from adafocus_rl.envs import DecisionVectorEnv, Rollout
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.clips import frame_sets, transform_of
from adafocus_rl.experiments.evaluation.measure import milliseconds
from adafocus_rl.experiments.evaluation.recording import frame_macs
from adafocus_rl.experiments.report.shown import Panel, ShownVideo
from adafocus_rl.experiments.run.clips import one_video
from adafocus_rl.experiments.run.handover import (
    blank_env,
    is_finished,
    load_agent,
    load_classifier,
    load_recognizer,
    saved_class_names,
)
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.skipping import load_skipper, operating_points
from adafocus_rl.features.live import LiveEpisodes
from adafocus_rl.files import user_path
from adafocus_rl.flops import component_macs, video_macs
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.record import EpisodeRecord


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What became of one video."""

    path: str
    """As given."""
    names: list[str]
    """K names of classes."""
    probabilities: Tensor
    """(K,) float32, after the last frame."""
    boxes: Tensor
    """(T, 4) int64 (top, left, height, width) of the patches, in pixels of the clip's frames."""
    kept: Tensor
    """(T,) bool, whether f_L looked at the frame."""
    frames: Tensor
    """(T,) int64 numbers of the frames in the video."""
    gmacs: float
    """10⁹ multiply-accumulates spent."""
    full_frame_gmacs: float
    """The same with f_L on every whole frame, and without a policy."""
    ms: float
    """Milliseconds from decoded frames to the prediction."""
    clip: Tensor
    """(T, 3, S, S) uint8, all frames that were looked at, f_G's own included."""
    shown: ShownVideo
    """For films and pictures."""

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities, likeliest first."""
        values, places = self.probabilities.topk(min(count, len(self.probabilities)))
        return [(self.names[place], value) for value, place in zip(values.tolist(), places.tolist(), strict=True)]


class PredictionError(Exception):
    """A video that cannot be recognised: a ``reason`` in plain words."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Predictor:
    """A run, ready to recognise. Made by :meth:`load`.

    Args:
        run: the run; its lists and videos are not read.
        recognizer: f_G, f_L, and stage I's f_C.
        agent: π, or a π′ on π.
        classifier: f_C.
        policy_macs: of π and π′ for one step.
        names: K names of classes.
    """

    def __init__(
        self,
        run: Run,
        recognizer: Recognizer,
        agent: Agent,
        classifier: Classifier,
        *,
        policy_macs: int,
        names: list[str],
    ) -> None:
        self.run = run
        self.recognizer = recognizer
        self.agent = agent
        self.classifier = classifier
        self.names = names
        self.macs = component_macs(recognizer)
        self.policy_macs = policy_macs
        self._warm = False

    @classmethod
    def load(
        cls, run: str | Path, *, agent: str | None = None, price: float | None = None, device: str | None = None
    ) -> Predictor:
        """What a run has learnt: its recognizer, its agent, and the f_C of its last stage.

        Args:
            run: the folder.
            agent: another agent by class name, one that needs neither training nor true boxes; None takes the run's.
            price: λ of the π′ that skips frames; None keeps all.
            device: None takes the run's.

        Raises:
            UserError: no such run, a checkpoint is missing, the run has no such π′, or the agent cannot act on videos
                of which nothing is known.
        """
        opened = Run.open(run, device=device, with_data=False)
        recognizer = load_recognizer(opened, "stage1")
        env = blank_env(opened.config, recognizer)
        chosen = load_agent(opened, opened.new_agent(env, agent))
        if chosen.privileged:
            raise UserError(
                f"{type(chosen).__name__} acts on true boxes or labels, which nobody knows of a new video; name "
                "another one with --agent, RandomAgent say"
            )
        macs, stage = chosen.macs_per_step(), "stage3"
        if price is not None:
            known = {point.price: point for point in operating_points(opened)}
            if price not in known:
                have = ", ".join(f"{one:g}" for one in known) or "none"
                raise UserError(f"the run has no π′ of the price {price:g}; it has {have} (skip.lambdas)")
            stage = known[price].stage(3)
            chosen = load_skipper(opened, env, chosen, known[price])
            macs += chosen.macs_per_step()
        classifier = recognizer.classifier
        if is_finished(opened, stage):
            classifier, _ = load_classifier(opened, stage, classifier)
        return cls(opened, recognizer, chosen, classifier, policy_macs=macs, names=_names(opened))

    def predict(self, path: str | Path) -> Prediction:
        """Recognises a video file or a folder of frames.

        Raises:
            PredictionError: it cannot be decoded; the reason says why.
        """
        path = user_path(path)
        found = one_video(self.run.config, path.absolute())[0]
        if isinstance(found, BadClip):
            raise PredictionError(str(path), found.reason)
        return self._recognise(found, str(path))

    def predict_frames(self, frames: NDArray[np.uint8], *, name: str = "frames") -> Prediction:
        """Recognises frames in memory.

        Args:
            frames: (n, H, W, 3) uint8 RGB, all of the video or the part that matters; T of them are taken as from a
                file.
            name: to be called by.

        Raises:
            PredictionError: there are none.
        """
        if not len(frames):
            raise PredictionError(name, "there are no frames")
        config = self.run.config
        chosen = clip_indices(len(frames), frame_sets(config), rng=None)
        pixels = torch.from_numpy(np.ascontiguousarray(frames[chosen])).permute(0, 3, 1, 2)
        nowhere = torch.full((len(chosen), 4), torch.nan)
        clip, boxes = apply_transform(build_transform(transform_of(config), train=False), pixels, nowhere)
        found = Clip(
            clip=clip.contiguous(),
            label=torch.tensor(0),
            multi_hot=torch.zeros(len(self.names)),
            true_boxes=boxes,
            frames=torch.from_numpy(chosen),
            row=torch.tensor(0),
        )
        return self._recognise(found, name)

    def full_frame_milliseconds(self, prediction: Prediction) -> float:
        """Median milliseconds to recognise the same clip with f_L on every whole frame."""
        batch = ClipBatch.unlabelled(prediction.clip[None], len(self.names), rows=torch.arange(1))
        spent = milliseconds(self.recognizer, self.classifier, None, [batch], device=self.run.device)
        assert spent is not None
        return spent

    @torch.no_grad()
    def _recognise(self, found: Clip, name: str) -> Prediction:
        batch = collate([found])
        if not self._warm:
            self._run(batch)
            self._warm = True
        started = time.perf_counter()
        rollout, env = self._run(batch)
        logits = rollout.logits[0].float().cpu()  # waits for the device
        spent = 1000 * (time.perf_counter() - started)
        belief = logits.softmax(-1)
        kept = env.kept_frames(rollout)[0].cpu()
        heat = env.patch_probabilities(rollout)
        each = frame_macs(self.macs, policy_macs=self.policy_macs)
        confidence, best = belief.max(-1)
        gmacs = (len(kept) * each.always + int(kept.sum()) * each.local) / 1e9
        panel = Panel(
            title=self.agent.label,
            boxes=env.chosen_boxes(rollout)[0].cpu(),
            kept=kept.tolist(),
            says=[self.names[place] for place in best.tolist()],
            confidence=confidence.tolist(),
            right=None,
            gmacs=gmacs,
            probabilities=None if heat is None else heat[0].float().cpu(),
            patch_size=self.recognizer.grid.patch_size,
        )
        full = video_macs(self.macs, num_steps=len(kept), policy_macs=0, uses_patch=False, uses_full=True)
        shown = ShownVideo(
            row=0,
            path=name,
            clip=self.recognizer.focus_frames(found.clip[None])[0],
            true_boxes=torch.full((1, 4), torch.nan),
            true_names=[],
            panels=[panel],
        )
        return Prediction(
            path=name,
            names=self.names,
            probabilities=belief[-1],
            boxes=shown.panels[0].boxes,
            kept=torch.tensor(shown.panels[0].kept),
            frames=self.recognizer.focus_frames(found.frames[None])[0],
            gmacs=gmacs,
            full_frame_gmacs=full["total"] / 1e9,
            ms=spent,
            clip=found.clip,
            shown=shown,
        )

    def _run(self, batch: ClipBatch) -> tuple[Rollout, DecisionVectorEnv]:
        env = self.agent.env.like(self.agent.env.source, self.classifier)
        episodes = LiveEpisodes(self.recognizer, batch, device=self.run.device)
        return env.rollout(self.agent.bind(env), episodes=episodes, deterministic=True, with_reward=False), env


def _names(run: Run) -> list[str]:
    """K names: those that the run was trained with, else of its episode record or its file of classes; else numbers."""
    count, listed = run.config.model.num_classes, run.config.data.classes
    names = saved_class_names(checkpoint.load(run.folder.checkpoint("stage1"))[1])
    if names is None and run.folder.episodes.is_file():
        names = EpisodeRecord.load(run.folder.episodes).class_names
    if names is None and listed and Path(listed).is_file():
        names = [*read_class_names(Path(listed)).names]
    return [*(names or [])[:count], *(str(number) for number in range(len(names or []), count))]
