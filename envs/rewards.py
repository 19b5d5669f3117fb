"""Rewards of patch selection: how much the selected patch helps the frozen classifier f_C.

All rewards are functions of p, the softmax probability of the true class after a step. A reward is a function of a
``RewardContext``, whose N transitions are one step of B environments or all B·T steps of whole episodes, so the same
code serves ``step`` and ``rollout``. Other packages add rewards through the entry-point group ``adafocus_rl.rewards``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from adafocus_rl.envs.spaces import Spaces
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.seeding import derive_seed, hash_randint, hash_uniform

MAX_CELL_ROWS = 1 << 16
"""Largest number of cell evaluations in one batch when several positions are averaged; bounds memory."""


class RewardContext:
    """N transitions, with lazily computed counterfactuals.

    Args:
        classifier: frozen f_C.
        labels: (N,) int64 true classes.
        history: (N, H) classifier states before the step, in the classifier's floating-point type.
        state: (N, H) classifier states after the step.
        global_vector: (N, D_G) features of the step's frame.
        local: function that returns f_L features (N, K, D_L) of other actions in the same frames, (N, K) or, if
            continuous, (N, K, 2).
        projected: function that returns f_C's input products (N, K, P) with these features.
        shared: function that returns f_C's input products (N, P) with ``global_vector``.
        local_dim: D_L.
        baseline_actions: (N, K) or (N, K, 2) actions of the ``random`` reward's baseline.
        action: (N,) or (N, 2) actions taken.
        final: (N,) bool, whether the step is the last of its episode; None for no.
    """

    def __init__(
        self,
        *,
        classifier: Classifier,
        labels: Tensor,
        history: Tensor,
        state: Tensor,
        global_vector: Tensor,
        local: Callable[[Tensor], Tensor],
        projected: Callable[[Tensor], Tensor],
        shared: Callable[[], Tensor],
        local_dim: int,
        baseline_actions: Tensor,
        action: Tensor,
        final: Tensor | None = None,
    ) -> None:
        self.classifier = classifier
        self.labels = labels
        self.history = history
        self.state = state
        self.global_vector = global_vector
        self.local = local
        self._projected = projected
        self._shared = shared
        self.local_dim = local_dim
        self.baseline_actions = baseline_actions
        self.action = action
        self.final = torch.zeros_like(labels, dtype=torch.bool) if final is None else final

    def probability(self, state: Tensor, labels: Tensor) -> Tensor:
        """Return the probabilities (…,) of the true classes (…,) in classifier states (…, H)."""
        probabilities = self.classifier.logits(state).float().softmax(-1)
        return probabilities.gather(-1, labels[..., None]).squeeze(-1)

    @cached_property
    def chosen(self) -> Tensor:
        """(N,) p after the step."""
        return self.probability(self.state, self.labels)

    @cached_property
    def previous(self) -> Tensor:
        """(N,) p before the step; before the first step, p in f_C's initial state."""
        return self.probability(self.history, self.labels)

    @cached_property
    def shared(self) -> Tensor:
        """(N, P) f_C's input products with the global vectors."""
        return self._shared()

    def with_local(self, local: Tensor) -> Tensor:
        """Return p (N, K) for local features (N, K, D_L), from the same history, in one batched step of f_C."""
        return self._after(self.classifier.project(local.to(self.history.dtype), self.global_vector.shape[-1]))

    def without_local(self) -> Tensor:
        """Return p (N,) for zeros as local features, from the same history."""
        # f_C's input product is linear, so that of zeros is zero.
        return self._after(self.history.new_zeros(len(self.labels), 1, self.classifier.projection_dim)).squeeze(-1)

    def with_actions(self, actions: Tensor) -> Tensor:
        """Return p (N, K) for the actions (N, K) or (N, K, 2), from the same history."""
        options = max(1, MAX_CELL_ROWS // max(1, len(actions)))
        return torch.cat([self._after(self._projected(part)) for part in actions.split(options, dim=1)], dim=1)

    def _after(self, projected: Tensor) -> Tensor:
        """Return p (N, K) after one step with each of K inputs, given f_C's products (N, K, P) with their features."""
        states = self.classifier.projected_cells(projected, self.shared, self.history)
        return self.probability(states, self.labels[:, None].expand(-1, projected.shape[1]))


Reward = Callable[[RewardContext], Tensor]
"""Returns the rewards (N,) of N transitions."""


def random_baseline(context: RewardContext) -> Tensor:
    """Return p(selected patch) − mean p(random patches), all from the same history (AdaFocus, section 3.2)."""
    return context.chosen - context.with_actions(context.baseline_actions).mean(-1)


def padding_baseline(context: RewardContext) -> Tensor:
    """Return p(selected patch) − p(zero local feature), from the same history."""
    return context.chosen - context.without_local()


def increment(context: RewardContext) -> Tensor:
    """Return p_t − p_{t−1}."""
    return context.chosen - context.previous


def confidence(context: RewardContext) -> Tensor:
    """Return p_t."""
    return context.chosen


def baseline_actions(
    spaces: Spaces, positions: int, *, seed: int | Sequence[int], videos: Tensor, visits: Tensor, num_steps: int
) -> Tensor:
    """Draw the baseline's random patches uniformly from the grid, or from all pixels if actions are continuous.

    The patches are a function of (seed, video, visit, frame, number) only, so a video's rewards do not depend on its
    neighbours, on B, or on whether its episode is stepped or rolled out.

    Args:
        spaces: the action space.
        positions: k, random patches per frame; 0 takes all A positions of the grid.
        seed: seed of all episodes, or one for each.
        videos: (B,) int64 index rows.
        visits: (B,) int64 number of earlier visits, on the videos' device.
        num_steps: T.

    Returns:
        (B, T, k) int64 grid actions, or (B, T, k, 2) float32 positions.
    """
    device, grid = videos.device, spaces.grid
    if positions == 0:
        every = torch.arange(grid.num_actions, device=device).expand(len(videos), num_steps, -1)
        return grid.position(every) if spaces.continuous else every
    seeds: int | Tensor
    if isinstance(seed, int):
        seeds = derive_seed(seed, "baseline")
    else:
        each = torch.tensor([derive_seed(one, "baseline") for one in seed])
        seeds = each.to(device, non_blocking=True)[:, None, None]
    frames = torch.arange(num_steps, device=device)[:, None]
    counters = (videos[:, None, None], visits[:, None, None], frames, torch.arange(positions, device=device))
    if not spaces.continuous:
        return hash_randint(grid.num_actions, seeds, *counters)
    if isinstance(seeds, Tensor):
        seeds = seeds[..., None]
    axes = (counter[..., None] for counter in counters)
    uniform = hash_uniform(seeds, *axes, torch.arange(2, device=device))
    return grid.origin_position(grid.uniform_origin(uniform))
