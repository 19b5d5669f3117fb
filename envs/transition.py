"""One transition on frozen features, for one step of B environments or all steps of whole episodes alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adafocus_rl.envs.rewards import REWARDS, RewardConfig, RewardContext, baseline_actions
from adafocus_rl.envs.rollout import Info
from adafocus_rl.envs.spaces import SpaceConfig, Spaces
from adafocus_rl.errors import UserError
from adafocus_rl.features.motion import patch_means
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier


class PatchTransition:
    """What an environment of patches does, whichever way it is taken: features in, f_C a step on, a reward out.

    Args:
        source: frozen features.
        classifier: frozen f_C, moved to the features' device and put in eval mode.
        reward: which reward is paid.
        spaces: what is observed and chosen.
        seed: of the baseline's random patches.

    Raises:
        UserError: unknown reward (with a suggestion), a number out of range, or continuous actions on features that
            hold grid positions only.
    """

    def __init__(
        self,
        source: FeatureSource,
        classifier: Classifier,
        *,
        reward: RewardConfig | None,
        spaces: SpaceConfig,
        seed: int,
    ) -> None:
        self.reward_config = reward or RewardConfig()
        if self.reward_config.baseline_positions < 0:
            raise UserError(
                f"env.reward.baseline_positions is {self.reward_config.baseline_positions}; give 0 (all) or a count"
            )
        self._reward = REWARDS.get(self.reward_config.kind)
        self.space_config = spaces
        self.spaces = Spaces(spaces, source)
        self.source = source
        self.classifier = classifier.to(source.device).eval()
        self._dtype = next((weight.dtype for weight in classifier.parameters()), torch.float32)
        self.seed = seed

    def info(self, episodes: EpisodeFeatures, visits: Tensor) -> Info:
        """What privileged agents (random, oracle) and evaluation may read; a learner must not."""
        known = {"video": episodes.videos, "label": episodes.labels, "true_box": episodes.true_boxes, "visit": visits}
        motion = episodes.motion  # once: live episodes compute it now
        if motion is not None:
            known["motion"] = patch_means(motion, self.source.grid)
        return known

    def _episodes(self, videos: Tensor, visits: Tensor) -> EpisodeFeatures:
        """Features of index rows (R,) on CPU; what is random in them follows each video's own visit, (R,) on CPU."""
        first, *others = visits.unique().tolist()
        episodes = self.source.episodes(videos, epoch=first)
        for visit in others:  # where a batch ends a pass
            rows = (visits == visit).nonzero().flatten()
            again = self.source.episodes(videos[rows], epoch=visit)
            episodes.overwrite(rows.to(self.source.device, non_blocking=True), again)
        return episodes

    def local(self, episodes: EpisodeFeatures, action: Tensor) -> Tensor:
        """f_L features (B, T, D_L) of the patches (B, T[, 2]) chosen in whole episodes."""
        when = torch.arange(episodes.num_frames, device=action.device).expand(len(episodes), -1)
        return self.spaces.local(episodes, when, action)

    def _inputs(self, vector: Tensor, local: Tensor) -> Tensor:
        return torch.cat((vector, local), dim=-1).to(self._dtype)

    def _initial_state(self, count: int) -> Tensor:
        return self.classifier.initial_state(count, device=self.source.device, dtype=self._dtype)

    def _rewards(
        self,
        episodes: EpisodeFeatures,
        when: Tensor,
        vector: Tensor,
        history: Tensor,
        states: Tensor,
        baseline: Tensor,
        action: Tensor,
    ) -> Tensor:
        """Rewards (B, M) of the frames ``when`` (B, M).

        Global vectors (B, M, D_G), states before and after (B, M, H), baseline actions (B, M, k[, 2]), actions taken
        (B, M[, 2]).
        """

        def local(options: Tensor) -> Tensor:
            return self.spaces.local(episodes, when, options.unflatten(0, when.shape)).flatten(0, 1)

        context = RewardContext(
            classifier=self.classifier,
            labels=episodes.labels[:, None].expand_as(when).flatten(),
            history=history.flatten(0, 1),
            state=states.flatten(0, 1),
            global_vector=vector.flatten(0, 1),
            local=local,
            local_dim=self.source.local_dim,
            baseline_actions=baseline.flatten(0, 1),
            action=action.flatten(0, 1),
        )
        return self._reward(context).view(when.shape).float()

    def _baseline_actions(
        self, episodes: EpisodeFeatures, visits: Tensor, seed: int | Sequence[int] | None = None
    ) -> Tensor:
        """(B, T, k[, 2]) actions of the ``random`` reward's baseline."""
        return baseline_actions(
            self.spaces,
            self.reward_config.baseline_positions,
            seed=self.seed if seed is None else seed,
            videos=episodes.videos,
            visits=visits,
            num_frames=episodes.num_frames,
        )
