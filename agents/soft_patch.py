"""π trained through f_C: the gradient of the cross-entropy with respect to the selected features.

Differentiable selection without cropping pixels: the features of all A patches of a frame are known, in a bank for
free, so the selected feature is Σ_k w_k · l_k with straight-through weights w. The loss is f_C's cross-entropy of the
true class, and its gradient goes through frozen f_C and its state: a patch is also judged by what it does for later
frames. AdaFocusV2 (Wang et al. 2022, arXiv 2112.14238) trains π by the gradient through the patch's pixels, together
with all networks; this agent takes over the idea only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from adafocus_rl.agents.learner import Tick, no_tick
from adafocus_rl.agents.policies.straight_through import StraightThroughAgent, StraightThroughOptions
from adafocus_rl.envs import DecisionProblem, DecisionVectorEnv, Rollout
from adafocus_rl.options import require

LossSteps = Literal["all", "last"]


@dataclass(frozen=True, kw_only=True)
class SoftPatchOptions(StraightThroughOptions):
    """Options of ``SoftPatchAgent``."""

    loss_steps: LossSteps = "all"
    """Steps whose cross-entropy is the loss: ``all``, their mean, or ``last``, the prediction."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        require(self, "loss_steps", self.loss_steps in get_args(LossSteps), "all or last")


class SoftPatchAgent(StraightThroughAgent):
    """π trained with a straight-through gradient over the features of all patches.

    A batch holds B · T · A features of f_L, 0.41 GB for 64 videos of 16 frames at paper size. With live features, f_L
    is run on every patch of the grid.

    Args:
        env: as in ``Agent``; actions are the grid's positions.
        options: options of the network and of training.
        seed: seed of the initial weights, the sampled actions, the Gumbel noise and the minibatches.

    Raises:
        UserError: if actions are not the grid's positions.
    """

    Options = SoftPatchOptions
    options: SoftPatchOptions

    label = "soft_patch"

    _problem: DecisionProblem | None = None

    def train_epoch(
        self,
        env: DecisionVectorEnv,
        epoch: int,
        *,
        epochs: int,
        tick: Tick = no_tick,
        experience: Iterable[Rollout] | None = None,
    ) -> Mapping[str, float]:
        """Make one pass over the videos, through the environment's f_C; see ``PolicyAgent``."""
        self._problem = env.problem
        try:
            return super().train_epoch(env, epoch, epochs=epochs, tick=tick, experience=experience)
        finally:
            self._problem = None

    def constants(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return f_L's features of all patches (B, T, A, D_L) and the global vectors (B, T, D_G)."""
        every = torch.arange(self.num_actions, device=self.device)
        shape = (*rollout.output.action.shape, self.num_actions)
        return {
            "patches": rollout.episodes.local(every.expand(shape)),
            "vector": rollout.episodes.global_vector,
        }

    def recognise(self, weights: Tensor, constants: Mapping[str, Tensor]) -> Tensor:
        """Return f_C's logits after all steps (b, T, K), or after the last one (b, 1, K)."""
        problem = self._problem
        assert problem is not None, "f_C is known during train_epoch only"
        patches = constants["patches"]
        selected = (weights[..., None, :].to(patches.dtype) @ patches).squeeze(-2)
        inputs = torch.cat((constants["vector"], selected), dim=-1)
        # cuDNN has no gradient of recurrent networks in evaluation mode.
        with torch.backends.cudnn.flags(enabled=False):
            states = problem.classifier.sequence(inputs.to(problem.dtype))
        return problem.classifier.logits(states if self.options.loss_steps == "all" else states[:, -1:])
