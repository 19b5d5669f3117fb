"""FindThePatch: a decision problem for debugging agents, without videos or networks, whose best action is known.

One cell of a g×g map is lit. The reward is 1 for the patch at this cell and 0 for any other. With several scales, the
map has a channel for each, and the channel of the lit cell tells the right scale. The rest is the code of patch
selection, so an agent for patch selection runs here unchanged, within seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs.options import RewardConfig
from adafocus_rl.envs.patch_selection import PatchSelectionVectorEnv
from adafocus_rl.envs.single import PatchSelectionEnv, RenderMode
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures, Share, own_share, video_order
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.seeding import derive_seed

CELL_SIDE = 8
"""Side of a cell and of a patch, in pixels of the synthetic frames."""

_CERTAIN = 1000.0
"""Difference of logits for which softmax is exactly 0 and 1 in float32."""


class FindThePatchEpisodes(EpisodeFeatures):
    """Episodes of a ``FindThePatchSource``; the feature of a patch is 1 if the patch is rewarded, else 0."""

    def __init__(self, source: FindThePatchSource, videos: Tensor) -> None:
        self.videos = videos.to(source.device)
        self.cells = source.cells[self.videos]
        self.labels = torch.ones_like(self.videos)
        self.multi_hot = torch.nn.functional.one_hot(self.labels, source.num_classes).float()
        self.true_boxes = source.grid.action_box(self.cells).float()
        lit = torch.nn.functional.one_hot(self.cells, source.grid.num_actions).float()
        self.global_vector = lit * source.shown[:, None]
        self.global_map = self.global_vector.unflatten(-1, source.map_shape)
        self.pays = source.pays.expand_as(self.cells).contiguous()
        self._grid = source.grid

    def local_at(self, step: Tensor, action: Tensor) -> Tensor:
        """Return whether actions (B, M) or (B, M, K) are right in the frames (B, M): (B, M, 1) or (B, M, K, 1)."""
        right, pays = self.cells.gather(1, step), self.pays.gather(1, step)
        if action.ndim > step.ndim:
            right, pays = right[..., None], pays[..., None]
        return ((action == right) * pays)[..., None].float()

    def local_at_position(self, step: Tensor, position: Tensor) -> Tensor:
        """Return ``local_at`` of the grid positions nearest to the positions (B, M, 2) or (B, M, K, 2)."""
        return self.local_at(step, self._grid.action(position))

    def full(self) -> Tensor:
        """Return (B, T, 1): a whole frame contains the right patch wherever there is one."""
        return self.pays[..., None].float()


class FindThePatchSource:
    """A ``FeatureSource`` of N = A · ``videos_per_patch`` synthetic videos.

    In every frame, each of the A positions is lit in the same number of videos, so the return of an agent that
    ignores its observations is also known exactly.

    Args:
        grid: g, at least 2. Map cells and patch positions coincide.
        patch_scales: the patches' scales.
        num_frames: T, at least 1, and 2 with ``memory``.
        memory: light the cell in the first frame only; otherwise light another cell in every frame.
        videos_per_patch: number of videos for each position.
        seed: seed of the shuffled order of ``batches``.
        device: device of the tensors.

    Attributes:
        cells: (N, T) int64, the right action.
        shown: (T,) float32, 1 in frames whose map shows the lit cell.
        pays: (T,) bool, frames in which the right action is rewarded: all but the first frame with ``memory``.
    """

    def __init__(
        self,
        *,
        grid: int = 3,
        patch_scales: Sequence[float] = (1.0,),
        num_frames: int = 4,
        memory: bool = False,
        videos_per_patch: int = 32,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        least = 2 if memory else 1
        for name, value, minimum in (
            ("grid", grid, 2),
            ("num_frames", num_frames, least),
            ("videos_per_patch", videos_per_patch, 1),
        ):
            if value < minimum:
                raise UserError(f"FindThePatch's {name} is {value}; give at least {minimum}")
        self.device = torch.device(device)
        self.seed = seed
        self.grid = PatchGrid(grid=grid, frame_size=grid * CELL_SIDE, patch_size=CELL_SIDE, scales=patch_scales)
        self.num_steps, self.num_classes = num_frames, 2
        self.map_shape = (len(self.grid.scales), grid, grid)
        self.vector_dim, self.local_dim = self.grid.num_actions, 1
        self.has_boxes, self.any_position = True, True
        self.failed: list[tuple[str, str]] = []
        every = torch.arange(self.grid.num_actions).repeat(videos_per_patch)
        self._videos = torch.arange(len(every))
        draw = torch.Generator().manual_seed(derive_seed("find the patch"))
        frames = [every[torch.randperm(len(every), generator=draw)] for _ in range(1 if memory else num_frames)]
        self.cells = torch.stack(frames, dim=1).expand(-1, num_frames).contiguous().to(self.device)
        first = torch.arange(num_frames, device=self.device) == 0
        self.shown = first.float() if memory else torch.ones(num_frames, device=self.device)
        self.pays = ~first if memory else torch.ones_like(first)

    @property
    def videos(self) -> Tensor:
        """All rows, (N,) int64."""
        return self._videos

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> FindThePatchEpisodes:
        """Return the episodes of rows (B,); they are the same in every epoch."""
        return FindThePatchEpisodes(self, videos)

    def batches(
        self, batch_size: int, *, epoch: int | None = None, share: Share | None = None
    ) -> Iterator[FindThePatchEpisodes]:
        """Yield all rows once, or this rank's share of them."""
        order = video_order(self.videos, seed=self.seed, epoch=epoch)
        for videos in own_share(order.split(batch_size), share):
            yield self.episodes(videos)

    def frames(self, video: int) -> Tensor:
        """Return the maps of a row as pictures (T, 3, S, S) uint8: the lit cell is white, the rest is black."""
        maps = self.episodes(torch.tensor([video])).global_map[0].amax(1, keepdim=True).mul(255).to(torch.uint8).cpu()
        large = maps.repeat_interleave(CELL_SIDE, -1).repeat_interleave(CELL_SIDE, -2)
        return large.expand(-1, 3, -1, -1).contiguous()


class FoundOrNot(Classifier):
    """f_C of this environment: predicts class 1 (found) after the right patch, else class 0, with certainty."""

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.input_dim, self.num_classes, self.state_dim = input_dim, 2, 1

    def sequence(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Return the features of the patches, (B, T, 1); the history does not matter."""
        return x[..., -1:]

    def cell(self, x: Tensor, state: Tensor) -> Tensor:
        """Return the features of the patches, (N, 1)."""
        return x[..., -1:]

    def logits(self, states: Tensor) -> Tensor:
        """Return logits (…, 2) of features (…, 1), which are 0 or 1."""
        return torch.cat((torch.zeros_like(states), _CERTAIN * (2 * states - 1)), dim=-1)


class FindThePatchVectorEnv(PatchSelectionVectorEnv):
    """B parallel episodes of T frames; a ``PatchSelectionVectorEnv`` in every other respect.

    Observation: the map (B, 1, g, g) float32, 1 in the lit cell and 0 elsewhere (as a vector, the same numbers
    flattened); a channel for each scale. Action: a position, (B,) int64 (a continuous action counts as the nearest
    position).
    Reward: 1 for the position of the lit cell, else 0.

    - ``memory=False``: a cell is lit in every frame, independently. The best return is T and needs no memory. An
      agent that ignores its observations has the expected return T/A.
    - ``memory=True``: the cell is lit in the first frame only, which has no reward, and must be selected in each of
      the T − 1 following steps, in which the map is dark. The best return is T − 1. Without memory, all dark frames
      are the same and an action is right in one video out of A, so the mean return over a pass is (T − 1)/A for every
      such agent. (Observing the last action is a form of memory.)

    Args:
        num_envs: B.
        grid: g; there are A = g² actions for each scale.
        patch_scales: the patches' scales, relative to the side of a cell.
        num_frames: T.
        memory: light the cell in the first frame only.
        videos_per_patch: number of videos for each position; a pass has A times as many episodes.
        shuffle: draw a new order in every pass.
        seed: seed of the order.
        device: device of all tensors.
        autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED.
        **options: other keyword arguments of ``PatchSelectionVectorEnv``.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        *,
        num_envs: int = 64,
        grid: int = 3,
        patch_scales: Sequence[float] = (1.0,),
        num_frames: int = 4,
        memory: bool = False,
        videos_per_patch: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        device: torch.device | str = "cpu",
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        **options: Any,
    ) -> None:
        source = FindThePatchSource(
            grid=grid,
            patch_scales=patch_scales,
            num_frames=num_frames,
            memory=memory,
            videos_per_patch=videos_per_patch,
            seed=seed,
            device=device,
        )
        super().__init__(
            source,
            FoundOrNot(source.vector_dim + source.local_dim),
            num_envs=num_envs,
            reward=RewardConfig(kind="confidence"),
            shuffle=shuffle,
            seed=seed,
            autoreset_mode=autoreset_mode,
            frames=source.frames,
            **options,
        )
        self.memory = memory
        self.best_return = float(source.pays.sum())
        """Best return: T, or T − 1 with ``memory``."""
        self.best_return_without_memory = self.best_return / source.grid.num_actions if memory else self.best_return
        """Mean return over a pass of an agent that ignores its observations: T/A, or (T − 1)/A with ``memory``."""


class FindThePatchEnv(PatchSelectionEnv):
    """``AdaFocus/FindThePatch-v0``: ``FindThePatchVectorEnv`` with B = 1 and NumPy.

    Args:
        render_mode: ``rgb_array`` or ``human``.
        flatten: False keeps maps (C, h, w).
        **options: keyword arguments of ``FindThePatchVectorEnv`` except ``num_envs`` and ``autoreset_mode``.
    """

    def __init__(self, *, render_mode: RenderMode | None = None, flatten: bool = True, **options: Any) -> None:
        env = FindThePatchVectorEnv(num_envs=1, autoreset_mode=AutoresetMode.DISABLED, **options)
        super().__init__(env, render_mode=render_mode, flatten=flatten)
