"""π trained on f_G's own map, without f_L, after Uni-AdaFocus (Wang et al. 2024, arXiv 2412.11228).

Taken over from its paper and public code: a bilinear crop of f_G's map, which the gradient does not reach, at the
action's box, at as many points as the patch has cells of the map; the mean over the crop and over the frames of a
video; one linear layer trained along, and cross-entropy. Ours: actions are positions of the grid instead of a
continuous place and size, so the gradient reaches π by straight-through Gumbel-softmax weights over the positions
instead of the derivative of a sampling grid, there is no penalty of the size, f_G is frozen, and the network is π's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adafocus_rl import checkpoint
from adafocus_rl.agents.policies.resampling import patch_weights
from adafocus_rl.agents.policies.straight_through import StraightThroughAgent, StraightThroughOptions
from adafocus_rl.envs import DecisionVectorEnv, Rollout
from adafocus_rl.seeding import derive_seed


class MapCropAgent(StraightThroughAgent):
    """π trained with the cross-entropy of a linear layer on the crops of f_G's map.

    It needs f_G's maps and labels only, so it learns where f_G sees a class, not where f_L would add to it.

    Args:
        env: as in ``Agent``; actions are the grid's positions.
        options: options of the network and of training.
        seed: seed of the initial weights, the sampled actions, the Gumbel noise and the minibatches.

    Raises:
        UserError: if actions are not the grid's positions.
    """

    label = "map_crop"

    def __init__(self, env: DecisionVectorEnv, options: StraightThroughOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        channels, height, width = env.source.map_shape
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(seed, "map crop head"))
            head = nn.Linear(channels, env.source.num_classes)
        self.head = head.to(self.device)
        self.optimizer.add_param_group({"params": list(self.head.parameters())})
        weights = [
            patch_weights(one, (height, width), points=max(1, round(one.side * height / one.frame_size)))
            for one in self.grid.each
        ]
        self.crops = torch.cat(weights).to(self.device)
        """(A, h·w), weights of the map's cells in the mean of each position's crop."""

    def constants(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return f_G's maps (B, T, C, h, w)."""
        return {"map": rollout.episodes.global_map}

    def recognise(self, weights: Tensor, constants: Mapping[str, Tensor]) -> Tensor:
        """Return the linear layer's logits (b, 1, K) of the crops' mean over the frames."""
        cells = (weights @ self.crops)[..., None]
        crops = (constants["map"].flatten(3) @ cells).squeeze(-1)
        logits: Tensor = self.head(crops.mean(1, keepdim=True))
        return logits

    def tensors(self) -> dict[str, Tensor]:
        """Return the network's weights, as ``policy.…``, and the linear layer's, as ``head.…``."""
        return {**super().tensors(), **{f"head.{name}": value for name, value in self.head.state_dict().items()}}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        """Restore the network and the linear layer.

        Raises:
            UserError: if they were saved with another map, grid, width or number of classes.
        """
        checkpoint.check_fit(self.head, tensors, prefix="head.", what=what)
        super().load_tensors(tensors, what=what)
        checkpoint.load_into(self.head, tensors, prefix="head.", what=what)
