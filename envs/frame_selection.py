"""Frame selection as a decision problem: agents move among the frames of a clip, and f_L reads those they reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.envs.actions import check_actions
from adafocus_rl.envs.frame_search import (
    AHEAD,
    STAY,
    SearchReward,
    frame_at,
    location_of,
    margin,
    move,
    search_reward,
    uniform_frames,
)
from adafocus_rl.envs.frames import Frames
from adafocus_rl.envs.order import VideoOrders, episodes_of
from adafocus_rl.envs.problem import weights_dtype
from adafocus_rl.envs.running import Stepped, clocks
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.envs.stepping import VideoVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.features.specs import FULL
from adafocus_rl.models.classifiers import Classifier

Moves = Literal["step", "jump"]
"""How agents move; see ``FrameSelectionVectorEnv``."""


@dataclass(kw_only=True)
class Search(Stepped):
    """B running episodes of frame selection with N agents each.

    Attributes:
        light: (B, T, D_G) f_G's vectors of all frames.
        at: (B, N) int64, the frame of each agent.
        local: (B, N, D_L) f_L's features of these frames.
        state: (B, N, H) f_C's state for each agent.
        probability: (B, N, K) each agent's probabilities.
        best: (B, N) the largest margin of each agent so far.
        ended: (B,) bool on the host.
    """

    light: Tensor
    at: Tensor
    local: Tensor
    state: Tensor
    probability: Tensor
    best: Tensor
    ended: NDArray[np.bool_]

    @property
    def over(self) -> NDArray[np.bool_]:
        """(B,) bool on the host: episodes that have ended."""
        return np.array(self.ended)


class FrameSelectionVectorEnv(VideoVectorEnv[Search]):
    """B parallel videos; in each step, every agent of a video moves to a frame, which f_L and f_C then read.

    The N agents begin in the middles of N equal parts of the clip. Each has a state of f_C of its own, which reads the
    features of the agent's frame, f_G's and f_L's, when the episode begins and after every move, whether the frame is
    new or not. The prediction is the mean of the agents' logits.

    Observation, a dict: ``light`` (B, T, D_G), f_G's vectors of all frames; ``local`` (B, N, D_L), f_L's features of
    the agents' frames; ``position`` (B, N), where in the clip these are, in [0, 1].

    Action with ``moves="step"``: for each agent 0 (back), 1 (stay) or 2 (ahead), by ``stride`` frames; (B, N) int64,
    and (B,) for one agent. With ``moves="jump"``: the relative location in [0, 1] to go to, (B, N) float32.

    The reward is the mean over the agents of ``search_reward``. An episode terminates after ``steps`` moves and, with
    ``until_still``, as soon as all agents stay. It is never truncated. With ``until_still``, a step synchronises with
    the device to find out.

    Infos hold, besides ``video``, ``label``, ``visit`` and ``true_box``: ``frame`` (B, N), the agents' frames;
    ``visited`` (B, T) bool, the frames that any agent has read; and after a step ``logits`` (B, K). See
    ``VideoVectorEnv`` for everything else.

    Args:
        source: frozen features.
        classifier: frozen f_C on f_G's and f_L's features; moved to the features' device and put in eval mode.
        agents: N, from 1 to T.
        moves: ``step`` or ``jump``.
        stride: number of frames of a move; None for T/(4N), at least 1.
        steps: largest number of moves; None for T.
        reward: ``change``, ``sign`` or ``margin``.
        until_still: end an episode when all agents stay; without effect on jumps.
        num_envs: B, at least 1.
        shuffle: draw a new order of videos in every pass; False for index order.
        seed: seed of the order.
        autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED.
        render_mode: ``rgb_array``: ``render`` returns B pictures, of the agents' frames side by side.
        frames: frames to draw on; None for the clips of live features, or pictures of e^G for any other source.
        max_episode_steps: ``steps``; no other value is accepted. Gymnasium passes it from a specification.

    Raises:
        UserError: an option is unknown or out of range.
    """

    def __init__(
        self,
        source: FeatureSource,
        classifier: Classifier,
        *,
        agents: int = 1,
        moves: Moves = "step",
        stride: int | None = None,
        steps: int | None = None,
        reward: SearchReward = "change",
        until_still: bool = True,
        num_envs: int = 64,
        shuffle: bool = True,
        seed: int = 0,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: Literal["rgb_array"] | None = None,
        frames: Frames | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        count = source.num_steps
        for name, value, known in (("moves", moves, Moves), ("reward", reward, SearchReward)):
            if value not in get_args(known):
                raise UserError(f"{name} of frame selection is {value!r}; give one of {', '.join(get_args(known))}")
        for name, number, most in (("agents", agents, count), ("stride", stride, count), ("steps", steps, 1_000_000)):
            if number is not None and not 1 <= number <= most:
                raise UserError(f"{name} of frame selection is {number}; give a number from 1 to {most}")
        self._source = source
        self._longest = count if steps is None else steps
        if max_episode_steps not in (None, self._longest):
            raise UserError(
                f"max_episode_steps is {max_episode_steps}, and these episodes have {self._longest} steps; give steps, "
                "or give gymnasium.make, which ends episodes early, a smaller one"
            )
        self.classifier = classifier.to(source.device).eval()
        self._dtype = weights_dtype(classifier)
        self.agents = agents
        self.moves = moves
        self.stride = max(1, count // (4 * agents)) if stride is None else stride
        self.reward = reward
        self.until_still = until_still and moves == "step"
        action: gym.Space[Any] = gym.spaces.Box(0, 1, (agents,), np.float32)
        if moves == "step":
            choices = AHEAD + 1
            action = gym.spaces.Discrete(choices) if agents == 1 else gym.spaces.MultiDiscrete([choices] * agents)
        super().__init__(
            source,
            orders=VideoOrders(source, seed=seed, shuffle=shuffle),
            observation_space=gym.spaces.Dict(
                {
                    "light": gym.spaces.Box(-np.inf, np.inf, (count, source.vector_dim), np.float32),
                    "local": gym.spaces.Box(-np.inf, np.inf, (agents, source.local_dim), np.float32),
                    "position": gym.spaces.Box(0, 1, (agents,), np.float32),
                }
            ),
            action_space=action,
            num_envs=num_envs,
            shuffle=shuffle,
            seed=seed,
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
            frames=frames,
        )

    @property
    def source(self) -> FeatureSource:
        """The features."""
        return self._source

    @property
    def longest_episode(self) -> int:
        """Largest number of moves."""
        return self._longest

    def check_actions(self, actions: Any, shape: tuple[int, ...]) -> Tensor:
        """Return actions as a tensor: (B, N) int64 moves, (B,) for one agent, or (B, N) float32 locations."""
        if self.moves == "jump":
            return check_actions(self.single_action_space, actions, shape, self.source.device)
        each = shape if self.agents == 1 else (*shape, self.agents)
        return check_actions(gym.spaces.Discrete(AHEAD + 1), actions, each, self.source.device)

    def last_boxes(self) -> Tensor | None:
        """Return the boxes (B, 4) of whole frames; None before the first step."""
        if self._last_step is None:
            return None
        side = self.source.grid.frame_size
        return torch.tensor([0, 0, side, side], device=self.source.device).expand(self.num_envs, 4)

    # ---- the transition -----------------------------------------------------------------------------------------

    def _new(self, videos: Tensor, visits: Tensor, places: Sequence[int]) -> Search:
        episodes = episodes_of(self.source, videos, visits)
        count, device = len(videos), self.source.device
        at = uniform_frames(self.agents, episodes.num_steps, device=device).expand(count, -1)
        start = self.classifier.initial_state(count * self.agents, device=device, dtype=self._dtype)
        local, state, probability = self._read(episodes, at, start.unflatten(0, at.shape))
        labels = episodes.labels[:, None].expand_as(at)
        info = {
            "video": episodes.videos,
            "label": episodes.labels,
            "true_box": episodes.true_boxes,
            "visit": visits.to(device, non_blocking=True),
            "frame": at,
            "visited": _mark(torch.zeros(count, episodes.num_steps, dtype=torch.bool, device=device), at),
        }
        return Search(
            episodes=episodes,
            info=info,
            light=episodes.global_vector,
            at=at,
            local=local,
            state=state,
            probability=probability,
            best=margin(probability, labels),
            ended=np.zeros(count, dtype=np.bool_),
            **clocks(count, device),
        )

    def _advance(self, running: Search, actions: Tensor) -> tuple[Tensor, Tensor]:
        count = running.episodes.num_steps
        if self.moves == "jump":
            at = frame_at(actions, count)
        else:
            actions = actions.view(running.at.shape)
            at = move(running.at, actions, stride=self.stride, num_frames=count)
        local, state, probability = self._read(running.episodes, at, running.state)
        labels = running.info["label"][:, None].expand_as(at)
        reward = search_reward(self.reward, running.probability, probability, running.best, labels).mean(-1)
        running.at, running.local, running.state, running.probability = at, local, state, probability
        running.best = torch.maximum(running.best, margin(probability, labels))
        running.info = {**running.info, "frame": at, "visited": _mark(running.info["visited"], at)}
        running.returns = running.returns + reward
        running.frame = running.frame + 1
        running.steps = running.steps + 1
        running.ended = running.ended | (running.steps >= self._longest)
        if self.until_still:
            running.ended |= (actions == STAY).all(-1).cpu().numpy()
        return reward, self.classifier.logits(state).float().mean(1)

    def _observe(self, running: Search) -> Observation:
        return {
            # Later episodes of other environments are written into the same memory.
            "light": running.light.clone(),
            "local": running.local,
            "position": location_of(running.at, running.episodes.num_steps),
        }

    @torch.no_grad()
    def _read(self, episodes: EpisodeFeatures, at: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return f_L's features, f_C's states and the probabilities after the agents have read frames (B, N)."""
        local = episodes.table_at(FULL, at)
        light = episodes.global_vector[torch.arange(len(at), device=at.device)[:, None], at]
        inputs = torch.cat((light, local), dim=-1).to(self._dtype)
        state = self.classifier.cell(inputs.flatten(0, 1), state.flatten(0, 1)).unflatten(0, at.shape)
        return local, state, self.classifier.logits(state).float().softmax(-1)


def _mark(visited: Tensor, at: Tensor) -> Tensor:
    """Return the frames visited so far (B, T), with those of the agents (B, N)."""
    return visited.scatter(1, at, True)
