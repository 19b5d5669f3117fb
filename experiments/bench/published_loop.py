"""The published training loop of stage II as plain PyTorch: frame by frame, with live f_L. Only for benchmarks.

It follows the public code of AdaFocus: π acts with a step of its GRU, f_L runs on the chosen patch and on a random one,
the step of f_C after each gives the reward, and PPO evaluates the stored observations step by step for its update.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from adafocus_rl.agents.ppo.losses import normalise
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.classifiers import Classifier

GAMMA, CLIP_RANGE, VALUE_WEIGHT, ENTROPY_WEIGHT = 0.7, 0.2, 0.5, 0.01


class PublishedPolicy(nn.Module):
    """``ActorCritic``: 1×1 convolution, linear layer, GRU, two heads.

    Args:
        channels: channels of e^G.
        cells: cells of its maps.
        actions: A.
        hidden: width of the GRU.
    """

    def __init__(self, *, channels: int, cells: int, actions: int, hidden: int = 1024) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 32, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32 * cells, hidden), nn.ReLU()
        )
        self.gru = nn.GRU(hidden, hidden)
        self.actor = nn.Linear(hidden, actions)
        self.critic = nn.Linear(hidden, 1)

    def forward(self, maps: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, A), values (B,) and the next state for one step's maps (B, C, h, w)."""
        out, state = self.gru(self.encoder(maps)[None], state)
        return self.actor(out[0]), self.critic(out[0]).squeeze(-1), state


class PublishedLoop:
    """B episodes of some frames, and one update.

    Args:
        maps: (B, T, C, h, w), e^G's maps.
        vectors: (B, T, D_G), e^G pooled.
        frames: (B, T, 3, S, S), pictures.
        labels: (B,) int64.
        grid: the patches.
        classifier: frozen f_C.
    """

    def __init__(
        self,
        *,
        maps: Tensor,
        vectors: Tensor,
        frames: Tensor,
        labels: Tensor,
        grid: PatchGrid,
        classifier: Classifier,
    ) -> None:
        self.maps, self.vectors, self.frames, self.labels = maps, vectors, frames, labels
        self.grid, self.classifier = grid, classifier
        network = resnet50(weights=None)
        network.fc = nn.Identity()
        self.focus = network.to(maps.device).eval().requires_grad_(False)
        cells = maps.shape[-2] * maps.shape[-1]
        self.policy = PublishedPolicy(channels=maps.shape[2], cells=cells, actions=grid.num_actions).to(maps.device)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=3e-4)

    @property
    def steps(self) -> int:
        """Number of environment steps of a call, B · T."""
        return self.maps.shape[0] * self.maps.shape[1]

    def __call__(self) -> None:
        """Run the episodes and make the update."""
        actions, log_probs, rewards = self._rollout()
        returns: list[Tensor] = []
        later = torch.zeros_like(rewards[0])
        for reward in reversed(rewards):
            later = reward + GAMMA * later
            returns.insert(0, later)
        target = normalise(torch.stack(returns))
        logits, values = self._evaluate()
        choice = torch.distributions.Categorical(logits=logits)
        ratio = (choice.log_prob(actions) - log_probs).exp()
        advantage = target - values.detach()
        clipped = ratio.clamp(1 - CLIP_RANGE, 1 + CLIP_RANGE)
        loss = -torch.min(ratio * advantage, clipped * advantage).mean()
        loss = loss + VALUE_WEIGHT * (values - target).square().mean() - ENTROPY_WEIGHT * choice.entropy().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    @torch.no_grad()
    def _rollout(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return actions (T, B), their log-probabilities (T, B) and T rewards (B,)."""
        state, history = None, self.classifier.initial_state(len(self.maps), device=self.maps.device)
        actions, log_probs, rewards = [], [], []
        for frame in range(self.maps.shape[1]):
            logits, _, state = self.policy(self.maps[:, frame], state)
            choice = torch.distributions.Categorical(logits=logits)
            action = choice.sample()
            after, chosen = self._look(frame, action, history)
            _, other = self._look(frame, torch.randint_like(action, self.grid.num_actions), history)
            history = after
            actions.append(action)
            log_probs.append(choice.log_prob(action))
            rewards.append(chosen - other)
        return torch.stack(actions), torch.stack(log_probs), rewards

    def _look(self, frame: int, action: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Return f_C's states (B, H) and the true class's probabilities (B,) after f_L's look at patches (B,)."""
        patches = self.grid.crop(self.frames[:, frame], self.grid.action_origin(action))
        inputs = torch.cat((self.vectors[:, frame], self.focus(patches)), dim=1)
        state = self.classifier.cell(inputs, history)
        probability = self.classifier.logits(state).softmax(-1)
        return state, probability.gather(1, self.labels[:, None]).squeeze(1)

    def _evaluate(self) -> tuple[Tensor, Tensor]:
        """Return logits (T, B, A) and values (T, B), with their gradients."""
        state, outputs = None, []
        for frame in range(self.maps.shape[1]):
            logits, value, state = self.policy(self.maps[:, frame], state)
            outputs.append((logits, value))
        return torch.stack([logits for logits, _ in outputs]), torch.stack([value for _, value in outputs])
