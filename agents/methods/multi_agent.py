"""MultiAgent: several agents move among the frames of a clip, and predict together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl import ranks
from adafocus_rl.agents.methods.base import FIRST_VISIT, check_knob
from adafocus_rl.agents.methods.frame_heads import random_scores
from adafocus_rl.agents.methods.frame_looks import Looks, discounted, random_frames, search_training, standardised
from adafocus_rl.agents.methods.learnt import FrameVectors, LearntMethod
from adafocus_rl.agents.methods.outcome import Cost, Outcome, Visit
from adafocus_rl.agents.methods.published import RESNET101
from adafocus_rl.agents.policies.options import MOST_UNITS
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.envs.frame_search import AHEAD, STAY, move, search_reward, uniform_frames
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.flops import macs
from adafocus_rl.models.classifiers import sequence_loss
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.options import MOST, require, require_range
from adafocus_rl.record import RANDOM_DECISIONS
from adafocus_rl.seeding import derive_seed, hash_uniform


@dataclass(frozen=True, kw_only=True)
class MultiAgentOptions:
    """Options of ``MultiAgent``; no published value is known for any of them."""

    agents: tuple[int, ...] = (1, 2, 4)
    """Each N, the number of agents; N ≥ 1, and one for each frame of shorter clips."""

    moves: int = 5
    """Largest number of moves of an agent."""

    stride: int | None = None
    """Number of frames of a move; null is T/(4N), at least 1."""

    neighbours: int = 1
    """M; an agent also reads the features of M agents on each side."""

    hidden: int = 512
    """Length of the context GRU's hidden vector."""

    reward: Literal["change", "sign"] = "change"
    """``change``: change of the true class's probability; ``sign``: its sign, and ±25 where the agent's prediction
    turns right or wrong."""

    gamma: float = 0.9
    """γ, discount of later rewards, in [0, 1]."""

    entropy: float = 0.01
    """Coefficient of the policy's entropy, which is maximised."""

    training: ClassifierTraining = field(default_factory=search_training)
    """Training of all networks."""

    def __post_init__(self) -> None:
        require(self, "agents", len(self.agents) > 0, "at least one number of agents")
        require_range(self, "agents", "stride", least=1, most=MOST)
        require_range(self, "moves", "neighbours", least=0, most=100)
        require_range(self, "hidden", least=1, most=MOST_UNITS)
        require_range(self, "gamma", least=0, most=1)
        require_range(self, "entropy", least=0)


@dataclass(frozen=True, kw_only=True)
class AgentSearch:
    """A search of N agents in B clips, in S steps; between two steps is a move."""

    frames: Tensor
    """(B, S, N) int64, the agents' frames."""

    active: Tensor
    """(B, S) bool, False in steps after all agents have stayed."""

    logits: Tensor
    """(B, S, N, K) of each agent."""

    scores: Tensor
    """(B, S − 1, N, 3) logits of the moves."""

    actions: Tensor
    """(B, S − 1, N) int64 moves."""

    @property
    def prediction(self) -> Tensor:
        """(B, S, K), mean over the agents."""
        return self.logits.mean(2)


Decide = Callable[[int, Tensor], Tensor]
"""Maps the number of a move and its logits (B, N, 3) to moves (B, N)."""


class MultiAgent(LearntMethod):
    """Multi-agent reinforcement learning based frame sampling (Wu et al. 2019).

    N agents start in the middles of N equal parts of the clip. In each step, f_L processes their frames; a context GRU
    reads an agent's feature, joined with those of its 2M neighbours; and one policy, shared by all agents, moves it
    ahead, back, or not. The search is over when all agents stay. The prediction is the mean of a linear head's logits
    on the agents' hidden vectors. Frames that were seen before are not processed again.

    Only the structure is published. Our choices: the reward and all sizes; REINFORCE with returns that are normalised
    over the batch, together with the cross-entropy of the mean prediction after every step; missing neighbours are
    zeros; one set of networks serves all N, and learns from a search with each of them; the features are the run's
    frozen f_L's; in evaluation, moves are the most probable ones.

    Args:
        recognizer: frozen f_L.
        options: numbers of agents, sizes, reward, and the training.
        seed: seed of the initial weights and of the moves in training.
    """

    label = "multi_agent"
    Options = MultiAgentOptions
    options: MultiAgentOptions
    knob_name = "N"

    def __init__(self, recognizer: Recognizer, options: MultiAgentOptions | None = None, *, seed: int = 0) -> None:
        self.heavy = FrameVectors.of("focus", None, recognizer.config)
        super().__init__(recognizer, options, seed=seed)
        self.knobs = tuple(float(count) for count in self.options.agents)
        nets, hidden = self.networks, torch.zeros(1, self.options.hidden)
        joined = torch.zeros(1, self._sides * self.heavy.dim(recognizer))
        self._cost = Cost(always=0, local=self.heavy.macs(recognizer))
        self._step_macs = macs(nets["context"], joined) + macs(nets["head"], hidden)
        self._move_macs = macs(nets["policy"], hidden)

    @property
    def _sides(self) -> int:
        return 2 * self.options.neighbours + 1

    def _create(self) -> dict[str, nn.Module]:
        hidden = self.options.hidden
        return {
            "context": nn.GRUCell(self._sides * self.heavy.dim(self.recognizer), hidden),
            "policy": nn.Linear(hidden, AHEAD + 1),
            "head": nn.Linear(hidden, self.recognizer.config.num_classes),
        }

    def search(
        self, looks: Looks, agents: int, decide: Decide, planned: tuple[Tensor, Tensor] | None = None
    ) -> AgentSearch:
        """Let N agents search in B clips.

        Args:
            looks: reads the frames.
            agents: N, at most T.
            decide: selects the moves.
            planned: ``frames`` and ``active`` of the search, instead of those that moves lead to.
        """
        count, num_frames = looks.seen.shape
        device = looks.seen.device
        stride = self.options.stride or max(1, num_frames // (4 * agents))
        frame = uniform_frames(agents, num_frames, device=device).expand(count, -1)
        active = torch.ones(count, dtype=torch.bool, device=device)
        hidden = torch.zeros(count * agents, self.options.hidden, device=device)
        frames, actives, logits, scores, actions = [], [], [], [], []
        for step in range(self.options.moves + 1):
            if planned is not None:
                frame, active = (part[:, step] for part in planned)
            joined = with_neighbours(looks.read(frame, active, step), self.options.neighbours)
            following = self.networks["context"](joined.flatten(0, 1), hidden)
            hidden = torch.where(active.repeat_interleave(agents)[:, None], following, hidden)
            each = hidden.view(count, agents, -1)
            logits.append(self.networks["head"](each))
            frames.append(frame)
            actives.append(active)
            if step < self.options.moves:
                scores.append(self.networks["policy"](each))
                actions.append(decide(step, scores[-1]))
                moved = move(frame, actions[-1], stride=stride, num_frames=num_frames)
                frame = torch.where(active[:, None], moved, frame)
                active = active & (actions[-1] != STAY).any(-1)
        empty = torch.zeros(count, 0, agents, AHEAD + 1, device=device)
        return AgentSearch(
            frames=torch.stack(frames, dim=1),
            active=torch.stack(actives, dim=1),
            logits=torch.stack(logits, dim=1),
            scores=torch.stack(scores, dim=1) if scores else empty,
            actions=torch.stack(actions, dim=1) if actions else empty[..., 0].long(),
        )

    def loss(self, episodes: EpisodeFeatures, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss over the numbers of agents."""
        parts = [self._loss(episodes, epoch, min(agents, episodes.num_steps)) for agents in self.options.agents]
        total = torch.stack([loss for loss, _ in parts]).mean()
        return total, {name: torch.stack([part[name] for _, part in parts]).mean() for name in parts[0][1]}

    def _loss(self, episodes: EpisodeFeatures, epoch: int, agents: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a search with N agents, and scalars to log."""
        looks = Looks(self.heavy, episodes, self.recognizer, ahead=True)
        seed = derive_seed(self.seed, self.label, "moves", epoch, agents)
        number = torch.arange(agents, device=episodes.videos.device)

        def sample(step: int, scores: Tensor) -> Tensor:
            uniform = hash_uniform(seed, episodes.videos[:, None], number[None], torch.full_like(number, step)[None])
            bounds = scores.detach().softmax(-1).cumsum(-1)[..., :-1]
            return (uniform[..., None] >= bounds).sum(-1)

        found = self.search(looks, agents, sample)
        recognition = sequence_loss(found.prediction, episodes.labels)
        top1 = (found.prediction[:, -1].argmax(-1) == episodes.labels).float().mean()
        reward = self.reward(found, episodes.labels)
        policy = policy_loss(found, discounted(reward, self.options.gamma), self.options.entropy, share=episodes.share)
        scalars = {"loss": recognition, "policy_loss": policy, "top1": top1, "reward": reward.sum(1).mean()}
        return recognition + policy, {**scalars, "frames": looks.seen.float().sum(1).mean()}

    def reward(self, found: AgentSearch, labels: Tensor) -> Tensor:
        """Return the reward (B, S − 1, N) of each move of each agent; 0 after the search is over."""
        probability = found.logits.detach().softmax(-1)
        true = labels[:, None, None].expand(found.actions.shape)
        best = torch.zeros_like(true, dtype=probability.dtype)
        return search_reward(self.options.reward, probability[:, :-1], probability[:, 1:], best, true)

    @torch.no_grad()
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos with N agents."""
        check_knob(self, knob)
        assert knob is not None
        agents = min(int(knob), batch.num_steps)
        looks = Looks(self.heavy, batch, self.recognizer, ahead=False)
        found = self.search(looks, agents, _best, self._plan(batch, agents, visit))
        spent = found.active.sum(1) * self._step_macs + found.active[:, :-1].sum(1) * self._move_macs
        trace = looks.trace(self.recognizer, found.prediction, self._cost)
        return Outcome(logits=trace.logits[:, -1], macs=trace.macs.sum(1) + agents * spent, trace=trace)

    def _plan(self, batch: EpisodeFeatures, agents: int, visit: Visit) -> tuple[Tensor, Tensor] | None:
        """Return frames and active steps that do not depend on the policy, or None to search with it."""
        return None

    def random_counterpart(self) -> MultiAgent:
        """Return the same networks on random frames: as many steps and different frames in each clip, at equal cost."""
        return _RandomMoves(self)


class _RandomMoves(MultiAgent):
    """MultiAgent's networks on random frames."""

    variant = RANDOM_DECISIONS
    stochastic = True
    learns = False

    def __init__(self, method: MultiAgent) -> None:
        vars(self).update(vars(method))

    def _plan(self, batch: EpisodeFeatures, agents: int, visit: Visit) -> tuple[Tensor, Tensor]:
        own = self.search(Looks(self.heavy, batch, self.recognizer, ahead=False), agents, _best)
        return random_frames(own.frames, random_scores(self, batch, visit)), own.active


def _best(step: int, scores: Tensor) -> Tensor:
    return scores.argmax(-1)


def with_neighbours(features: Tensor, count: int) -> Tensor:
    """Return features (B, N, D) joined with those of ``count`` agents on each side, (B, N, (2 · count + 1) · D).

    They come in the agents' order; missing neighbours are zeros.
    """
    agents = features.shape[1]
    padded = F.pad(features, (0, 0, count, count))
    return torch.cat([padded[:, side : side + agents] for side in range(2 * count + 1)], dim=-1)


def policy_loss(found: AgentSearch, returns: Tensor, entropy: float, *, share: float = 1.0) -> Tensor:
    """Return REINFORCE's loss minus the weighted entropy, means over all moves before the end of their search.

    Args:
        found: the search.
        returns: (B, S − 1, N), normalised here over these moves.
        entropy: coefficient of the entropy.
        share: share of the batch of all ranks that these clips are; the means are those of this batch.
    """
    counts = found.active[:, :-1, None].expand(returns.shape) * float(share > 0)
    total = ranks.total(counts.sum()).clamp(min=1)
    advantage = standardised(returns, counts)
    log_probs = found.scores.log_softmax(-1)
    taken = log_probs.gather(-1, found.actions[..., None])[..., 0]
    spread = -(log_probs.exp() * log_probs).sum(-1)
    return -ranks.added(((advantage * taken + entropy * spread) * counts).sum()) / total


def published_gmacs(frames: float) -> float:
    """Return the published GMACs per video with a number of distinct frames: ResNet-101 at 224 on each of them."""
    return RESNET101 * frames
