"""Oracles: agents that try every patch of every frame and select one by f_C's prediction after it.

They show what is possible with given networks. With labels, they maximise the probability of the true class: greedily,
by a beam search over whole episodes, or with the networks of other runs (cross-fitted). Without labels, they maximise
f_C's confidence.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.agents.other_runs import OtherRuns
from adafocus_rl.agents.planned import PlannedAgent
from adafocus_rl.envs import DecisionProblem, DecisionVectorEnv, Info, PolicyOutput
from adafocus_rl.envs.rewards import MAX_CELL_ROWS
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.flops import classifier_macs
from adafocus_rl.options import MOST, require_range


@dataclass(frozen=True, kw_only=True)
class OracleOptions:
    """Options of the oracles."""

    width: int = 1
    """Number of action sequences that are kept after each frame, at least 1. 1 selects the best patch of each frame in
    turn; a larger number searches for the sequence that is best after the last frame."""

    runs: list[str] = field(default_factory=list)
    """Folders of other runs (other folds, other seeds) whose networks select the patches, on average over the runs. The
    measured run is left out if it is among them. Empty: the measured networks select the patches themselves."""

    def __post_init__(self) -> None:
        require_range(self, "width", least=1, most=MOST)


class Branches:
    """W sequences of actions for each of B episodes, with f_C's states in the networks of one run.

    Args:
        problem: the decision problem of these networks; its actions are grid positions.
        episodes: features of B videos.
    """

    def __init__(self, problem: DecisionProblem, episodes: EpisodeFeatures) -> None:
        self.problem = problem
        self.episodes = episodes
        self.states = problem.initial_state(len(episodes))[:, None]
        """(B, W, H), f_C's state after each sequence."""
        self._local = self._shared = torch.empty(0)

    def grow(self, frame: int) -> Tensor:
        """Return f_C's logits (B, W · A, K) after each of the W sequences with each of the A actions in the frame."""
        problem, (count, width, _) = self.problem, self.states.shape
        when = torch.full((count, 1), frame, device=self.states.device)
        every = torch.arange(problem.source.grid.num_actions, device=when.device).expand(count, 1, -1)
        vector = self.episodes.global_vector[:, frame : frame + 1].to(problem.dtype)
        self._local = problem.projected_every(self.episodes, when, every)[:, 0]
        self._shared = problem.classifier.project(vector)[:, 0]
        # In parts: all the states can be larger than the memory.
        rows = torch.arange(count * width, device=when.device).split(max(1, MAX_CELL_ROWS // every.shape[-1]))
        states = self.states.flatten(0, 1)
        cells = problem.classifier.projected_cells
        logits = [
            problem.classifier.logits(cells(self._local[part // width], self._shared[part // width], states[part]))
            for part in rows
        ]
        return torch.cat(logits).float().view(count, width * every.shape[-1], -1)

    def keep(self, parent: Tensor, action: Tensor) -> None:
        """Replace the sequences by W′ others: ``parent`` (B, W′) with ``action`` (B, W′) in the frame of ``grow``."""
        rows = torch.arange(len(parent), device=self.states.device)[:, None]
        parent, action = parent.to(rows.device), action.to(rows.device)
        local, before = self._local[rows, action].flatten(0, 1), self.states[rows, parent].flatten(0, 1)
        shared = self._shared.repeat_interleave(parent.shape[1], dim=0)
        after = self.problem.classifier.projected_cells(local[:, None], shared, before)
        self.states = after.view(*parent.shape, -1)


class Oracle(PlannedAgent):
    """An agent that tries every patch of every frame, with f_L and f_C.

    After each frame, the ``width`` sequences of actions with the highest worth are kept; after the last frame, the best
    of them is selected. A width of 1 is exhaustive in each frame and greedy in time. A width of A^(T − 1) finds the
    best of all sequences.

    Args:
        env: the environment whose features and f_C the agent reads when it is stepped; ``bind`` returns an agent that
            reads another. In a rollout, the agent reads the features and the f_C of the rollout.
        options: width of the search, and other runs.
        seed: not used.

    Raises:
        UserError: if the actions are not grid positions.
    """

    Options = OracleOptions
    options: OracleOptions

    def __init__(self, env: DecisionVectorEnv, options: OracleOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        self.env = env
        self._given: tuple[DecisionProblem, EpisodeFeatures] | None = None
        self._others = OtherRuns(self.options.runs)
        if self.continuous or self.num_actions != env.source.grid.num_actions:
            raise UserError(
                f"{type(self).__name__} tries all grid positions, but the actions are {env.single_action_space}"
            )

    @abstractmethod
    def worth(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the worth (B, N) of sequences after which f_C's logits are (B, N, K); ``labels`` are (B,)."""

    def bind(self, env: DecisionVectorEnv) -> Oracle:
        """Return an agent that reads the features and the f_C of ``env``."""
        if env is self.env:
            return self
        bound = type(self)(env, self.options, seed=self.seed)
        bound._others = self._others
        return bound

    def looking_at(self, problem: DecisionProblem, episodes: EpisodeFeatures) -> Oracle:
        """Return an agent for a rollout on these features; ``FeaturePolicy``."""
        other = copy.copy(self)
        other._given = problem, episodes
        return other

    def act_online(
        self, observation: Observation, state: Any, info: Info, *, deterministic: bool = False
    ) -> tuple[PolicyOutput, Any]:
        """Refuse: the search is over sequences of actions in whole clips.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{type(self).__name__} tries the patches of whole clips, not frame by frame; name another agent"
        )

    @torch.no_grad()
    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Return the actions (B, T) that the search finds.

        Raises:
            UserError: if another run cannot be used, or does not have the videos in its lists.
        """
        if self._given is None:
            problem = self.env.problem
            episodes = self.env.source.episodes(info["video"].cpu(), epoch=int(info["visit"].max()))
            episodes = problem.prepare(episodes)
        else:
            problem, episodes = self._given
        found = [(torch.arange(len(episodes), device=episodes.labels.device), problem, episodes)]
        if self.options.runs:
            found = self._others.episodes(self.env.source, problem, info["video"])
        branches = [(places.to(episodes.labels.device), Branches(theirs, seen)) for places, theirs, seen in found]
        return self._search(branches, episodes.labels, num_frames)

    def _search(self, branches: Sequence[tuple[Tensor, Branches]], labels: Tensor, num_frames: int) -> Tensor:
        """Return the actions (B, T) that are best on average over the networks that have the video."""
        paths = torch.empty(len(labels), 1, 0, dtype=torch.long, device=labels.device)
        networks = torch.cat([places for places, _ in branches]).bincount(minlength=len(labels))
        for frame in range(num_frames):
            worth = torch.zeros(len(labels), paths.shape[1] * self.num_actions, device=labels.device)
            for places, one in branches:
                worth[places] += self.worth(one.grow(frame).to(labels.device), labels[places])
            worth = worth / networks[:, None]
            # Stable: among equals, the lower action of the better sequence wins.
            chosen = worth.sort(dim=1, descending=True, stable=True).indices[:, : self.options.width]
            parent, action = chosen // self.num_actions, chosen % self.num_actions
            for places, one in branches:
                one.keep(parent[places], action[places])
            paths = torch.cat((paths.gather(1, parent[..., None].expand(-1, -1, frame)), action[..., None]), dim=2)
        return paths[:, 0]


class BestPatchAgent(Oracle):
    """Selects the patches after which f_C gives the true class the highest probability.

    This is an upper bound for policies on the same networks. With a width of 1, no policy selects better patches for
    the current frame, but other sequences may be better in the end; a wider search looks for them. With ``runs``, the
    networks of other runs select the patches, and the measured ones only score. What remains is the part of a patch's
    value on which different networks agree, without patches that favour the true class by chance in one of them.
    Networks of another seed have not seen the videos; networks of other folds were trained on them. The agent's compute
    is not counted.
    """

    label = "best_patch"
    privileged = True

    def worth(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the probability of the true class."""
        where = labels[:, None, None].expand(-1, logits.shape[1], 1)
        return logits.softmax(-1).gather(-1, where)[..., 0]


class BlindOracle(Oracle):
    """An oracle without labels, for new videos as well; its compute includes f_L on every patch of every frame."""

    def __init__(self, env: DecisionVectorEnv, options: OracleOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        self.patches_per_frame = self.num_actions

    def macs_per_step(self) -> int:
        """Return the multiply-accumulates of f_C's steps with all tried actions except the selected one."""
        return classifier_macs(self.env.classifier) * (self.options.width * self.num_actions - 1)


class MostConfidentAgent(BlindOracle):
    """Selects the patches after which f_C is most confident: any class has the highest probability."""

    label = "most_confident"

    def worth(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the probability of the likeliest class."""
        return logits.softmax(-1).amax(-1)


class LeastEntropyAgent(BlindOracle):
    """Selects the patches after which f_C's prediction has the lowest entropy."""

    label = "least_entropy"

    def worth(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the negative entropy, in nats."""
        log_p = logits.log_softmax(-1)
        return (log_p.exp() * log_p).sum(-1)
